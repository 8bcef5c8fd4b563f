-- cdc_bridge.attempt: the attempts of deliveries, so that people see what happened when. A delivery that succeeds at its first
-- attempt has no row here.
--
-- Kept is every failed attempt, and a successful one behind others of its delivery. They are written with the delivery log, and
-- those of a delivery that is held, because its endpoint is failing, before the delivery has a row there. So the row says itself
-- what it is an attempt of. As a delivery may be tried for weeks, its first 5 attempts and its last 20 are kept (keep_attempts in
-- cdc_bridge/pipeline/queries.sql). They are pruned with their delivery.
--
-- A response may have a guest's data in it. It is kept only if the endpoint's option keep_responses says so, for 24 hours, and
-- cdc_bridge_reader cannot read it.
--
-- As in cdc_bridge.delivery, there are no foreign keys.

create table if not exists cdc_bridge.attempt (
  endpoint_id      bigint      not null,
  seq              bigint      not null,
  number           integer     not null,
  reservation_id   text        not null,
  operation        "char"      not null check (operation in ('I', 'U')),
  changed_at       timestamptz not null,
  began_at         timestamptz not null,
  duration_seconds real        not null,
  status           integer,
  reason           text,
  flaw             text,
  address          text,
  protocol         text,
  message_id       text,
  response         text,
  recorded_at      timestamptz not null default now(),
  primary key (endpoint_id, seq, number)
) with (autovacuum_vacuum_scale_factor = 0.05);

-- For pruning: attempts whose delivery never got into the delivery log, and responses.
create index if not exists attempt_recorded on cdc_bridge.attempt (recorded_at, endpoint_id, seq, number);
create index if not exists attempt_response on cdc_bridge.attempt (recorded_at) where response is not null;

comment on table cdc_bridge.attempt is 'Attempts of the deliveries that did not succeed at once';
comment on column cdc_bridge.attempt.seq is 'Number of the change, as in cdc_bridge.delivery';
comment on column cdc_bridge.attempt.number is 'Which attempt of the delivery it was; of many, those in between are not kept';
comment on column cdc_bridge.attempt.began_at is 'Start of the attempt, by the daemon''s clock';
comment on column cdc_bridge.attempt.status is 'HTTP status of the response; null: there was none';
comment on column cdc_bridge.attempt.reason is 'Why it failed, null if it did not; contains no part of a body';
comment on column cdc_bridge.attempt.flaw is 'What was wrong with the form of the response; null: nothing';
comment on column cdc_bridge.attempt.address is 'IP address and port connected to, the proxy''s if there is one; null: there was no connection';
comment on column cdc_bridge.attempt.protocol is 'Such as HTTP/1.1, TLSv1.3, and the proxy';
comment on column cdc_bridge.attempt.message_id is 'webhook-id; null: no request was sent';
comment on column cdc_bridge.attempt.response is 'First 2 kB of a failed response for 24 hours, if the endpoint has keep_responses; may have guest data in it';
comment on column cdc_bridge.attempt.recorded_at is 'When it was written, by the server''s clock';

-- For readers: all columns but the response. One that is not named here cannot be read.
grant select (
  endpoint_id, seq, number, reservation_id, operation, changed_at, began_at, duration_seconds, status, reason, flaw, address,
  protocol, message_id, recorded_at
) on cdc_bridge.attempt to cdc_bridge_reader;
