-- cdc_bridge.losses_of_uninstall()
--
-- Returns what is lost if cdc-bridge is uninstalled now, a line for a person each: changes that are not delivered yet, and
-- the daemons that run. No row: nothing is lost. Locks: none.

create or replace function cdc_bridge.losses_of_uninstall() returns setof text
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $losses$
  with behind as (
    select
      s.name,
      coalesce(s.unread, 0) + s.pending as changes,
      least(s.unread_since, s.pending_since) as since,
      row_number() over (order by coalesce(s.unread, 0) + s.pending desc, s.name) as number,
      count(*) over () as endpoints
    from cdc_bridge.endpoint_status s
    where coalesce(s.unread, 0) + s.pending > 0
  )
  select told.line
  from (
    select
      1 as part, b.number,
      format(
        '%s %s not delivered yet to endpoint %s, the oldest since %s; after an uninstall they never will be.',
        case when b.changes >= 10000 then 'about ' else '' end || ltrim(to_char(b.changes, '999,999,999,999')),
        case b.changes when 1 then 'change is' else 'changes are' end, b.name, to_char(b.since, 'YYYY-MM-DD HH24:MI')
      ) as line
    from behind b
    where b.number <= 5
    union all
    select distinct 2, 0, format('Of %s more endpoints changes are not delivered either.', b.endpoints - 5)
    from behind b
    where b.endpoints > 5
    union all
    select 3, 0, format('A daemon is running (%s): stop it first.', string_agg(d.name, ', ' order by d.name))
    from pg_locks l
    join cdc_bridge.daemon d on d.daemon_id = l.objid::bigint and d.alive_until > now()
    where l.locktype = 'advisory' and l.classid = 52684 and l.objsubid = 2 and l.mode = 'ExclusiveLock' and l.granted
      and l.database = (select here.oid from pg_database here where here.datname = current_database())
    having count(*) > 0
  ) as told
  order by told.part, told.number
$losses$;
revoke all on function cdc_bridge.losses_of_uninstall() from public;
comment on function cdc_bridge.losses_of_uninstall() is 'What is lost if cdc-bridge is uninstalled now';
