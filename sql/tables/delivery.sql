-- cdc_bridge.delivery: the delivery log. One row for each delivery that is settled or pending; a delivery is one change for
-- one endpoint.
--
--   queued      requested by hand, no attempt yet
--   retrying    no attempt succeeded yet
--               (both are pending: the next attempt is at next_attempt_at, or null if a newer pending delivery of the same
--               reservation covers this one)
--   delivered   an attempt got a 2xx response
--   superseded  a newer delivery of the same reservation succeeded, or covers this one (latest_only)
--   dead        dead letter: the last attempt of the schedule failed
--   skipped     there was nothing to send; skip_reason says why. Such a row exists only if it was attempted, or if the
--               reservation has another row at the endpoint: what an endpoint never gets costs none
--                 deleted    the reservation was deleted
--                 filtered   it is not in the endpoint's payload, or does not meet its conditions
--                 event      the endpoint does not get such changes
--                 unchanged  its body is the one that was delivered last
--
-- There is no foreign key to endpoint: it would cost a lookup per delivery and protect nothing, as only the daemon writes
-- here. For the vacuum setting see cdc_bridge.change.
--
-- Deliveries are looked up by a hash of the reservation's key, and then by the key itself. An index entry has room for some
-- 2,700 bytes: a key that e-Res's own index has just room for would not fit beside the other columns.

create table if not exists cdc_bridge.delivery (
  endpoint_id      bigint      not null,
  seq              bigint      not null,
  reservation_id   text        not null,
  operation        "char"      not null check (operation in ('I', 'U')),
  changed_at       timestamptz not null,
  state            text        not null check (state in ('queued', 'retrying', 'delivered', 'superseded', 'dead', 'skipped')),
  skip_reason      text        check (skip_reason in ('deleted', 'filtered', 'event', 'unchanged')),
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
  check ((state = 'skipped') = (skip_reason is not null)),
  check (next_attempt_at is null or state in ('queued', 'retrying'))
) with (autovacuum_vacuum_scale_factor = 0.05);

create index if not exists delivery_of_reservation on cdc_bridge.delivery (endpoint_id, hashtextextended(reservation_id, 0), seq);
-- Older pending deliveries of a reservation, to be settled with its newest one: few among many settled rows.
create index if not exists delivery_pending on cdc_bridge.delivery (endpoint_id, hashtextextended(reservation_id, 0), seq)
  where state in ('queued', 'retrying');
create index if not exists delivery_due on cdc_bridge.delivery (endpoint_id, next_attempt_at) where next_attempt_at is not null;
-- What people count and list. A delivery whose first attempt succeeds is never in it.
create index if not exists delivery_unsettled on cdc_bridge.delivery (endpoint_id, state, seq) where state in ('queued', 'retrying', 'dead');

comment on table cdc_bridge.delivery is 'Delivery log: the state of each change at each endpoint';
comment on column cdc_bridge.delivery.seq is 'Number of the change, as in cdc_bridge.change';
comment on column cdc_bridge.delivery.skip_reason is 'Why nothing was sent; null unless skipped';
comment on column cdc_bridge.delivery.attempts is 'Attempts so far';
comment on column cdc_bridge.delivery.failures is 'Failed attempts that count for the schedule: failures of the whole endpoint do not';
comment on column cdc_bridge.delivery.next_attempt_at is 'Next attempt of a pending delivery; null: a newer delivery of the reservation covers it';
comment on column cdc_bridge.delivery.last_status is 'HTTP status of the last response; null: there was none';
comment on column cdc_bridge.delivery.last_error is 'Why the last attempt failed; contains no part of a body';
comment on column cdc_bridge.delivery.message_id is 'webhook-id of the last attempt';
comment on column cdc_bridge.delivery.last_attempt_at is 'Start of the last attempt';
comment on column cdc_bridge.delivery.duration_seconds is 'Duration of the last attempt';
