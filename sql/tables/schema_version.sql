-- cdc_bridge.schema_version: which versions of this schema were installed, and when. The highest one counts;
-- the daemon compares it with the one it needs and says what to run when they differ.

create table if not exists cdc_bridge.schema_version (
  version      integer     primary key,
  installed_at timestamptz not null default now()
);
alter table cdc_bridge.schema_version owner to cdc_bridge_owner;
comment on table cdc_bridge.schema_version is 'Versions of the cdc_bridge schema installed here; the highest counts';

insert into cdc_bridge.schema_version (version) values (1) on conflict do nothing;
