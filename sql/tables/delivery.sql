-- cdc_bridge.delivery: the ledger, one row for each delivery that is settled or waits for its next attempt.
--
--   waiting     refused so far, to be tried again at next_attempt_at; null there: a newer change of the same
--               reservation waits too, and is tried for both
--   delivered   answered with 2xx
--   superseded  a newer call for the same reservation was answered with 2xx; or a newer change stands in for it (latest_only)
--   dead        refused until the last step of the schedule
--   gone        the reservation was deleted before it could be loaded
--
-- No foreign key to endpoint: it would cost a look-up for each delivery and guard nothing, as only the daemon writes here.
-- Why it is vacuumed early: see cdc_bridge.change.

create table if not exists cdc_bridge.delivery (
  endpoint_id      bigint      not null,
  seq              bigint      not null,
  reservation_id   text        not null,
  operation        "char"      not null check (operation in ('I', 'U')),
  changed_at       timestamptz not null,
  state            text        not null check (state in ('queued', 'retrying', 'delivered', 'superseded', 'dead', 'skipped')),
  attempts         integer     not null,
  failures         integer     not null,
  next_attempt_at  timestamptz,
  last_status      integer,
  last_error       text,
  message_id       text,
  last_attempt_at  timestamptz,
  duration_seconds real,
  recorded_at      timestamptz not null default now(),
  primary key (endpoint_id, seq),
  check (next_attempt_at is null or state in ('queued', 'retrying'))
) with (autovacuum_vacuum_scale_factor = 0.05);

create index if not exists delivery_of_reservation on cdc_bridge.delivery (endpoint_id, reservation_id, seq);
-- The older deliveries of a reservation that share the fate of its newest: few, beside all that were settled before.
create index if not exists delivery_pending on cdc_bridge.delivery (endpoint_id, reservation_id, seq) where state in ('queued', 'retrying');
create index if not exists delivery_due on cdc_bridge.delivery (endpoint_id, next_attempt_at) where next_attempt_at is not null;
-- What is counted and listed for people. Few rows are in it, and a delivery that goes well at once never is.
create index if not exists delivery_unsettled on cdc_bridge.delivery (endpoint_id, state, seq) where state in ('queued', 'retrying', 'dead');

comment on table cdc_bridge.delivery is 'Ledger: what became of each change at each endpoint';
comment on column cdc_bridge.delivery.seq is 'The change, as numbered in cdc_bridge.change';
comment on column cdc_bridge.delivery.attempts is 'Calls made so far';
comment on column cdc_bridge.delivery.failures is 'Those of them whose refusal was put down to this delivery: its place in the schedule';
comment on column cdc_bridge.delivery.next_attempt_at is 'When a waiting delivery is tried again; null: a newer change of the reservation is tried for it';
comment on column cdc_bridge.delivery.last_status is 'HTTP status of the last answer; null: there was none';
comment on column cdc_bridge.delivery.last_error is 'Why the last attempt failed, in words; never a part of body or answer';
comment on column cdc_bridge.delivery.message_id is 'webhook-id of the last attempt';
comment on column cdc_bridge.delivery.last_attempt_at is 'When the last attempt began';
comment on column cdc_bridge.delivery.duration_seconds is 'How long the last attempt took';
