-- cdc_bridge.announce_endpoint(), trigger function of cdc_bridge.endpoint
--
-- Tells the daemons, by NOTIFY on the channel cdc_bridge_endpoint, that an endpoint was added, removed or changed by
-- somebody: whether by a command, on the page or in psql. What the daemons write themselves as they go along (position, lease,
-- state) is in none of the columns named here.

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
comment on function cdc_bridge.announce_endpoint() is 'Tells the daemons that somebody changed an endpoint';

do $trigger$
begin
  if not exists (
    select from pg_catalog.pg_trigger t
    where t.tgrelid = 'cdc_bridge.endpoint'::regclass and t.tgname = 'announce_endpoint'
  ) then
    create trigger announce_endpoint
      after insert or delete or update of
        url, headers, secret, previous_secret, previous_secret_until, ca_file, client_certificate_file, client_key_file,
        max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds, paused_at, disabled_at, cluster
      on cdc_bridge.endpoint for each statement execute function cdc_bridge.announce_endpoint();
  end if;
end
$trigger$;
