-- cdc_bridge.detach(reservations regclass)
--
-- Takes capture off a table again: the emergency switch, and the first step of an uninstall. Changes made while it is
-- off are not captured. The change log and the ledger stay.
-- Returns nothing. Safe to repeat. Locks: ACCESS EXCLUSIVE on the table, for an instant.

create or replace function cdc_bridge.detach(reservations regclass) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $detach$
begin
  execute format('drop trigger if exists cdc_bridge_insert on %s', reservations);
  execute format('drop trigger if exists cdc_bridge_update on %s', reservations);
end
$detach$;
alter function cdc_bridge.detach(regclass) owner to cdc_bridge_owner;
revoke all on function cdc_bridge.detach(regclass) from public;
comment on function cdc_bridge.detach(regclass) is 'Takes change capture off a table; safe to repeat';
