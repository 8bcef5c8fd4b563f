-- Size of the tables, live and dead rows, last vacuum, and the oldest change or delivery kept. Role: cdc_bridge_reader.

select
  s.relname as "table",
  pg_size_pretty(pg_total_relation_size(s.relid)) as "size",
  pg_size_pretty(pg_indexes_size(s.relid)) as index_size,
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
  end as oldest
from pg_stat_user_tables s
where s.schemaname = 'cdc_bridge'
order by pg_total_relation_size(s.relid) desc;
