-- cdc_bridge.schema_version: the versions of this schema that were installed here. The highest one counts.
--
-- A daemon works with its own version, and with the one before once that is prepared for its own. So an upgrade is: the
-- migration's part "before" (both daemons work), the new daemon in place of the old one, the part "after".

create table if not exists cdc_bridge.schema_version (
  version          integer     primary key,
  installed_at     timestamptz not null default now(),
  next_prepared_at timestamptz
);
comment on table cdc_bridge.schema_version is 'Versions of the cdc_bridge schema installed here; the highest counts';
comment on column cdc_bridge.schema_version.next_prepared_at is 'When the first part of the migration to the next version was run';

insert into cdc_bridge.schema_version (version)
select current_setting('cdc_bridge.schema_version')::integer where not exists (select from cdc_bridge.schema_version);
