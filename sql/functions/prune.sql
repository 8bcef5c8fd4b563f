-- Pruning: deletes old rows, so that the change log and the delivery log do not grow without end.
--
--   call cdc_bridge.prune();                     as the daemon does every ten minutes
--   call cdc_bridge.prune('3 days', '10 days');  with a shorter retention
--
-- It never deletes a change that some endpoint has not read, paused or not, nor a pending delivery.
--
-- There is no index by time, as each booking would pay for it. But numbers and transaction ids roughly grow with time: so
-- each table is read along its primary key from the oldest row, a page at a time, until a page has no old row. Read and
-- kept are only pending deliveries and dead letters.


-- cdc_bridge.prune_changes(keep interval, after_xid xid8, after_seq bigint, at_most integer)
--
-- Prunes one page of the change log: deletes what is older than keep and behind the positions of all endpoints. While an
-- endpoint's position is from another cluster (a restored dump before cdc_bridge.adopt) it deletes nothing.
--   keep                  retention of changes
--   after_xid, after_seq  where the previous page ended
--   at_most               rows to read
-- Returns where this page ended, how many rows were deleted, and whether no old row is left.
-- Locks: the deleted rows.

create or replace function cdc_bridge.prune_changes(
  keep interval, after_xid xid8, after_seq bigint, at_most integer,
  out last_xid xid8, out last_seq bigint, out deleted bigint, out finished boolean
)
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
begin atomic
  with page as (
    select c.xid, c.seq, c.changed_at < now() - greatest(keep, interval '0') as is_old
    from cdc_bridge.change c
    where (c.xid, c.seq) > (after_xid, after_seq)
    order by c.xid, c.seq
    limit least(at_most, 10000)
  ), pruned as (
    delete from cdc_bridge.change c
    using page
    where c.xid = page.xid and c.seq = page.seq and page.is_old
      and not exists (
        select
        from cdc_bridge.endpoint e
        where not pg_visible_in_snapshot(c.xid, e.position)
          or e.cluster <> (select system_identifier from pg_control_system())
      )
    returning 1
  )
  select
    (select page.xid from page order by page.xid desc, page.seq desc limit 1),
    (select page.seq from page order by page.xid desc, page.seq desc limit 1),
    (select count(*) from pruned),
    (select count(*) < least(at_most, 10000) or not bool_or(page.is_old) from page);
end;
revoke all on function cdc_bridge.prune_changes(interval, xid8, bigint, integer) from public;
comment on function cdc_bridge.prune_changes(interval, xid8, bigint, integer) is 'Deletes old changes that every endpoint has read, one page';


-- cdc_bridge.prune_deliveries(of_endpoint bigint, keep interval, keep_dead interval, after_seq bigint, at_most integer)
--
-- Prunes one page of an endpoint's delivery log: deletes deliveries settled longer ago than keep, dead letters older than
-- keep_dead, and pending deliveries only if the endpoint was removed.
--   of_endpoint  the endpoint's id
--   keep         retention of settled deliveries
--   keep_dead    retention of dead letters; at least keep
--   after_seq    where the previous page ended
--   at_most      rows to read
-- Returns where this page ended, how many rows were deleted, and whether no old row is left. Sets the endpoint's
-- pruned_until, before which its delivery log is incomplete.
-- Locks: the deleted rows, and the endpoint's.

create or replace function cdc_bridge.prune_deliveries(
  of_endpoint bigint, keep interval, keep_dead interval, after_seq bigint, at_most integer,
  out last_seq bigint, out deleted bigint, out finished boolean
)
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
begin atomic
  with page as (
    select d.seq, d.changed_at < now() - greatest(least(keep, keep_dead), interval '0') as is_old
    from cdc_bridge.delivery d
    where d.endpoint_id = of_endpoint and d.seq > after_seq
    order by d.seq
    limit least(at_most, 10000)
  ), pruned as (
    delete from cdc_bridge.delivery d
    using page
    where d.endpoint_id = of_endpoint and d.seq = page.seq and page.is_old
      and case
        -- What may have arrived is not forgotten before what was delivered earlier: last_bodies relies on it.
        when d.state = 'dead' then d.recorded_at < now() - greatest(keep, keep_dead, interval '0')
        when d.state in ('queued', 'retrying') then
          d.recorded_at < now() - greatest(keep, interval '0') and not exists (select from cdc_bridge.endpoint e where e.endpoint_id = of_endpoint)
        else d.recorded_at < now() - greatest(keep, interval '0')
      end
    returning 1
  ), noted as (
    update cdc_bridge.endpoint e
    set pruned_until = greatest(e.pruned_until, now() - greatest(least(keep, keep_dead), interval '0'))
    where e.endpoint_id = of_endpoint and exists (select from pruned)
  )
  select
    (select max(page.seq) from page),
    (select count(*) from pruned),
    (select count(*) < least(at_most, 10000) or not bool_or(page.is_old) from page);
