-- cdc_bridge.end_daemon(ended_id bigint)
--
-- Ends a daemon's leases: writes the position of the endpoints that followed it, frees all of its endpoints, and deletes its row.
-- An endpoint whose row somebody has locked is left, and the daemon's row with it, for the next time: alive_until '-infinity' says
-- that the daemon has ended all the same.
-- Called by a daemon for itself when it stops, and for another one that is not live any more.
--   ended_id  the daemon
-- Returns whether its row is deleted; false also while it is just recording something.
-- Locks: the daemon's row and those of its endpoints, until commit; waits for none.

create or replace function cdc_bridge.end_daemon(ended_id bigint) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $end_daemon$
declare
  ended cdc_bridge.daemon;
begin
  -- A daemon that was frozen in mid-recording locks its row.
  select * into ended from cdc_bridge.daemon d where d.daemon_id = ended_id for update skip locked;
  if ended.daemon_id is null then
    return false;
  end if;
  update cdc_bridge.endpoint e
  set
    position = case when e.following then ended.position else e.position end,
    place_xid = case when e.following then ended.place_xid else e.place_xid end,
    place_seq = case when e.following then ended.place_seq else e.place_seq end,
    following = false, daemon_id = null, released_at = least(now(), greatest(nullif(ended.alive_until, '-infinity'), e.resumed_at)),
    in_flight = null, deliveries_per_second = null
  where e.endpoint_id in (
    select one.endpoint_id from cdc_bridge.endpoint one where one.daemon_id = ended_id for no key update skip locked
  );
  if exists (select from cdc_bridge.endpoint e where e.daemon_id = ended_id) then
    update cdc_bridge.daemon d set alive_until = '-infinity' where d.daemon_id = ended_id;
    return false;
  end if;
  delete from cdc_bridge.daemon d where d.daemon_id = ended_id;
  return true;
end
$end_daemon$;
revoke all on function cdc_bridge.end_daemon(bigint) from public;
comment on function cdc_bridge.end_daemon(bigint) is 'Ends a daemon''s leases';
