-- cdc_bridge.endpoint: who is called, and how far in the change log each one is.
--
-- position is a snapshot: every change visible in it is in the ledger, delivered or waiting. Inside one large
-- transaction, whose changes are handed over in pieces, place_xid and place_seq say up to which change.

create table if not exists cdc_bridge.endpoint (
  endpoint_id bigint      generated always as identity primary key,
  name        text        not null unique check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  position    pg_snapshot not null,
  place_xid   xid8,
  place_seq   bigint,
  cluster     bigint      not null,
  created_at  timestamptz not null default now(),
  check ((place_xid is null) = (place_seq is null))
);
alter table cdc_bridge.endpoint owner to cdc_bridge_owner;
comment on table cdc_bridge.endpoint is 'HTTPS endpoints that are called, each with its position in the change log';
comment on column cdc_bridge.endpoint.position is 'All changes visible in this snapshot are in the ledger';
comment on column cdc_bridge.endpoint.place_xid is 'A transaction that is handed over in part, else null';
comment on column cdc_bridge.endpoint.place_seq is 'The last change of place_xid that is in the ledger';
comment on column cdc_bridge.endpoint.cluster is 'System identifier of the cluster whose transaction ids position is made of';
