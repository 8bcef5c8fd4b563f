-- Installs or upgrades the SQL side of cdc-bridge in the current database, in one transaction.
--
--   psql -v ON_ERROR_STOP=1 -f sql/install.sql            (from a copy of the sql folder)
--   cdc-bridge install --print | psql -v ON_ERROR_STOP=1  (the very same text in one piece)
--   cdc-bridge install                                    (the same, run for you)
--
-- Run it as a superuser, or as a role with CREATEROLE that owns the database and the reservations table.
-- Safe to repeat: a second run changes nothing. Only mapping.sql, the last file, names e-Res's own tables.
--
-- Locks: SHARE ROW EXCLUSIVE on the reservations table from the moment its triggers are created until commit
-- (writers wait, readers do not), and only when a trigger is missing or different.

begin;
set local lock_timeout = '3s';
set local statement_timeout = '60s';
set local client_min_messages = warning;

\ir preconditions.sql
\ir roles.sql
\ir tables/schema_version.sql
\ir tables/change.sql
\ir tables/endpoint.sql
\ir tables/delivery.sql
\ir functions/attach.sql
\ir functions/detach.sql
\ir functions/announce_endpoint.sql
\ir functions/adopt.sql
\ir grants.sql
\ir mapping.sql

commit;
