-- cdc_bridge.adopt(skip bigint)
--
-- Goes on in a database that is not the one in which the endpoints' positions were written: restored from a dump into
-- another cluster, whose transaction ids are others. Until this is called the daemon calls no endpoint there, so that a
-- copy made for trials does not call the restaurant's till.
--   skip  by how much the changes' numbers jump ahead; at least as many as changes may have been made in the old database
--         after the dump. A receiver drops what has a lower number than it has seen.
-- Returns how many deliveries were queued: every change that the log holds and the ledger does not, for each endpoint.
-- Then it empties the log and sets every position to this instant. Nothing is lost, nothing is sent that the ledger
-- knows as delivered. Also of use after a fail-over or a recovery to a point in time, for the jump alone.
-- Safe to repeat, also while e-Res writes and daemons run. Locks: the rows of cdc_bridge.endpoint, for an instant.

create or replace function cdc_bridge.adopt(skip bigint default 1000000) returns bigint
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $adopt$
declare
  here constant bigint := (select system_identifier from pg_control_system());
  queued_count bigint;
begin
  -- What this transaction has written, and writes after this, would count as read by every endpoint.
  if pg_current_xact_id_if_assigned() is not null then
    raise exception 'this transaction has written already'
      using errcode = 'active_sql_transaction', hint = 'Call it in a transaction of its own, and nothing else with it.';
  end if;
  if skip < 0 then
    raise exception 'numbers may jump ahead, not back' using errcode = 'invalid_parameter_value';
  end if;
  perform setval('cdc_bridge.change_seq_seq', nextval('cdc_bridge.change_seq_seq') + skip);

  -- One statement, so one snapshot: what commits meanwhile is neither deleted nor skipped.
  with unsettled as (
    select e.endpoint_id, c.seq, c.reservation_id, c.operation, c.changed_at,
      row_number() over (partition by e.endpoint_id, c.reservation_id order by c.seq desc) = 1 as newest
    from cdc_bridge.change c
    cross join cdc_bridge.endpoint e
    where not exists (select from cdc_bridge.delivery d where d.endpoint_id = e.endpoint_id and d.seq = c.seq)
      and (
        not (pg_visible_in_snapshot(c.xid, e.position) or coalesce(c.xid = e.place_xid and c.seq <= e.place_seq, false))
        -- What was captured here already has a transaction id that the position cannot judge, and a higher number than
        -- anything from the old cluster.
        or e.cluster <> here
          and c.seq > coalesce((select max(d.seq) from cdc_bridge.delivery d where d.endpoint_id = e.endpoint_id), 0)
      )
  ), queued as (
    insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures, next_attempt_at)
    select endpoint_id, seq, reservation_id, operation, changed_at, 'queued', 0, 0, case when newest then now() end
    from unsettled
    returning 1
  ), emptied as (
    delete from cdc_bridge.change
  ), moved as (
    update cdc_bridge.endpoint
    set position = pg_current_snapshot(), place_xid = null, place_seq = null, leased_until = null, fencing_token = fencing_token + 1,
      cluster = here
  )
  select count(*) into queued_count from queued;
  return queued_count;
end
$adopt$;
revoke all on function cdc_bridge.adopt(bigint) from public;
comment on function cdc_bridge.adopt(bigint) is 'Goes on with all endpoints in a database restored from a dump; safe to repeat';
