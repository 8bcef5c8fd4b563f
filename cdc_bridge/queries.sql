-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: set_up_session
-- Sets what a session depends on, as far as this version of PostgreSQL has it. Commits are synchronous: what is recorded
-- must outlive a crash. A policy makes a statement fail, since a row that it hides would look deleted.
select pg_catalog.set_config(s.name, v.value, false)
from (
  values
    -- values as text
    ('TimeZone', 'UTC'),
    ('DateStyle', 'ISO'),
    ('IntervalStyle', 'postgres'),
    ('extra_float_digits', '1'),
    ('bytea_output', 'hex'),
    ('xmlbinary', 'base64'),
    ('xmloption', 'content'),
    ('quote_all_identifiers', 'off'),
    -- text as values
    ('array_nulls', 'on'),
    ('standard_conforming_strings', 'on'),
    ('backslash_quote', 'safe_encoding'),
    ('escape_string_warning', 'off'),
    ('transform_null_equals', 'off'),
    ('timezone_abbreviations', 'Default'),
    ('gin_fuzzy_search_limit', '0'),
    ('jit', 'off'),  -- To compile a statement about ten thousand endpoints takes fifty times as long as to run it.
    -- transactions
    ('default_transaction_isolation', 'read committed'),
    ('default_transaction_read_only', 'off'),
    ('default_transaction_deferrable', 'off'),
    ('synchronous_commit', case when pg_catalog.current_setting('synchronous_commit') = 'remote_apply' then 'remote_apply' else 'on' end),
    -- limits: the daemon and the commands have their own
    ('lock_timeout', '0'),
    -- A process that is frozen or stopped with Ctrl-Z may lock out others.
    ('idle_in_transaction_session_timeout', '5s'),
    -- what may be read and run
    ('row_security', 'off'),
    ('restrict_nonsystem_relation_kind', ''),
    ('exit_on_error', 'off'),
    ('client_min_messages', 'notice'),
    ('check_function_bodies', 'on'),
    ('plan_cache_mode', 'auto')
) as v (name, value)
join pg_catalog.pg_settings s on s.name = v.name

-- name: server_incarnation
-- Tells one run of a server from another. A standby has no timeline of its own yet. A crash of a single session, which ends
-- all others, begins the statistics anew.
select
  (select system_identifier from pg_control_system())::text,
  case when pg_is_in_recovery() then '' else left(pg_walfile_name(pg_current_wal_lsn()), 8) end,
  pg_postmaster_start_time(),
  coalesce((select stats_reset from pg_stat_bgwriter), 'epoch'),
  (select d.oid::bigint from pg_database d where d.datname = current_database()),
  coalesce(
    (select c.oid::bigint from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'cdc_bridge' and c.relname = 'endpoint'),
    0
  )

-- name: set_up_daemon_session
-- Names a session of the daemon, and has PostgreSQL end transactions that a frozen process leaves open. (The time-out of
-- every session does not count while messages wait to be sent in one go; this one is there since version 17.)
select
  set_config('application_name', %(name)s, false),
  case when current_setting('server_version_num')::int >= 170000 then set_config('transaction_timeout', '60s', false) end

-- name: plan_once
-- Has the few statements that deliveries are made of planned once a session, not for each of their parameters: planning
-- takes several times longer than running them. (So a long list of values is compared by a subquery, which is hashed; an
-- array in "= any" would be only where it is known when the statement is planned.)
set plan_cache_mode to force_generic_plan

-- name: limit_loading
-- Ends a load that a row makes endless, before other endpoints wait for its session; a load of many is halved then.
select set_config('lock_timeout', '3s', false), set_config('statement_timeout', '5s', false)
