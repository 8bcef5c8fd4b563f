-- Installs cdc-bridge in the current database, or repairs what is missing, in one transaction.
--
--   psql -v mapping=my-mapping.sql -f sql/install.sql           (from a copy of the sql folder)
--   cdc-bridge install --mapping my-mapping.sql --print | psql  (the same text in one piece)
--   cdc-bridge install --mapping my-mapping.sql                 (runs that text, without psql's own commands)
--
-- Run it as a superuser, or as a role with CREATEROLE that owns the database and the reservations table. Safe to repeat:
-- a second run changes nothing. An older version has to be migrated first, by the files in migrations; this says which.
-- psql prints a summary, stops at the first error, and changes nothing then.
--
-- Only the mapping names e-Res's own tables. Without one an installed mapping stays; if there is none, it is mapping.sql, which
-- is for the tables of example/schema.sql.
--
-- Locks: SHARE ROW EXCLUSIVE on the reservations table from the creation of its triggers until commit (writers wait,
-- readers do not), and only if a trigger is missing or different. lock_timeout bounds the wait, because later writers queue
-- behind it; it is well below deadlock_timeout, so that in a deadlock we give way, not e-Res.

\set cdc_bridge_quiet :QUIET
\set cdc_bridge_on_error_stop :ON_ERROR_STOP
\set QUIET on
\set ON_ERROR_STOP on
\pset tuples_only on
\pset format unaligned

begin;
set local search_path = pg_catalog, pg_temp;  -- no object that others created in public is used
set local lock_timeout = '200ms';
set local statement_timeout = '60s';
set local client_min_messages = warning;
set local cdc_bridge.schema_version = 1;

\ir preconditions.sql
\ir roles.sql

do $schema$  -- "if not exists" would need the right to create one also where it is there
begin
  if pg_catalog.to_regnamespace('cdc_bridge') is null then
    create schema cdc_bridge authorization cdc_bridge_owner;
  end if;
end
$schema$;
comment on schema cdc_bridge is 'cdc-bridge: change capture of e-Res reservations, and the log of their deliveries';

-- The owner creates everything, so that ALTER DEFAULT PRIVILEGES of the installing role grants nobody a right.
do $role$ begin perform set_config('cdc_bridge.role_before', current_setting('role'), true); end $role$;
set local role cdc_bridge_owner;
\ir tables/schema_version.sql
\ir tables/change.sql
\ir tables/daemon.sql
\ir tables/endpoint.sql
\ir tables/access_token.sql
\ir tables/audit.sql
\ir tables/history.sql
\ir tables/delivery.sql
\ir tables/attempt.sql
\ir tables/payload_definition.sql
\ir tables/captured_table.sql
\ir tables/related_table.sql
\ir views/endpoint_position.sql
\ir tables/idempotency_key.sql
\ir tables/alert.sql
\ir functions/define_capture.sql
\ir functions/define_related.sql
\ir functions/attach.sql
\ir functions/attach_related.sql
\ir functions/related_reading.sql
\ir functions/detach.sql
\ir functions/disable_capture.sql
\ir functions/enable_capture.sql
\ir functions/define_loader.sql
\ir functions/define_payload.sql
\ir functions/drop_payload.sql
\ir functions/canonical.sql
\ir functions/payload_condition.sql
\ir functions/payload_reading.sql
\ir functions/is_registered.sql
\ir functions/end_daemon.sql
\ir functions/history_of.sql
\ir functions/announce_endpoint.sql
\ir functions/adopt.sql
\ir functions/prune.sql
\ir functions/erase.sql
\ir functions/problem_of_capture.sql
\ir functions/faults_of_capture.sql
\ir functions/mapping_notes.sql
\ir views/endpoint_status.sql
\ir views/unsettled_delivery.sql
\ir views/endpoint_secret.sql
\ir functions/losses_of_uninstall.sql
\ir grants.sql

-- The functions in use are brought up to date; capture stays switched off where it is. The summary compares the payloads with
-- those that there were.
do $functions$
begin
  perform set_config('role', current_setting('cdc_bridge.role_before'), true);
  perform set_config('cdc_bridge.payloads_before', coalesce(
    (
      select jsonb_object_agg(d.name, jsonb_build_object('query', d.query, 'columns', d.columns))::text
      from cdc_bridge.payload_definition d
    ), ''
  ), true);
  perform cdc_bridge.define_loader(d.name) from cdc_bridge.payload_definition d;
  perform cdc_bridge.define_capture(substr(p.proname, length('capture_by_') + 1)::name, true)
  from pg_catalog.pg_proc p
  where p.pronamespace = 'cdc_bridge'::regnamespace and p.proname like 'capture\_by\_%'
    and p.prosrc not like '%Capture is disabled%';
  perform cdc_bridge.define_related(r.related_id, true)
  from cdc_bridge.related_table r
  join pg_catalog.pg_proc p on p.pronamespace = 'cdc_bridge'::regnamespace and p.proname = 'capture_related_' || r.related_id
  where p.prosrc not like '%Capture is disabled%';
end
$functions$;

\if :{?mapping}
  \i :mapping
\else
  -- If capture is attached but there is no payload, the mapping was dropped, and it may not have been the shipped one.
  select not exists (select from cdc_bridge.payload_definition where name = 'reservation')
    and not exists (select from pg_trigger where tgname in ('cdc_bridge_insert', 'cdc_bridge_update')) as without_mapping \gset
  \if :without_mapping
    \ir example-tables.sql
    \ir mapping.sql
  \endif
\endif

\ir repair.sql
\ir summary.sql
commit;

\pset format aligned
\pset tuples_only off
\set ON_ERROR_STOP :cdc_bridge_on_error_stop
\set QUIET :cdc_bridge_quiet
\unset cdc_bridge_on_error_stop
\unset cdc_bridge_quiet
