-- How a daemon adds the reservations of a changed row to the change log.
--
-- cdc_bridge.related_query(related cdc_bridge.related_table)
--   The statement that finds the reservations of a parent: $1 its key, $2 the reservation to begin after, $3 how many.
-- cdc_bridge.check_related(related_id bigint)
--   Fails if that statement cannot be parsed, or cdc_bridge_loader may not read the table. Does not run it.
-- cdc_bridge.related_keys(related_id bigint, key text, after text, max_rows integer)
--   Runs it, as cdc_bridge_loader.
-- cdc_bridge.append_related(related_change_id bigint, done_up_to text, reservation_ids text[], seqs bigint[], finished boolean)
--   Appends reservations to the change log under numbers that were drawn before, and notes the last of them as done, or
--   removes the row, unless somebody else has gone on since it was at done_up_to. Returns whether it did. Between drawing the
--   numbers and this, every transaction has to end that may have drawn a lower one (cdc_bridge/deliveries/enqueue.py).

create or replace function cdc_bridge.related_query(related cdc_bridge.related_table) returns text
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $query$
declare
  type_of jsonb;
begin
  select jsonb_object_agg(a.attname, format('%I.%I', n.nspname, t.typname)) into type_of
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  join pg_namespace n on n.oid = t.typnamespace
  where a.attrelid = to_regclass(related.reservations) and a.attname in (related.via, related.reservations_key);
  return format(
    E'select case when pg_typeof(reservation.%1$I) = ''bpchar''::regtype then rtrim(concat(reservation.%1$I), '' '') '
    'else concat(reservation.%1$I) end from %2$s as reservation where reservation.%3$I = $1::%4$s '
    'and ($2 is null or reservation.%1$I > $2::%5$s) and (%6$s\n) order by reservation.%1$I limit $3',
    related.reservations_key, related.reservations, related.via, coalesce(type_of ->> related.via, 'text'),
    coalesce(type_of ->> related.reservations_key, 'text'), coalesce(related.condition, 'true')
  );
end
$query$;

create or replace function cdc_bridge.check_related(related_id bigint) returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $check$
declare
  related cdc_bridge.related_table;
begin
  select * into strict related from cdc_bridge.related_table r where r.related_id = check_related.related_id;
  drop view if exists cdc_bridge.related_to_attach;
  if related.via is null then
    execute format('create view cdc_bridge.related_to_attach as select 1 as found from %I.%I as changed where %s',
      related.schema_name, related.table_name, coalesce(related.condition, 'true'));
    drop view cdc_bridge.related_to_attach;
    return;
  end if;
  execute 'create view cdc_bridge.related_to_attach as '
    || replace(replace(replace(cdc_bridge.related_query(related), '$1', 'null::text'), '$2', 'null::text'), '$3', '1');
  drop view cdc_bridge.related_to_attach;
  if not has_table_privilege('cdc_bridge_loader', related.reservations, 'select') then
    raise exception 'role cdc_bridge_loader may not read %', related.reservations
      using errcode = 'insufficient_privilege',
            hint = format(E'In the mapping, in front of this:\ngrant usage on schema %s to cdc_bridge_loader;\ngrant select on %s to cdc_bridge_loader;',
              (select c.relnamespace::regnamespace from pg_class c where c.oid = related.reservations::regclass), related.reservations);
  end if;
end
$check$;

create or replace function cdc_bridge.related_keys(related_id bigint, key text, after text, max_rows integer) returns setof text
  language plpgsql
  volatile
  security definer
  set search_path = pg_catalog, pg_temp
  set row_security = off
as $keys$
declare
  related cdc_bridge.related_table;
begin
  select * into related from cdc_bridge.related_table r where r.related_id = related_keys.related_id;
  if found then
    return query execute cdc_bridge.related_query(related) using key, after, max_rows;
  end if;
end
$keys$;

create or replace function cdc_bridge.append_related(
  related_change_id bigint, done_up_to text, reservation_ids text[], seqs bigint[], finished boolean
) returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $append$
begin
  perform from cdc_bridge.related_change c
  where c.related_change_id = append_related.related_change_id and c.done_up_to is not distinct from append_related.done_up_to
  for update skip locked;
  if not found then
    return false;
  end if;
  insert into cdc_bridge.change (seq, reservation_id, operation, changed_at) overriding system value
  select wanted.seq, wanted.id, 'U', clock_timestamp() from unnest(seqs, reservation_ids) as wanted (seq, id);
  if finished then
    delete from cdc_bridge.related_change c where c.related_change_id = append_related.related_change_id;
  else
    update cdc_bridge.related_change c
    set done_up_to = reservation_ids[cardinality(reservation_ids)]
    where c.related_change_id = append_related.related_change_id;
  end if;
  if pg_notification_queue_usage() < 0.5 then
    notify cdc_bridge_change;
  end if;
  return true;
end
$append$;

revoke all on function
  cdc_bridge.related_query(cdc_bridge.related_table), cdc_bridge.check_related(bigint),
  cdc_bridge.related_keys(bigint, text, text, integer), cdc_bridge.append_related(bigint, text, text[], bigint[], boolean)
from public;
grant execute on function cdc_bridge.related_query(cdc_bridge.related_table) to cdc_bridge_loader;
grant execute on function cdc_bridge.related_keys(bigint, text, text, integer), cdc_bridge.append_related(bigint, text, text[], bigint[], boolean) to cdc_bridge;
comment on function cdc_bridge.related_query(cdc_bridge.related_table) is 'Statement that finds the reservations of a parent';
comment on function cdc_bridge.check_related(bigint) is 'Fails if the reservations of a parent cannot be found';
comment on function cdc_bridge.related_keys(bigint, text, text, integer) is 'Reservations that refer to a parent';
comment on function cdc_bridge.append_related(bigint, text, text[], bigint[], boolean) is 'Appends reservations of a changed parent to the change log';
grant create on schema cdc_bridge to cdc_bridge_loader;
alter function cdc_bridge.related_keys(bigint, text, text, integer) owner to cdc_bridge_loader;
revoke create on schema cdc_bridge from cdc_bridge_loader;
