-- cdc_bridge.fencing_token(endpoint_id bigint)
--
-- Returns an endpoint's fencing token as text; null: there is no such endpoint. Runs with the caller's rights. It is PL/pgSQL so
-- that its plan is cached: the statements that load reservations are planned each time. Locks: none.

create or replace function cdc_bridge.fencing_token(endpoint_id bigint) returns text
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $token$
begin
  return (select e.fencing_token::text from cdc_bridge.endpoint e where e.endpoint_id = $1);
end
$token$;
revoke all on function cdc_bridge.fencing_token(bigint) from public;
grant execute on function cdc_bridge.fencing_token(bigint) to cdc_bridge;
comment on function cdc_bridge.fencing_token(bigint) is 'Fencing token of an endpoint';
