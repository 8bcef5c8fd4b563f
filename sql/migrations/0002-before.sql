-- From version 1 of the schema to version 2: the part that comes before the new daemon. Afterwards daemons of both
-- versions work, so that the old one goes on until the new one takes its place.
--
--   psql -v ON_ERROR_STOP=1 -f sql/migrations/0002-before.sql -f sql/install.sql
--   cdc-bridge install
--
-- It changes tables only; functions, views and grants come with install.sql, which is run next. Safe to repeat.
-- Locks: none that a writer of reservations waits for. ACCESS EXCLUSIVE on cdc_bridge.schema_version and
-- cdc_bridge.endpoint, and SHARE on the ledger, until commit: the daemon waits while an index is made, about a second for
-- each million rows of the ledger. SHARE UPDATE EXCLUSIVE on the log, which only vacuum waits for.

begin;
set local search_path = pg_catalog, pg_temp;  -- nothing that others put into public is run here
set local lock_timeout = '200ms';
set local statement_timeout = '60s';

do $version$
declare
  installed constant integer := (select max(version) from cdc_bridge.schema_version);
begin
  if installed <> 1 then
    raise exception 'this database has version % of the cdc-bridge schema; this is for version 1', installed
      using errcode = 'object_not_in_prerequisite_state';
  end if;
end
$version$;

set local role cdc_bridge_owner;

alter table cdc_bridge.schema_version add column if not exists next_prepared_at timestamptz;
comment on table cdc_bridge.schema_version is 'Versions of the cdc_bridge schema installed here; the highest counts';
comment on column cdc_bridge.schema_version.next_prepared_at is 'When the next version''s migration was run up to where its daemon comes in';

alter table cdc_bridge.endpoint add column if not exists pruned_until timestamptz;
comment on column cdc_bridge.endpoint.pruned_until is 'What was settled before this may have been deleted from the ledger';
alter table cdc_bridge.endpoint
  add column if not exists in_flight integer,
  add column if not exists listening boolean,
  add column if not exists deliveries_a_second real,
  add column if not exists last_success_at timestamptz,
  add column if not exists last_failure_at timestamptz,
  add column if not exists last_failure text,
  add column if not exists last_minute_at timestamptz,
  add column if not exists accepted_by_minute integer[] check (cardinality(accepted_by_minute) = 60),
  add column if not exists refused_by_minute integer[] check (cardinality(refused_by_minute) = 60);
comment on column cdc_bridge.endpoint.in_flight is 'Calls under way, when its daemon renewed the lease';
comment on column cdc_bridge.endpoint.listening is 'Whether its daemon heard the doorbell then; false: it polls';
comment on column cdc_bridge.endpoint.deliveries_a_second is 'Calls accepted, over the minute before that';
comment on column cdc_bridge.endpoint.last_success_at is 'When a call was accepted last';
comment on column cdc_bridge.endpoint.last_failure_at is 'When a call was refused last';
comment on column cdc_bridge.endpoint.last_failure is 'Why, in words';
comment on column cdc_bridge.endpoint.last_minute_at is 'When the minute began that the next two end with';
comment on column cdc_bridge.endpoint.accepted_by_minute is 'Calls accepted in each of sixty minutes, the oldest first, when its daemon renewed the lease';
comment on column cdc_bridge.endpoint.refused_by_minute is 'Calls refused in them';

alter table cdc_bridge.change set (autovacuum_vacuum_scale_factor = 0.05);
alter table cdc_bridge.delivery set (autovacuum_vacuum_scale_factor = 0.05);
-- Not CONCURRENTLY, which no transaction may hold: the daemon alone waits for it.
-- squawk-ignore require-concurrent-index-creation
create index if not exists delivery_waiting on cdc_bridge.delivery (endpoint_id, reservation_id, seq) where state = 'waiting';

update cdc_bridge.schema_version set next_prepared_at = coalesce(next_prepared_at, now()) where version = 1;

commit;
