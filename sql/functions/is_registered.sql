-- cdc_bridge.is_registered(daemon_id bigint)
--
-- Returns 'registered' if a daemon has its leases; null: another daemon has ended it. Runs with the caller's rights. It is
-- PL/pgSQL so that its plan is cached: the statements that load reservations are planned each time. Locks: none.

create or replace function cdc_bridge.is_registered(daemon_id bigint) returns text
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $registered$
begin
  return (select 'registered' from cdc_bridge.daemon d where d.daemon_id = $1 and d.alive_until > '-infinity');
end
$registered$;
revoke all on function cdc_bridge.is_registered(bigint) from public;
grant execute on function cdc_bridge.is_registered(bigint) to cdc_bridge;
comment on function cdc_bridge.is_registered(bigint) is 'Whether a daemon has its leases';
