-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: set_up_dashboard_session
-- Limits the duration of statements and forbids writing.
select
  set_config('application_name', %(name)s, false),
  set_config('statement_timeout', %(statement_timeout)s, false),
  set_config('default_transaction_read_only', 'on', false)