end;
revoke all on function cdc_bridge.prune_deliveries(bigint, interval, interval, bigint, integer) from public;
comment on function cdc_bridge.prune_deliveries(bigint, interval, interval, bigint, integer) is 'Deletes an endpoint''s old settled deliveries, one page';


-- cdc_bridge.prunable_delivery_logs(keep interval)
--
-- Returns the ids of the endpoints whose delivery log may be pruned, removed endpoints included. Not those that have left a
-- change unread for longer than keep: deliveries recorded ahead of their position are still needed to recognise it.
--   keep  retention of settled deliveries
-- Locks: none.

create or replace function cdc_bridge.prunable_delivery_logs(keep interval) returns setof bigint
  language sql
  stable
  security definer
  set search_path = pg_catalog, pg_temp
begin atomic
  with recursive recorded as (  -- jumps from one endpoint to the next along the primary key
    select (select min(d.endpoint_id) from cdc_bridge.delivery d) as endpoint_id
    union all
    select (select min(d.endpoint_id) from cdc_bridge.delivery d where d.endpoint_id > recorded.endpoint_id)
    from recorded
    where recorded.endpoint_id is not null
  )
  select recorded.endpoint_id
  from recorded
  left join cdc_bridge.endpoint e using (endpoint_id)
  where recorded.endpoint_id is not null
    and coalesce(e.cluster = (select system_identifier from pg_control_system()), true)
    and (  -- not EXISTS, for which the planner may read the whole change log
      select true
      from cdc_bridge.change c
      where c.xid >= pg_snapshot_xmin(e.position)
        and not pg_visible_in_snapshot(c.xid, e.position)
        and c.changed_at < now() - keep
      order by c.xid, c.seq
      limit 1
    ) is null;
end;
revoke all on function cdc_bridge.prunable_delivery_logs(interval) from public;
comment on function cdc_bridge.prunable_delivery_logs(interval) is 'Endpoints whose delivery log may be pruned';


-- cdc_bridge.prune(keep interval, keep_dead interval)
--
-- Prunes the change log and the delivery log, each page in a transaction of its own, pausing after it as long as it took.
--   keep       retention of changes and settled deliveries
--   keep_dead  retention of dead letters, which can be replayed until then; at least keep
-- Returns how many rows of each log were deleted. Safe to interrupt, to repeat and to run in several sessions.
-- Locks: the rows of a page, until that page is done. Cannot run inside a transaction.

create or replace procedure cdc_bridge.prune(
  keep interval default interval '7 days', keep_dead interval default interval '30 days',
  inout changes bigint default null, inout deliveries bigint default null
)
  language plpgsql
as $prune$
declare
  at_most constant integer := 2000;
  endpoint_ids bigint[];
  of_endpoint bigint;
  began timestamptz;
  change_page record;
  delivery_page record;
begin
  changes := 0;
  deliveries := 0;
  select '0'::pg_catalog.xid8 as last_xid, 0::bigint as last_seq into change_page;
  loop
    began := pg_catalog.clock_timestamp();
    select * into change_page from cdc_bridge.prune_changes(keep, change_page.last_xid, change_page.last_seq, at_most);
    changes := changes + change_page.deleted;
    commit;
    exit when change_page.finished;
    perform pg_catalog.pg_sleep_for(pg_catalog.clock_timestamp() - began);
  end loop;

  endpoint_ids := array(select cdc_bridge.prunable_delivery_logs(keep));
  foreach of_endpoint in array endpoint_ids loop
    select 0::bigint as last_seq into delivery_page;
    loop
      began := pg_catalog.clock_timestamp();
      select * into delivery_page from cdc_bridge.prune_deliveries(of_endpoint, keep, keep_dead, delivery_page.last_seq, at_most);
      deliveries := deliveries + delivery_page.deleted;
      commit;
      exit when delivery_page.finished;
      perform pg_catalog.pg_sleep_for(pg_catalog.clock_timestamp() - began);
    end loop;
  end loop;
end
$prune$;
revoke all on procedure cdc_bridge.prune(interval, interval, bigint, bigint) from public;
comment on procedure cdc_bridge.prune(interval, interval, bigint, bigint) is 'Deletes old rows of the change log and the delivery log';
