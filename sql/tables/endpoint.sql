-- cdc_bridge.endpoint: one row for each endpoint: its options, its position in the change log, its lease and its status.
--
-- The options are declared in cdc_bridge/endpoints/options.py, and have the same names, defaults and limits here.
--
-- position is a snapshot: every change visible in it is in the delivery log, settled or pending. Within a large
-- transaction, which is read in pages, place_xid and place_seq say up to which change. While following is set, the position
-- is that of its daemon instead (cdc_bridge.daemon): nothing of the endpoint is behind, and one row moves for all that follow.
--
-- One daemon at a time delivers to an endpoint: daemon_id says which, and fencing_token grows with each new lease; nothing is
-- recorded under an older one. How long a lease lasts: see cdc_bridge.daemon.
--
-- Secrets are in plain text or encrypted (sql/views/endpoint_secret.sql): secret, previous_secret, the values in headers, user
-- and password in proxy, the query in url.
--
-- Half of each page stays free, so that updates of what daemons write need no index entries.

create table if not exists cdc_bridge.endpoint (
  endpoint_id             bigint      generated always as identity primary key,
  name                    text        not null unique check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  in_settings             boolean     not null,
  created_at              timestamptz not null default now(),
  -- options
  url                     text        not null,
  headers                 text[]      not null default '{}',
  secret                  text,
  previous_secret         text,
  previous_secret_until   timestamptz,
  max_in_flight           integer     not null default 16 check (max_in_flight between 1 and 1000),
  max_per_second          float8      check (max_per_second > 0 and max_per_second <= 10000),
  latest_only             boolean     not null default false,
  timeout_seconds         float8      not null default 15 check (timeout_seconds > 0 and timeout_seconds <= 300),
  connect_timeout_seconds float8      not null default 5 check (connect_timeout_seconds > 0 and connect_timeout_seconds <= 300),
  proxy                   text,
  ca_file                 text,
  client_certificate_file text,
  client_key_file         text,
  payload                 text        not null default 'reservation',
  "only"                  text[]      not null default '{}',
  events                  text        not null default 'both' check (events in ('both', 'created', 'updated')),
  skip_unchanged          boolean     not null default false,
  keep_responses          boolean     not null default false,
  -- set by operators, by the endpoint's 410, or by a restored dump
  paused_at               timestamptz,
  disabled_at             timestamptz,
  resumed_at              timestamptz,
  cluster                 bigint      not null,
  changed_xid             xid8        not null default pg_current_xact_id(),
  -- written by daemons while they deliver: a column added here must be added to announce_endpoint.sql too
  position                pg_snapshot not null,
  place_xid               xid8,
  place_seq               bigint,
  following               boolean     not null default false,
  fencing_token           bigint      not null default 0,
  daemon_id               bigint,
  released_at             timestamptz,
  failing_since           timestamptz,
  next_probe_at           timestamptz,
  problem                 text,
  rate_limited_since      timestamptz,
  reconciled_at           timestamptz,
  reconciled_missing      bigint,
  reconciled_stale        bigint,
  pruned_until            timestamptz,
  in_flight               integer,
  deliveries_per_second   real,
  last_success_at         timestamptz,
  last_failure_at         timestamptz,
  last_failure            text,
  last_minute_at          timestamptz,
  delivered_by_minute     integer[]   check (cardinality(delivered_by_minute) = 60),
  failed_by_minute        integer[]   check (cardinality(failed_by_minute) = 60),
  skipped_deleted         bigint      not null default 0,
  skipped_filtered        bigint      not null default 0,
  skipped_event           bigint      not null default 0,
  skipped_unchanged       bigint      not null default 0,
  check ((place_xid is null) = (place_seq is null)),
  check (not following or daemon_id is not null),
  check ((previous_secret is null) = (previous_secret_until is null))
) with (fillfactor = 50);
-- What a daemon asks for at each heartbeat: the endpoints of no daemon, and those that somebody has changed.
create index if not exists endpoint_of_daemon on cdc_bridge.endpoint (daemon_id);
create index if not exists endpoint_changed on cdc_bridge.endpoint (changed_xid);
comment on table cdc_bridge.endpoint is 'HTTPS endpoints, each with its options, its position in the change log, its lease and its status';
comment on column cdc_bridge.endpoint.in_settings is 'Declared in a daemon''s settings, which hold its headers and secret';
comment on column cdc_bridge.endpoint.headers is 'Headers of every request, each "Name: value"';
comment on column cdc_bridge.endpoint.secret is 'Signing secret, whsec_...; null: requests are not signed';
comment on column cdc_bridge.endpoint.previous_secret is 'Secret before the last rotation, which signs requests as well until previous_secret_until';
comment on column cdc_bridge.endpoint.max_in_flight is 'Maximum number of requests in flight at the same time';
comment on column cdc_bridge.endpoint.max_per_second is 'Maximum number of requests per second; null: no limit';
comment on column cdc_bridge.endpoint.latest_only is 'Whether one request with the current data is sent for all queued changes of a reservation';
comment on column cdc_bridge.endpoint.timeout_seconds is 'Time limit for a request, connection included';
comment on column cdc_bridge.endpoint.connect_timeout_seconds is 'Time limit for establishing a connection';
comment on column cdc_bridge.endpoint.proxy is 'HTTP proxy to connect through, http://user:password@proxy:3128, or none; null: as the daemon''s environment says';
comment on column cdc_bridge.endpoint.ca_file is 'PEM file on the daemon''s machine with the CA certificates to trust; null: the system''s';
comment on column cdc_bridge.endpoint.client_certificate_file is 'PEM file there with the certificate to present to an endpoint that asks for one';
comment on column cdc_bridge.endpoint.client_key_file is 'PEM file there with its private key; null: it is in the certificate file';
comment on column cdc_bridge.endpoint.payload is 'Payload definition that its bodies are made by';
comment on column cdc_bridge.endpoint."only" is 'Conditions, each "column=value,value": it gets the reservations that meet all of them';
comment on column cdc_bridge.endpoint.events is 'Changes that it gets: created, updated or both';
comment on column cdc_bridge.endpoint.skip_unchanged is 'Whether nothing is sent if the body is the one that was delivered last';
comment on column cdc_bridge.endpoint.keep_responses is 'Whether the first 2 kB of failed responses are kept in cdc_bridge.attempt for 24 hours';
comment on column cdc_bridge.endpoint.paused_at is 'When an operator paused it';
comment on column cdc_bridge.endpoint.disabled_at is 'When it responded with 410 Gone, which stops deliveries';
comment on column cdc_bridge.endpoint.resumed_at is 'When it was last resumed';
comment on column cdc_bridge.endpoint.cluster is 'System identifier of the cluster that position belongs to';
comment on column cdc_bridge.endpoint.changed_xid is 'Transaction in which somebody changed it last';
comment on column cdc_bridge.endpoint.position is 'All changes visible in this snapshot are in the delivery log; see following';
comment on column cdc_bridge.endpoint.place_xid is 'A transaction that is read in part; null: none';
comment on column cdc_bridge.endpoint.place_seq is 'The last change of place_xid that is in the delivery log';
comment on column cdc_bridge.endpoint.following is 'Whether its position is that of its daemon';
comment on column cdc_bridge.endpoint.fencing_token is 'Grows with each new lease; only the newest token may record';
comment on column cdc_bridge.endpoint.daemon_id is 'The daemon that holds the lease; null: none';
comment on column cdc_bridge.endpoint.released_at is 'When its lease was released; null: it is leased, or its daemon did not release it';
comment on column cdc_bridge.endpoint.failing_since is 'When its daemon found it failing; null: it is not failing';
comment on column cdc_bridge.endpoint.next_probe_at is 'Next probe of a failing endpoint';
comment on column cdc_bridge.endpoint.problem is 'What is wrong, for people';
comment on column cdc_bridge.endpoint.rate_limited_since is 'Since when its requests have had to wait for max_per_second; null: they have not';
comment on column cdc_bridge.endpoint.reconciled_at is 'End of the last scheduled reconcile';
comment on column cdc_bridge.endpoint.reconciled_missing is 'Reservations it found that were never delivered';
comment on column cdc_bridge.endpoint.reconciled_stale is 'Reservations it found that differ from their last delivery';
comment on column cdc_bridge.endpoint.pruned_until is 'Deliveries settled before this may have been pruned';
comment on column cdc_bridge.endpoint.in_flight is 'Requests in flight at the last lease renewal';
comment on column cdc_bridge.endpoint.deliveries_per_second is 'Successful deliveries per second, over the minute before that';
comment on column cdc_bridge.endpoint.last_success_at is 'Last successful attempt';
comment on column cdc_bridge.endpoint.last_failure_at is 'Last failed attempt';
comment on column cdc_bridge.endpoint.last_failure is 'Why it failed';
comment on column cdc_bridge.endpoint.last_minute_at is 'Start of the last minute in delivered_by_minute and failed_by_minute';
comment on column cdc_bridge.endpoint.delivered_by_minute is 'Successful attempts in each of the last 60 minutes, oldest first';
comment on column cdc_bridge.endpoint.failed_by_minute is 'Failed attempts in each of the last 60 minutes, oldest first';
comment on column cdc_bridge.endpoint.skipped_deleted is 'Deliveries skipped so far because the reservation was deleted';
comment on column cdc_bridge.endpoint.skipped_filtered is 'Deliveries skipped so far because the reservation is not in its payload, or does not meet its conditions';
comment on column cdc_bridge.endpoint.skipped_event is 'Deliveries skipped so far because it does not get such changes';
comment on column cdc_bridge.endpoint.skipped_unchanged is 'Deliveries skipped so far because the body was the one delivered last';

-- For readers: all columns but headers, secret, previous_secret, proxy, which may hold a password, and url, whose query
-- may be secret: they find the rest of it in endpoint_status. One that is not named here cannot be read.
grant select (
  endpoint_id, name, in_settings, created_at,
  previous_secret_until, max_in_flight, max_per_second, latest_only, timeout_seconds, connect_timeout_seconds,
  ca_file, client_certificate_file, client_key_file, payload, "only", events, skip_unchanged, keep_responses,
  paused_at, disabled_at, resumed_at, cluster, changed_xid, position, place_xid, place_seq, following, fencing_token, daemon_id, released_at,
  failing_since, next_probe_at, problem, rate_limited_since, reconciled_at, reconciled_missing, reconciled_stale, pruned_until,
  in_flight, deliveries_per_second, last_success_at, last_failure_at, last_failure,
  last_minute_at, delivered_by_minute, failed_by_minute,
  skipped_deleted, skipped_filtered, skipped_event, skipped_unchanged
) on cdc_bridge.endpoint to cdc_bridge_reader;
