-- Pruning: deletes old rows, so that the change log and the delivery log do not grow without end, and attempts with their
-- deliveries; and removes kept responses after 24 hours.
--
--   call cdc_bridge.prune();                     as the daemon does every ten minutes
--   call cdc_bridge.prune('3 days', '10 days');  with a shorter retention
--
-- It never deletes a change that some endpoint has not read, paused or not, nor a pending delivery. What the audit log has is
-- deleted after a year, whatever is asked for.
--
-- The logs have no index by time, as each booking would pay for it. But numbers and transaction ids roughly grow with time: so
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
  with positions as materialized (  -- nearly all endpoints have that of their daemon
    select distinct e.position::text as position, pg_snapshot_xmin(e.position) as xmin, e.cluster
    from cdc_bridge.endpoint_position e
    order by xmin
  ), page as (
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
        from positions e
        where c.xid >= e.xmin and not pg_visible_in_snapshot(c.xid, e.position::pg_snapshot)
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
-- keep_dead, and pending deliveries only if the endpoint was removed; each with its attempts.
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
    returning d.seq
  ), attempts as (
    delete from cdc_bridge.attempt a
    using pruned
    where a.endpoint_id = of_endpoint and a.seq = pruned.seq
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


-- cdc_bridge.prunable_delivery_logs(keep interval, keep_dead interval)
--
-- Returns the ids of the endpoints whose delivery log begins with an old delivery and may be pruned, removed endpoints
-- included. Not those that have left a change unread for longer than keep: deliveries recorded ahead of their position are
-- still needed to recognise it.
--   keep       retention of settled deliveries
--   keep_dead  retention of dead letters
-- Locks: none.

create or replace function cdc_bridge.prunable_delivery_logs(keep interval, keep_dead interval) returns setof bigint
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
  ), beginning_with_old as materialized (
    select recorded.endpoint_id, e.position::text as position, e.cluster
    from recorded
    left join cdc_bridge.endpoint_position e using (endpoint_id)
    where (
      select d.changed_at
      from cdc_bridge.delivery d
      where d.endpoint_id = recorded.endpoint_id
      order by d.seq
      limit 1
    ) < now() - greatest(least(keep, keep_dead), interval '0')
  ), late as materialized (  -- positions that have left a change unread for too long
    select p.position
    from (select distinct b.position from beginning_with_old b) as p
    where (  -- not EXISTS, for which the planner may read the whole change log
      select true
      from cdc_bridge.change c
      where c.xid >= pg_snapshot_xmin(p.position::pg_snapshot)
        and not pg_visible_in_snapshot(c.xid, p.position::pg_snapshot)
        and c.changed_at < now() - keep
      order by c.xid, c.seq
      limit 1
    )
  )
  select b.endpoint_id
  from beginning_with_old b
  where coalesce(b.cluster = (select system_identifier from pg_control_system()), true)
    and (b.position is null or b.position not in (select late.position from late));
end;
revoke all on function cdc_bridge.prunable_delivery_logs(interval, interval) from public;
comment on function cdc_bridge.prunable_delivery_logs(interval, interval) is 'Endpoints whose delivery log may be pruned';


-- cdc_bridge.prune_attempts(keep interval, after_recorded_at timestamptz, after_endpoint_id bigint, after_seq bigint,
--                           after_number integer, at_most integer)
--
-- Prunes one page of the attempts of deliveries that the delivery log does not have: they were held, and then their endpoint was
-- removed, or what was to be delivered was erased. Deletes those older than keep, unless the same delivery has a newer one.
--   keep       retention of dead letters, as most of what is older has no delivery any more
--   after_...  where the previous page ended
--   at_most    rows to read
-- Returns where this page ended, how many rows were deleted, and whether no old row is left.
-- Locks: the deleted rows.

create or replace function cdc_bridge.prune_attempts(
  keep interval, after_recorded_at timestamptz, after_endpoint_id bigint, after_seq bigint, after_number integer, at_most integer,
  out last_recorded_at timestamptz, out last_endpoint_id bigint, out last_seq bigint, out last_number integer,
  out deleted bigint, out finished boolean
)
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
begin atomic
  with page as (
    select a.recorded_at, a.endpoint_id, a.seq, a.number
    from cdc_bridge.attempt a
    where (a.recorded_at, a.endpoint_id, a.seq, a.number) > (after_recorded_at, after_endpoint_id, after_seq, after_number)
      and a.recorded_at < now() - greatest(keep, interval '0')
    order by a.recorded_at, a.endpoint_id, a.seq, a.number
    limit least(at_most, 10000)
  ), pruned as (
    delete from cdc_bridge.attempt a
    using page
    where a.endpoint_id = page.endpoint_id and a.seq = page.seq and a.number = page.number
      and (  -- not EXISTS, for which the planner may read whole tables
        select true
        from cdc_bridge.delivery d
        where d.endpoint_id = page.endpoint_id and d.seq = page.seq
        limit 1
      ) is null
      and (
        select n.recorded_at
        from cdc_bridge.attempt n
        where n.endpoint_id = page.endpoint_id and n.seq = page.seq
        order by n.number desc
        limit 1
      ) < now() - greatest(keep, interval '0')
    returning 1
  ), last as (
    select *
    from page
    order by page.recorded_at desc, page.endpoint_id desc, page.seq desc, page.number desc
    limit 1
  )
  select
    (select last.recorded_at from last),
    (select last.endpoint_id from last),
    (select last.seq from last),
    (select last.number from last),
    (select count(*) from pruned),
    (select count(*) < least(at_most, 10000) from page);
