-- Sessions and transactions that hold something up, oldest first. Role: a superuser, or one with pg_read_all_stats; others
-- see less.
--
--   has_written   its changes are delivered only after it commits
--   snapshot_age  in transactions; vacuum cannot remove rows deleted since then, in the whole database
--   blocks        sessions that wait for a lock of this one: an installation, a daemon, e-Res
--
-- To end a session: select pg_terminate_backend(PID); a prepared transaction: rollback prepared 'NAME';

select
  a.pid,
  a.usename as role,
  a.application_name as application,
  a.client_addr,
  a.state,
  now() - a.xact_start as open_for,
  a.backend_xid is not null as has_written,
  age(a.backend_xmin) as snapshot_age,
  array(select w.pid from pg_stat_activity w where a.pid = any (pg_blocking_pids(w.pid))) as blocks,
  null as prepared_transaction
from pg_stat_activity a
where a.pid <> pg_backend_pid() and a.xact_start is not null and a.backend_type <> 'autovacuum worker'
  and a.datname = current_database()
union all
select null, p.owner, null, null, 'prepared', now() - p.prepared, true, age(p.transaction), array[]::integer[], p.gid
from pg_prepared_xacts p
where p.database = current_database()
union all
select s.active_pid, null, 'replication slot ' || s.slot_name, null, case when s.active then 'active' else 'inactive' end,
  null, false, greatest(age(s.xmin), age(s.catalog_xmin)), array[]::integer[], null
from pg_replication_slots s
where s.xmin is not null
order by open_for desc nulls last
limit 20;
