-- cdc_bridge.idempotency_key: requests of the HTTP API that changed something and had an Idempotency-Key, with their
-- responses, for 24 hours: whoever repeats such a request gets the first response, whichever daemon it reaches.
--
-- A row commits together with what the request changed. While the request is handled, its session holds the advisory lock
-- (52685, hash of token and key). So neither a crash nor another daemon leaves a request half done or does it twice.
--
-- A secret that the request made is not kept here: it stands in the endpoint's row, and its hash tells whether it is that
-- one. No response has the key of a reservation in it, and of the request there is only a hash.

create table if not exists cdc_bridge.idempotency_key (
  token       text        not null,
  key         text        not null,
  request     bytea       not null,
  status      integer     not null,
  body        text        not null,
  endpoint    text,
  secret_hash bytea,
  recorded_at timestamptz not null default now(),
  primary key (token, key),
  check ((endpoint is null) = (secret_hash is null))
);
comment on table cdc_bridge.idempotency_key is 'Requests of the HTTP API with an Idempotency-Key, and their responses, for 24 hours';
comment on column cdc_bridge.idempotency_key.token is 'Name of the token that the request came with';
comment on column cdc_bridge.idempotency_key.request is 'SHA-256 of method, path and body: the same key with another request is an error';
comment on column cdc_bridge.idempotency_key.status is 'HTTP status of the response';
comment on column cdc_bridge.idempotency_key.body is 'Body of the response as JSON, without the secret';
comment on column cdc_bridge.idempotency_key.endpoint is 'Endpoint that the request made a secret for; null: it made none';
comment on column cdc_bridge.idempotency_key.secret_hash is 'SHA-256 of that secret';
