-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: access_token_version
-- The time, and what is another one after each change of the tokens: a row is added or removed, never changed.
select now(), count(*), max(token_id), max(created_at) from cdc_bridge.access_token

-- name: access_tokens
-- The tokens, named ones first.
select t.token_hash, coalesce(t.name, 'portal of ' || e.name), t.access_right, e.name, t.token_id, t.expires_at
from cdc_bridge.access_token t
left join cdc_bridge.endpoint e using (endpoint_id)
order by t.endpoint_id is not null, t.token_id
limit %(limit)s

-- name: note_token_uses
-- Notes that tokens were used, to the hour.
update cdc_bridge.access_token
set last_used_at = date_trunc('hour', now())
where token_id = any (%(token_ids)s) and last_used_at is distinct from date_trunc('hour', now())

-- name: number_of_named_tokens
-- How many there are.
select count(*) from cdc_bridge.access_token where name is not null

-- name: add_token
-- Adds a named token; none: the name is taken.
insert into cdc_bridge.access_token (name, access_right, token_hash, expires_at, created_by)
values (%(name)s, %(right)s, %(hash)s, now() + %(lifetime)s::interval, %(by)s)
on conflict (name) do nothing
returning expires_at

-- name: list_tokens
-- What may be shown of the tokens.
select
  t.name, e.name as endpoint, t.access_right as right, t.created_at, t.created_by, t.expires_at,
  coalesce(t.expires_at <= now(), false) as expired, t.last_used_at
from cdc_bridge.access_token t
left join cdc_bridge.endpoint e using (endpoint_id)
order by t.name, e.name

-- name: remove_token
-- Removes a named token.
delete from cdc_bridge.access_token where name = %(name)s returning token_id

-- name: add_portal_token
-- Adds the token of an endpoint's link.
insert into cdc_bridge.access_token (endpoint_id, access_right, token_hash, expires_at, created_by)
values (%(endpoint_id)s, %(right)s, %(hash)s, now() + %(lifetime)s::interval, %(by)s)
returning expires_at

-- name: remove_portal_token
-- Removes the token of an endpoint's link.
delete from cdc_bridge.access_token where endpoint_id = %(endpoint_id)s returning token_id
