-- cdc_bridge.adopt()
--
-- Resumes deliveries in a database that was restored from a dump into another cluster. The endpoints' positions consist of
-- the old cluster's transaction ids, so until this is called the daemon delivers nothing: a copy made for trials sends
-- nothing to the restaurant's real endpoints.
-- Returns how many deliveries were queued: for each endpoint, every change in the change log that is missing from the
-- delivery log. Then it empties the change log and sets every position to now. Nothing is lost, and nothing is sent again
-- that the delivery log has as delivered.
-- Safe to repeat, also while e-Res writes and daemons run.
-- Locks: the rows of cdc_bridge.endpoint and cdc_bridge.daemon, for an instant.

create or replace function cdc_bridge.adopt() returns bigint
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $adopt$
declare
  here constant bigint := (select system_identifier from pg_control_system());
  queued_count bigint;
begin
  -- Anything that this transaction writes, before or after, would count as read by every endpoint.
  if pg_current_xact_id_if_assigned() is not null then
    raise exception 'this transaction has already written'
      using errcode = 'active_sql_transaction', hint = E'End this transaction first:\nrollback;\nselect cdc_bridge.adopt();';
  end if;
  -- One statement, so one snapshot: what commits meanwhile is neither deleted nor missed.
  with unsettled as (
    select e.endpoint_id, c.seq, c.reservation_id, c.operation, c.changed_at,
      row_number() over (partition by e.endpoint_id, c.reservation_id order by c.seq desc) = 1 as newest
    from cdc_bridge.change c
    cross join cdc_bridge.endpoint_position e
    where not exists (select from cdc_bridge.delivery d where d.endpoint_id = e.endpoint_id and d.seq = c.seq)
      and e.events in ('both', case c.operation when 'I' then 'created' else 'updated' end)
      and (
        not (pg_visible_in_snapshot(c.xid, e.position) or coalesce(c.xid = e.place_xid and c.seq <= e.place_seq, false))
        -- The position says nothing of changes captured in this cluster; their numbers are higher than any delivered.
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
    set position = pg_current_snapshot(), place_xid = null, place_seq = null, following = false, daemon_id = null, released_at = now(),
      fencing_token = fencing_token + 1, cluster = here
  ), ended as (
    delete from cdc_bridge.daemon
  )
  select count(*) into queued_count from queued;
  return queued_count;
end
$adopt$;
revoke all on function cdc_bridge.adopt() from public;
comment on function cdc_bridge.adopt() is 'Resumes deliveries in a database restored from a dump; safe to repeat';
