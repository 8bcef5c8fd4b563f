-- cdc_bridge.payload_definition: the payloads, each a SELECT that is kept as text.
--
-- cdc_bridge.define_payload writes here. No object depends on e-Res's tables: PostgreSQL would refuse e-Res's own upgrades
-- as long as a view reads a column that they alter.

create table if not exists cdc_bridge.payload_definition (
  name         text        primary key check (name ~ '^[a-z][a-z0-9_]{0,39}$'),
  query        text        not null,
  expanded     text        not null,
  builds_on    text[]      not null,
  columns      text[]      not null,
  types        text[]      not null,
  key_type     text        not null,
  size         text        not null,
  reads        text[]      not null,
  functions    text[]      not null,
  revision     text        not null,
  defined_at   timestamptz not null default now()
);
comment on table cdc_bridge.payload_definition is 'Payloads: what becomes the body of a request';
comment on column cdc_bridge.payload_definition.query is 'The SELECT as it was given';
comment on column cdc_bridge.payload_definition.expanded is 'The SELECT, with those that it builds on in place of their names in braces';
comment on column cdc_bridge.payload_definition.builds_on is 'Payloads that it names in braces';
comment on column cdc_bridge.payload_definition.columns is 'Its columns, in order: the JSON''s keys';
comment on column cdc_bridge.payload_definition.types is 'Their types when it was defined; all are PostgreSQL''s own';
comment on column cdc_bridge.payload_definition.key_type is 'Type that keys are compared in';
comment on column cdc_bridge.payload_definition.size is 'Expression for the bytes of a row''s values of variable length';
comment on column cdc_bridge.payload_definition.reads is 'Tables and views that it names';
comment on column cdc_bridge.payload_definition.functions is 'Functions that it calls, other than PostgreSQL''s own';
comment on column cdc_bridge.payload_definition.revision is 'Hash of all this: a daemon notices a change by it';
