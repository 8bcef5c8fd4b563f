-- Takes cdc-bridge out of the current database: triggers, schema, rights and, where no other database needs them, roles.
-- e-Res's own tables and their data are not touched. The change log and the ledger are lost.
--
--   psql -v ON_ERROR_STOP=1 -f sql/uninstall.sql
--   cdc-bridge uninstall --print | psql -v ON_ERROR_STOP=1
--   cdc-bridge uninstall
--
-- Stop the daemon first. Safe to repeat.
-- Locks: ACCESS EXCLUSIVE on the reservations table, for the instant of dropping its triggers until commit.

begin;
set local lock_timeout = '3s';
set local statement_timeout = '60s';
set local client_min_messages = warning;

do $detach$
declare
  attached regclass;
begin
  for attached in
    select distinct t.tgrelid::regclass
    from pg_catalog.pg_trigger t
    join pg_catalog.pg_proc p on p.oid = t.tgfoid
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'cdc_bridge'
  loop
    execute pg_catalog.format('drop trigger if exists cdc_bridge_insert on %s', attached);
    execute pg_catalog.format('drop trigger if exists cdc_bridge_update on %s', attached);
  end loop;
end
$detach$;

drop schema if exists cdc_bridge cascade;

do $roles$
declare
  name text;
begin
  foreach name in array array['cdc_bridge', 'cdc_bridge_reader', 'cdc_bridge_owner'] loop
    continue when not exists (select from pg_catalog.pg_roles where rolname = name);
    -- DROP OWNED takes back what was granted on e-Res's tables in this database.
    if not pg_catalog.pg_has_role(current_user, name, 'member') then
      execute pg_catalog.format('grant %I to %I', name, current_user);
    end if;
    execute pg_catalog.format('drop owned by %I', name);
    begin
      execute pg_catalog.format('drop role %I', name);
    exception when dependent_objects_still_exist then
      raise notice 'role % stays: another database of this cluster still uses it', name;
    end;
  end loop;
end
$roles$;

commit;
