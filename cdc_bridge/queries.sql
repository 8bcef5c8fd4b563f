-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: set_up_session
-- Names a session of the daemon, and has PostgreSQL end transactions that a frozen process leaves open. (The first of
-- the time-outs does not count while messages wait to be sent in one go; the second is there since version 17.)
select
  set_config('application_name', %(name)s, false),
  set_config('idle_in_transaction_session_timeout', '5s', false),
  case when current_setting('server_version_num')::int >= 170000 then set_config('transaction_timeout', '60s', false) end

-- name: plan_once
-- Has the few statements that deliveries are made of planned once a session, not for each of their parameters: planning
-- takes several times longer than running them. (So a long list of values is compared by a subquery, which is hashed; an
-- array in "= any" would be only where it is known when the statement is planned.)
set plan_cache_mode to force_generic_plan

-- name: set_up_command
-- Has PostgreSQL end a transaction that a command leaves open, stopped with Ctrl-Z for example: it may lock out the daemon.
set idle_in_transaction_session_timeout to '5s'
