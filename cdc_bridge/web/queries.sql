-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: set_up_dashboard_session
-- Limits the duration of statements and forbids writing.
select
  set_config('application_name', %(name)s, false),
  set_config('statement_timeout', %(statement_timeout)s, false),
  set_config('default_transaction_read_only', 'on', false)

-- name: set_up_changing_session
-- Limits the duration of statements.
select
  set_config('application_name', %(name)s, false),
  set_config('statement_timeout', %(statement_timeout)s, false)

-- name: lock_key_until_commit
-- Locks an idempotency key until the transaction ends. False: a request with it is under way.
select pg_try_advisory_xact_lock(52685, hashtext(%(token)s || ' ' || %(key)s))

-- name: lock_key
-- Locks an idempotency key until the session ends. False: a request with it is under way.
select pg_try_advisory_lock(52685, hashtext(%(token)s || ' ' || %(key)s))

-- name: kept_response
-- The response kept for an idempotency key; if the request made a secret, with the hash of that, and the endpoint's secrets as
-- they are stored, if it still has any.
select k.request, k.status, k.body, k.endpoint, k.secret_hash, e.url, e.secret, e.previous_secret
from cdc_bridge.idempotency_key k
left join cdc_bridge.endpoint e on e.name = k.endpoint
where k.token = %(token)s and k.key = %(key)s and k.recorded_at > now() - interval '24 hours'

-- name: forget_expired_response
-- Makes room for another request with the same idempotency key.
delete from cdc_bridge.idempotency_key where token = %(token)s and key = %(key)s and recorded_at <= now() - interval '24 hours'

-- name: keep_response
-- Keeps the response for an idempotency key.
insert into cdc_bridge.idempotency_key (token, key, request, status, body, endpoint, secret_hash)
values (%(token)s, %(key)s, %(request)s, %(status)s, %(body)s, %(endpoint)s, %(secret_hash)s)
