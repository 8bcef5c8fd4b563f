-- From version 1 of the schema to version 2: the part that comes after the new daemon. From then on a daemon of version 1
-- does not start any more.
--
--   psql -v ON_ERROR_STOP=1 -f sql/migrations/0002-after.sql
--   cdc-bridge install --finish
--
-- Run it when no daemon of version 1 runs any more. Safe to repeat. Locks: none beside the row it writes.

begin;
set local search_path = pg_catalog, pg_temp;  -- nothing that others put into public is run here
set local lock_timeout = '200ms';
set local statement_timeout = '60s';

do $version$
begin
  if not exists (
    select
    from cdc_bridge.schema_version v
    where v.version = 2 or v.version = 1 and to_jsonb(v) ->> 'next_prepared_at' is not null
  ) then
    raise exception 'this database is not prepared for version 2 of the cdc-bridge schema'
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Run sql/migrations/0002-before.sql and sql/install.sql first, then start the new daemon.';
  end if;
end
$version$;

set local role cdc_bridge_owner;
insert into cdc_bridge.schema_version (version) values (2) on conflict do nothing;

commit;