end;
revoke all on function cdc_bridge.prune_attempts(interval, timestamptz, bigint, bigint, integer, integer) from public;
comment on function cdc_bridge.prune_attempts(interval, timestamptz, bigint, bigint, integer, integer)
  is 'Deletes old attempts of deliveries that the delivery log does not have, one page';


-- cdc_bridge.prune_responses(at_most integer)
--
-- Removes responses that were kept for 24 hours, whatever the retention of deliveries: they may have guest data in them.
--   at_most  rows to change
-- Returns of how many attempts. Locks: these rows; waits for none.

create or replace function cdc_bridge.prune_responses(at_most integer) returns bigint
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
begin atomic
  with expired as (
    select a.endpoint_id, a.seq, a.number
    from cdc_bridge.attempt a
    where a.response is not null and a.recorded_at < now() - interval '24 hours'
    order by a.recorded_at
    limit least(at_most, 10000)
    for update skip locked
  ), removed as (
    update cdc_bridge.attempt a
    set response = null
    from expired
    where a.endpoint_id = expired.endpoint_id and a.seq = expired.seq and a.number = expired.number
    returning 1
  )
  select count(*) from removed;
end;
revoke all on function cdc_bridge.prune_responses(integer) from public;
comment on function cdc_bridge.prune_responses(integer) is 'Removes responses that were kept for 24 hours';


-- cdc_bridge.prune_audit(at_most integer)
--
-- Deletes what the audit log has had for a year, one page. The retention is no parameter: whoever has the daemon's password
-- must not be able to delete anything younger.
--   at_most  rows to delete
-- Returns how many rows were deleted.
-- Locks: the deleted rows.

create or replace function cdc_bridge.prune_audit(at_most integer, out deleted bigint)
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
begin atomic
  with old as (
    select a.at, a.audit_id
    from cdc_bridge.audit a
    where a.at < now() - interval '1 year'
    order by a.at, a.audit_id
    limit least(at_most, 10000)
  ), pruned as (
    delete from cdc_bridge.audit a using old where (a.at, a.audit_id) = (old.at, old.audit_id) returning 1
  )
  select count(*) from pruned;
end;
revoke all on function cdc_bridge.prune_audit(integer) from public;
comment on function cdc_bridge.prune_audit(integer) is 'Deletes what the audit log has had for a year, one page';


-- cdc_bridge.prune(keep interval, keep_dead interval)
--
-- Removes expired responses, and prunes the change log, the delivery log, the attempts and the audit log, each page in a transaction of its own, pausing after it as long as it took.
--   keep       retention of changes and settled deliveries
--   keep_dead  retention of dead letters, which can be replayed until then; at least keep
-- Returns how many rows of the first two were deleted. Safe to interrupt, to repeat and to run in several sessions.
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
  attempt_page record;
begin
  loop
    began := pg_catalog.clock_timestamp();
    exit when cdc_bridge.prune_responses(at_most) = 0;
    commit;
    perform pg_catalog.pg_sleep_for(pg_catalog.clock_timestamp() - began);
  end loop;

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

  endpoint_ids := array(select cdc_bridge.prunable_delivery_logs(keep, keep_dead));
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

  select '-infinity'::timestamptz as last_recorded_at, 0::bigint as last_endpoint_id, 0::bigint as last_seq, 0 as last_number
  into attempt_page;
  loop
    began := pg_catalog.clock_timestamp();
    select * into attempt_page
    from cdc_bridge.prune_attempts(
      greatest(keep, keep_dead),
      attempt_page.last_recorded_at, attempt_page.last_endpoint_id, attempt_page.last_seq, attempt_page.last_number, at_most
    );
    commit;
    exit when attempt_page.finished;
    perform pg_catalog.pg_sleep_for(pg_catalog.clock_timestamp() - began);
  end loop;

  loop
    began := pg_catalog.clock_timestamp();
    exit when cdc_bridge.prune_audit(at_most) < at_most;
    commit;
    perform pg_catalog.pg_sleep_for(pg_catalog.clock_timestamp() - began);
  end loop;
end
$prune$;
revoke all on procedure cdc_bridge.prune(interval, interval, bigint, bigint) from public;
comment on procedure cdc_bridge.prune(interval, interval, bigint, bigint) is 'Deletes old rows of the change log, the delivery log, the attempts and the audit log, and kept responses';
