-- cdc_bridge.audit: who changed what, on the dashboard, through the HTTP API, in the portal or by a command.
--
-- A row commits together with what it tells of, where that is one transaction; what takes several is noted before the first.
-- The daemon's role can append rows and nothing else: time and role are the database's own, and rows are deleted by
-- cdc_bridge.prune_audit alone, after a year.
--
-- No secret and no key of a reservation is in it: a key may tell who the guest is.

create table if not exists cdc_bridge.audit (
  audit_id bigint      not null generated always as identity,
  at       timestamptz not null default now(),
  role     name        not null default session_user,
  who      text        not null check (length(who) <= 300),
  via      text        not null check (via in ('dashboard', 'api', 'portal', 'command')),
  action   text        not null check (length(action) <= 100),
  endpoint text        check (length(endpoint) <= 100),
  details  jsonb       not null default '{}' check (octet_length(details::text) <= 10000),
  primary key (at, audit_id)
);
comment on table cdc_bridge.audit is 'Who changed what, for a year';
comment on column cdc_bridge.audit.role is 'Role of the database that wrote it: by a command, whoever ran that; else the daemon''s';
comment on column cdc_bridge.audit.who is 'Name of the token; of a command, the user of the operating system and the host';
comment on column cdc_bridge.audit.endpoint is 'Name of the endpoint that it is about; null: none';
comment on column cdc_bridge.audit.details is 'What else there is to know, without secrets and guest data';
