-- How much room do change log and ledger take, how much of it is of rows deleted, when was it cleared last, and how far do
-- they go back? Role: cdc_bridge_reader.

select
  s.relname as "table",
  pg_size_pretty(pg_total_relation_size(s.relid)) as "size",
  pg_size_pretty(pg_indexes_size(s.relid)) as of_it_indexes,
  s.n_live_tup as live_rows,
  s.n_dead_tup as dead_rows,
  s.last_autovacuum,
  case s.relname
    when 'change' then (select c.changed_at from cdc_bridge.change c order by c.xid, c.seq limit 1)
    when 'delivery' then (
      select min(oldest.changed_at)
      from cdc_bridge.endpoint e
      cross join lateral (
        select d.changed_at from cdc_bridge.delivery d where d.endpoint_id = e.endpoint_id order by d.seq limit 1
      ) as oldest
    )
  end as goes_back_to
from pg_stat_user_tables s
where s.schemaname = 'cdc_bridge'
order by pg_total_relation_size(s.relid) desc;
