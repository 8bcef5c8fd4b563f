-- cdc_bridge.announce_endpoint(), trigger function of cdc_bridge.endpoint
--
-- Notifies the daemons, on the channel cdc_bridge_endpoint, that an endpoint was added, removed or changed by somebody:
-- by a command, on the dashboard or in psql.
--
-- cdc_bridge.note_endpoint_change(), trigger function of cdc_bridge.endpoint
--
-- Writes the transaction into changed_xid, so that daemons read what has changed and not ten thousand rows.
--
-- What the daemons write while they deliver is not announced: the position moves with every batch that is recorded. So the trigger names the columns whose update it announces, which costs other updates nothing (PostgreSQL
-- compares two bitmaps; a function or a condition would run for each). It names all that are not among those below: an
-- option that is added to the table is announced without being added here.
--
-- Locks: SHARE ROW EXCLUSIVE on cdc_bridge.endpoint until commit, and only where the trigger is missing or names other
-- columns. The daemons' updates wait for it.

create or replace function cdc_bridge.announce_endpoint() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $announce$
begin
  notify cdc_bridge_endpoint;
  return null;
end
$announce$;
revoke all on function cdc_bridge.announce_endpoint() from public;
comment on function cdc_bridge.announce_endpoint() is 'Notifies the daemons that somebody changed an endpoint';

create or replace function cdc_bridge.note_endpoint_change() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $note$
begin
  new.changed_xid := pg_current_xact_id();
  return new;
end
$note$;
revoke all on function cdc_bridge.note_endpoint_change() from public;
comment on function cdc_bridge.note_endpoint_change() is 'Notes in which transaction somebody changed an endpoint';

do $trigger$
declare
  written_by_daemons constant text[] := array[
    'changed_xid', 'position', 'place_xid', 'place_seq', 'following', 'fencing_token', 'daemon_id', 'released_at',
    'failing_since', 'next_probe_at', 'problem', 'rate_limited_since', 'reconciled_at', 'reconciled_missing', 'reconciled_stale',
    'pruned_until', 'in_flight', 'deliveries_per_second', 'last_success_at', 'last_failure_at', 'last_failure',
    'last_minute_at', 'delivered_by_minute', 'failed_by_minute',
    'skipped_deleted', 'skipped_filtered', 'skipped_event', 'skipped_unchanged'
  ];
  numbers text;
  names text;
begin
  select
    string_agg(a.attnum::text, ' ' order by a.attnum),
    string_agg(quote_ident(a.attname), ', ' order by a.attnum)
  into numbers, names
  from pg_catalog.pg_attribute a
  where a.attrelid = 'cdc_bridge.endpoint'::regclass and a.attnum > 0 and not a.attisdropped
    and a.attname <> all (written_by_daemons);

  if not exists (
    select from pg_catalog.pg_trigger t
    where t.tgrelid = 'cdc_bridge.endpoint'::regclass and t.tgname = 'announce_endpoint' and t.tgattr::text = numbers
  ) then
    execute format(
      'create or replace trigger announce_endpoint after insert or delete or update of %s on cdc_bridge.endpoint '
      'for each statement execute function cdc_bridge.announce_endpoint()',
      names
    );
    execute format(
      'create or replace trigger note_endpoint_change before update of %s on cdc_bridge.endpoint '
      'for each row execute function cdc_bridge.note_endpoint_change()',
      names
    );
  end if;
end
$trigger$;
