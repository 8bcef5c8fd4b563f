-- cdc_bridge.endpoint: who is called and how, how far in the change log each one is, which daemon calls it, and how it is.
--
-- position is a snapshot: every change visible in it is in the ledger, delivered or waiting. Inside one large
-- transaction, whose changes are handed over in pieces, place_xid and place_seq say up to which change.
--
-- One daemon at a time calls an endpoint: the one that holds its lease. It renews leased_until while it lives. When that
-- is past, or the advisory lock (52684, daemon_number) is free because the daemon_number's session ended, another daemon takes the
-- endpoint and counts fencing_token up; whoever comes with an older fencing_token can record nothing any more.
--
-- Rows change often (position, lease) and are few: half of each page is kept free, so that no index has to change.

create table if not exists cdc_bridge.endpoint (
  endpoint_id             bigint      generated always as identity primary key,
  name                    text        not null unique check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  in_settings             boolean     not null,
  url                     text        not null,
  headers                 text[]      not null,
  secret                  text,
  previous_secret         text,
  previous_secret_until   timestamptz,
  ca_file                 text,
  client_certificate_file text,
  client_key_file         text,
  max_in_flight           integer     not null check (max_in_flight between 1 and 1000),
  latest_only             boolean     not null,
  timeout_seconds         float8      not null check (timeout_seconds > 0 and timeout_seconds <= 300),
  connect_timeout_seconds float8      not null check (connect_timeout_seconds > 0 and connect_timeout_seconds <= 300),
  paused_at               timestamptz,
  disabled_at             timestamptz,
  resumed_at              timestamptz,
  position                pg_snapshot not null,
  place_xid               xid8,
  place_seq               bigint,
  cluster                 bigint      not null,
  fencing_token                   bigint      not null default 0,
  daemon_number                  integer,
  daemon_name             text,
  leased_until            timestamptz,
  failing_since           timestamptz,
  next_probe_at           timestamptz,
  problem                 text,
  reconciled_at           timestamptz,
  reconciled_missing      bigint,
  reconciled_stale        bigint,
  created_at              timestamptz not null default now(),
  pruned_until            timestamptz,
  in_flight               integer,
  listening               boolean,
  deliveries_per_second     real,
  last_success_at         timestamptz,
  last_failure_at         timestamptz,
  last_failure            text,
  last_minute_at          timestamptz,
  delivered_by_minute      integer[]   check (cardinality(delivered_by_minute) = 60),
  failed_by_minute       integer[]   check (cardinality(failed_by_minute) = 60),
  check ((place_xid is null) = (place_seq is null)),
  check ((previous_secret is null) = (previous_secret_until is null))
) with (fillfactor = 50);
comment on table cdc_bridge.endpoint is 'HTTPS endpoints that are called, each with its position in the change log and the daemon that calls it';
comment on column cdc_bridge.endpoint.in_settings is 'Declared in a daemon''s settings: headers and secret stand there and not here';
comment on column cdc_bridge.endpoint.headers is 'Headers of every call, each "Name: value"';
comment on column cdc_bridge.endpoint.secret is 'Signing secret, whsec_...';
comment on column cdc_bridge.endpoint.previous_secret is 'The secret before, with which calls are signed as well until previous_secret_until';
comment on column cdc_bridge.endpoint.ca_file is 'File on the daemon''s machine with the CA certificates that alone are trusted; null: the system''s';
comment on column cdc_bridge.endpoint.latest_only is 'Whether one call stands for several changes of a reservation that wait';
comment on column cdc_bridge.endpoint.paused_at is 'Since when an operator wants no calls';
comment on column cdc_bridge.endpoint.disabled_at is 'Since when the endpoint wants no calls: it answered 410';
comment on column cdc_bridge.endpoint.resumed_at is 'When it was last resumed';
comment on column cdc_bridge.endpoint.position is 'All changes visible in this snapshot are in the ledger';
comment on column cdc_bridge.endpoint.place_xid is 'A transaction that is handed over in part, else null';
comment on column cdc_bridge.endpoint.place_seq is 'The last change of place_xid that is in the ledger';
comment on column cdc_bridge.endpoint.cluster is 'System identifier of the cluster whose transaction ids position is made of';
comment on column cdc_bridge.endpoint.fencing_token is 'Grows each time a daemon takes the endpoint; only the newest may record';
comment on column cdc_bridge.endpoint.daemon_number is 'Number of the daemon that holds the endpoint, its advisory lock''s';
comment on column cdc_bridge.endpoint.daemon_name is 'Host and process id of that daemon';
comment on column cdc_bridge.endpoint.leased_until is 'When another daemon may take it; null: at once';
comment on column cdc_bridge.endpoint.failing_since is 'Since when its breaker is open; null: it works';
comment on column cdc_bridge.endpoint.next_probe_at is 'When an endpoint that fails is tried again';
comment on column cdc_bridge.endpoint.problem is 'What is wrong, in words';
comment on column cdc_bridge.endpoint.reconciled_at is 'When the last scheduled comparison with e-Res''s rows ended';
comment on column cdc_bridge.endpoint.reconciled_missing is 'Reservations that it found and the endpoint never got';
comment on column cdc_bridge.endpoint.reconciled_stale is 'Reservations that stood otherwise than the endpoint got them last';
comment on column cdc_bridge.endpoint.pruned_until is 'What was settled before this may have been deleted from the ledger';
comment on column cdc_bridge.endpoint.in_flight is 'Calls under way, when its daemon renewed the lease';
comment on column cdc_bridge.endpoint.listening is 'Whether its daemon heard the doorbell then; false: it polls';
comment on column cdc_bridge.endpoint.deliveries_per_second is 'Calls accepted, over the minute before that';
comment on column cdc_bridge.endpoint.last_success_at is 'When a call was accepted last';
comment on column cdc_bridge.endpoint.last_failure_at is 'When a call was refused last';
comment on column cdc_bridge.endpoint.last_failure is 'Why, in words';
comment on column cdc_bridge.endpoint.last_minute_at is 'When the minute began that the next two end with';
comment on column cdc_bridge.endpoint.delivered_by_minute is 'Calls accepted in each of sixty minutes, the oldest first, when its daemon renewed the lease';
comment on column cdc_bridge.endpoint.failed_by_minute is 'Calls refused in them';
