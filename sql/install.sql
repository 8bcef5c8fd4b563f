-- Installs the SQL side of cdc-bridge in the current database, or puts right what is missing of it, in one transaction.
--
--   psql -v ON_ERROR_STOP=1 -f sql/install.sql            (from a copy of the sql folder)
--   cdc-bridge install --print | psql -v ON_ERROR_STOP=1  (the very same text in one piece)
--   cdc-bridge install                                    (the same, run for you)
--
-- Run it as a superuser, or as a role with CREATEROLE that owns the database and the reservations table. Safe to repeat:
-- a second run changes nothing. An older version is brought up to date by the files in migrations first; this says which.
--
-- Only the mapping, mapping.sql, names e-Res's own tables. One that is here already stays, unless another is named:
--   psql -v ON_ERROR_STOP=1 -v mapping=my-mapping.sql -f sql/install.sql
--
-- Locks: SHARE ROW EXCLUSIVE on the reservations table from the moment its triggers are created until commit
-- (writers wait, readers do not), and only when a trigger is missing or different. It is waited for no longer than
-- lock_timeout, because writers who come later wait behind it; and that is well below deadlock_timeout, so that where the
-- two lock one another it is us who give way.

begin;
set local search_path = pg_catalog, pg_temp;  -- nothing that others put into public is run here
set local lock_timeout = '200ms';
set local statement_timeout = '60s';
set local client_min_messages = warning;

\ir preconditions.sql
\ir roles.sql

create schema if not exists cdc_bridge authorization cdc_bridge_owner;
comment on schema cdc_bridge is 'cdc-bridge: change capture of e-Res reservations and the ledger of their delivery';

-- Everything is made by its owner, so that nobody has a right to it by somebody's ALTER DEFAULT PRIVILEGES.
select set_config('cdc_bridge.role_before', current_setting('role'), true);
set local role cdc_bridge_owner;
\ir tables/schema_version.sql
\ir tables/change.sql
\ir tables/endpoint.sql
\ir tables/delivery.sql
\ir functions/define_capture.sql
\ir functions/attach.sql
\ir functions/detach.sql
\ir functions/disable_capture.sql
\ir functions/enable_capture.sql
\ir functions/announce_endpoint.sql
\ir functions/adopt.sql
\ir functions/prune.sql
\ir views/endpoint_state.sql
\ir views/unsettled_delivery.sql
\ir grants.sql
select set_config('role', current_setting('cdc_bridge.role_before'), true);  -- the installing one's again

-- What captures already is brought up to date, unless it is switched off.
select cdc_bridge.define_capture(substr(p.proname, length('capture_by_') + 1)::name, true)
from pg_catalog.pg_proc p
where p.pronamespace = 'cdc_bridge'::regnamespace and p.proname like 'capture\_by\_%'
  and p.prosrc not like '%Capture is disabled%';

\if :{?mapping}
  \i :mapping
\else
  -- Where capture is attached and the view is not there, a mapping was taken away, which need not have been this one.
  select to_regclass('cdc_bridge.reservation_payload') is null
    and not exists (select from pg_trigger where tgname in ('cdc_bridge_insert', 'cdc_bridge_update')) as without_mapping \gset
  \if :without_mapping
    \ir mapping.sql
  \endif
\endif

commit;
