-- Pruning: what is settled is kept for a while and then deleted, so that change log and ledger do not grow for ever.
--
--   call cdc_bridge.prune();                     as the daemon does it, every ten minutes
--   call cdc_bridge.prune('3 days', '10 days');  with less kept
--
-- Never deleted are a change that some endpoint has not got yet, paused or not, and a delivery that waits.
--
-- There is no index by time, as each booking would pay for it. Numbers and transaction ids grow with time, near enough:
-- so each of the tables is walked along its primary key from the oldest row on, a page at a time, until a page holds
-- nothing old any more. What is looked at and kept is what waits, and dead letters.


-- cdc_bridge.prune_changes(keep interval, after_xid xid8, after_seq bigint, at_most integer)
--
-- One page of the change log: deletes what is older than keep and lies behind the positions of all endpoints. While an
-- endpoint's position is of another cluster (a restored dump that nobody has adopted) nothing is deleted.
--   after_xid, after_seq  where the page before ended
--   at_most               rows to look at
-- Returns where this page ended, how many rows were deleted, and whether there is nothing old beyond it.
-- Locks: the rows deleted.

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
comment on function cdc_bridge.prune_changes(interval, xid8, bigint, integer) is 'Deletes old changes that every endpoint has got, a page at a time';


-- cdc_bridge.prune_deliveries(of_endpoint bigint, keep interval, keep_dead interval, after_seq bigint, at_most integer)
--
-- One page of an endpoint's ledger: deletes what was settled longer ago than keep, dead letters longer ago than keep_dead,
-- and of an endpoint that was removed what waits as well.
--   after_seq  where the page before ended
--   at_most    rows to look at
-- Returns where this page ended, how many rows were deleted, and whether there is nothing old beyond it. How far back the
-- ledger can be relied on is noted in the endpoint's row.
-- Locks: the rows deleted, and the endpoint's.

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
        when d.state = 'dead' then d.recorded_at < now() - greatest(keep_dead, interval '0')
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
comment on function cdc_bridge.prune_deliveries(bigint, interval, interval, bigint, integer) is 'Deletes an endpoint''s old settled deliveries, a page at a time';


-- cdc_bridge.prunable_delivery_logs(keep interval)
--
-- The endpoints whose ledger may be pruned, those that were removed among them. Not one that has left a change of the log
-- unread for longer than keep: deliveries recorded ahead of its position may have to be recognised yet.
-- Locks: none.

create or replace function cdc_bridge.prunable_delivery_logs(keep interval) returns setof bigint
  language sql
  stable
  security definer
  set search_path = pg_catalog, pg_temp
begin atomic
  with recursive recorded as (  -- hops from one endpoint to the next along the primary key
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
    and (  -- no EXISTS, which the planner may answer by reading all of the log
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
comment on function cdc_bridge.prunable_delivery_logs(interval) is 'Endpoints whose ledger may be pruned';


-- cdc_bridge.prune(keep interval, keep_dead interval)
--
-- Prunes change log and ledger, each page in a transaction of its own, resting after it for as long as it took.
--   keep       how long what is settled is kept
--   keep_dead  how long a delivery is kept that was given up; until then it can be sent again
-- Returns how many rows of each were deleted. Safe to interrupt, to repeat and to run in several sessions.
-- Locks: the rows of a page, until that page is done. Not to be called inside a transaction.

create or replace procedure cdc_bridge.prune(
  keep interval default interval '7 days', keep_dead interval default interval '30 days',
  inout changes bigint default null, inout deliveries bigint default null
)
  language plpgsql
as $prune$
declare
  at_most constant integer := 2000;
  ledgers bigint[];
  ledger bigint;
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

  ledgers := array(select cdc_bridge.prunable_delivery_logs(keep));
  foreach ledger in array ledgers loop
    select 0::bigint as last_seq into delivery_page;
    loop
      began := pg_catalog.clock_timestamp();
      select * into delivery_page from cdc_bridge.prune_deliveries(ledger, keep, keep_dead, delivery_page.last_seq, at_most);
      deliveries := deliveries + delivery_page.deleted;
      commit;
      exit when delivery_page.finished;
      perform pg_catalog.pg_sleep_for(pg_catalog.clock_timestamp() - began);
    end loop;
  end loop;
end
$prune$;
revoke all on procedure cdc_bridge.prune(interval, interval, bigint, bigint) from public;
comment on procedure cdc_bridge.prune(interval, interval, bigint, bigint) is 'Deletes what was settled long ago from change log and ledger';
