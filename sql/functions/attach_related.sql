-- cdc_bridge.attach_related(related regclass, reservation_key name, key name, via name, condition text, reservations regclass)
--
-- Has changes of another table count as changes of reservations. There are two kinds:
--
--   a child, each of whose rows belongs to one reservation, such as an order line:
--     select cdc_bridge.attach_related('public.order_lines', reservation_key => 'reservation_id');
--   a parent, which many reservations refer to, such as a guest:
--     select cdc_bridge.attach_related('public.customers', key => 'id', via => 'cust_id',
--       condition => 'reservation.datetime > now()');
--
--   related          the table; of a partitioned one the parent, not a partition
--   reservation_key  of a child: its column with the reservation's key. Inserts, updates and deletes count; a row that moves
--                    from one reservation to another is a change of both
--   key, via         of a parent: its key, and the column of the reservations that refers to it. Updates count
--   condition        which rows count, as SQL. Of a child: its columns, as in changed.kind = 'table'. Of a parent: those of its
--                    reservations, as in reservation.status <> 'X'. Names need their schema
--   reservations     the reservations table; may be left out if capture is attached to one table only
-- Returns nothing. Safe to repeat: it changes and locks nothing that is in place. cdc_bridge.detach ends it.
-- Locks: SHARE ROW EXCLUSIVE on each table on which it creates or replaces a trigger, until the transaction ends: writers
-- wait, readers do not. Its lock_timeout is 200 ms; on a time-out, repeat.
--
-- The writer leaves a row in cdc_bridge.related_change; a daemon adds the reservations to the change log, those of a parent
-- in pieces. The condition of a parent runs as cdc_bridge_loader, that of a child as cdc_bridge_capture.

create or replace function cdc_bridge.attach_related(
  related regclass,
  reservation_key name default null,
  key name default null,
  via name default null,
  condition text default null,
  reservations regclass default null
) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '200ms'
as $attach$
#variable_conflict use_variable
declare
  subject record;
  captured record;
  wanted record;
  refers record;
  identity bigint;
  function_oid regprocedure;
  member regclass;
  operation text;
  definition text;
  -- What was given, as text, for hints that complete it.
  arguments constant text := concat_ws(
    ', ', quote_literal(related), 'reservation_key => ' || quote_literal(reservation_key), 'key => ' || quote_literal(key),
    'via => ' || quote_literal(via), 'condition => ' || quote_literal(condition)
  );
  by_foreign_key text;
begin
  select c.relkind, c.relpersistence, c.relispartition, n.nspname, c.relname
  into strict subject
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.oid = related;
  if subject.relkind not in ('r', 'p') or subject.relpersistence = 't' or subject.relispartition or subject.nspname = 'cdc_bridge' then
    raise exception '% is not an ordinary table of e-Res', related
      using errcode = 'feature_not_supported',
            hint = 'Attach the table that e-Res writes to, of a partitioned one the whole table.'
              || case when subject.relispartition then
                format(E'\nselect cdc_bridge.attach_related(%s);',
                  overlay(arguments placing quote_literal(pg_partition_root(related)) from 1 for length(quote_literal(related))))
              else '' end;
  end if;

  -- What the foreign keys between both tables say, if the columns that were named will not do.
  select E'By its foreign key:\n' || string_agg(
    format(
      'select cdc_bridge.attach_related(%L, %s%s%s);', related,
      case when k.conrelid = related then format('reservation_key => %L', own.attname)
           else format('key => %L, via => %L', own.attname, other.attname) end,
      ', condition => ' || quote_literal(condition), ', reservations => ' || quote_literal(reservations)
    ),
    E'\n' order by k.conname
  )
  into by_foreign_key
  from cdc_bridge.captured_table t
  join pg_constraint k on k.contype = 'f' and cardinality(k.conkey) = 1
    and to_regclass(format('%I.%I', t.schema_name, t.table_name)) = case when k.conrelid = related then k.confrelid when k.confrelid = related then k.conrelid end
  join pg_attribute own on own.attrelid = related and own.attnum = case when k.conrelid = related then k.conkey[1] else k.confkey[1] end
  join pg_attribute other on other.attrelid = case when k.conrelid = related then k.confrelid else k.conrelid end
    and other.attnum = case when k.conrelid = related then k.confkey[1] else k.conkey[1] end
  where reservations is null or to_regclass(format('%I.%I', t.schema_name, t.table_name)) = reservations;
  if (reservation_key is null) = (key is null or via is null) or (key is null) <> (via is null) then
    raise exception 'name either reservation_key, or key and via'
      using errcode = 'invalid_parameter_value',
            hint = coalesce(by_foreign_key, 'A child: reservation_key => ''reservation_id''. A parent: key => ''id'', via => ''cust_id''.');
  end if;

  select min(format('%I.%I', t.schema_name, t.table_name)) as name, min(t.key) as key, count(*) as number
  into captured
  from cdc_bridge.captured_table t
  where reservations is null or to_regclass(format('%I.%I', t.schema_name, t.table_name)) = reservations;
  if captured.number <> 1 then
    raise exception 'capture is attached to % tables%', captured.number, case when reservations is not null then ' of that name' else '' end
      using errcode = 'object_not_in_prerequisite_state',
            hint = case
              when captured.number > 1 then E'Name the reservations table:\n' || (
                select string_agg(format('select cdc_bridge.attach_related(%s, reservations => %L);', arguments, format('%I.%I', t.schema_name, t.table_name)),
                  E'\n' order by t.schema_name, t.table_name)
                from cdc_bridge.captured_table t
              )
              else concat_ws(E'\n', 'First attach the reservations table:', (
                select string_agg(format('select cdc_bridge.attach(%L, %L);', c.oid::regclass, a.attname), E'\n' order by c.oid)
                from pg_class c
                join pg_index i on i.indrelid = c.oid and i.indisprimary and i.indnkeyatts = 1
                join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
                where c.oid <> related and case when reservations is null then c.oid in (
                  select to_regclass(read) from cdc_bridge.payload_definition d cross join unnest(d.reads) as read where d.name = 'reservation'
                ) else c.oid = reservations end
              ))
            end;
  end if;

  -- The columns that refer to one another have the same text for the same key.
  for wanted in
    select * from (
      values (related, coalesce(reservation_key, key)), (captured.name::regclass, coalesce(via, captured.key))
    ) as w (relation, name)
  loop
    select case when t.typname in ('int2', 'int4', 'int8') then 'integer' when t.typname in ('text', 'varchar', 'name') then 'text'
                else format_type(t.oid, a.atttypmod) end as kind
    into definition
    from pg_attribute a
    join pg_type declared on declared.oid = a.atttypid
    join pg_type t on t.oid = (
      with recursive base (oid, over) as (
        select declared.oid, declared.typbasetype union all select o.oid, o.typbasetype from base join pg_type o on o.oid = base.over
      )
      select base.oid from base where base.over = 0
    )
    where a.attrelid = wanted.relation and a.attname = wanted.name and a.attnum > 0 and not a.attisdropped
      and t.typnamespace = 'pg_catalog'::regnamespace
      and t.typname in ('text', 'varchar', 'name', 'bpchar', 'uuid', 'int2', 'int4', 'int8', 'numeric');
    if not found then
      raise exception 'table % has no column "%" that can hold a key', wanted.relation, wanted.name
        using errcode = 'undefined_column', hint = coalesce(by_foreign_key, '');
    end if;
    if wanted.relation = related then
      refers := row(definition);
    elsif refers.f1 <> definition then
      raise exception 'column "%" of table % has type %, but "%" of table % has type %',
          coalesce(reservation_key, key), related, refers.f1, wanted.name, wanted.relation, definition
        using errcode = 'datatype_mismatch', hint = 'They have to be of the same type to be compared as text.';
    end if;
  end loop;
  if via is not null and not exists (
    select
    from pg_index i
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = captured.name::regclass and a.attname = via and i.indisvalid and i.indpred is null
  ) then
    raise exception 'no index of table % begins with column "%", so each change of % would read all of it', captured.name, via, related
      using errcode = 'object_not_in_prerequisite_state',
            hint = format(E'First:\ncreate index concurrently on %s (%I);', captured.name, via);
  end if;

  select r.related_id into identity
  from cdc_bridge.related_table r
  where r.schema_name = subject.nspname and r.table_name = subject.relname
    and r.reservation_key is not distinct from attach_related.reservation_key and r.via is not distinct from attach_related.via;
  if identity is null then
    insert into cdc_bridge.related_table as r (schema_name, table_name, reservation_key, key, via, condition, reservations, reservations_key)
    values (subject.nspname, subject.relname, reservation_key, key, via, condition, captured.name, captured.key)
    returning r.related_id into identity;
  else
    update cdc_bridge.related_table r
    set key = attach_related.key, condition = attach_related.condition, reservations = captured.name, reservations_key = captured.key,
      detached_at = null
    where r.related_id = identity
      and (r.key, r.condition, r.reservations, r.reservations_key, r.detached_at)
        is distinct from (attach_related.key, attach_related.condition, captured.name, captured.key, null);
  end if;
  function_oid := cdc_bridge.define_related(identity, true);
  perform cdc_bridge.check_related(identity);

  for member in
    with recursive member as (
      select related::oid as oid
      union
      select i.inhrelid from member m join pg_inherits i on i.inhparent = m.oid
    )
    select c.oid::regclass from member m join pg_class c using (oid) where c.relpersistence <> 't' order by c.oid
  loop
    foreach operation in array case when via is null then array['insert', 'update', 'delete'] else array['update'] end loop
      if exists (select from pg_trigger t where t.tgrelid = member and t.tgname = format('cdc_bridge_%s_%s', operation, identity) and t.tgfoid = function_oid) then
        continue;
      end if;
      begin
        execute format(
          'create or replace trigger %I after %s on %s referencing %s for each statement execute function %s',
          format('cdc_bridge_%s_%s', operation, identity), operation, member,
          case operation
            when 'insert' then 'new table as changed_rows'
            when 'delete' then 'old table as former_rows'
            else case when via is null then 'old table as former_rows new table as changed_rows' else 'new table as changed_rows' end
          end,
          function_oid
        );
      exception when lock_not_available then
        raise exception 'table % is locked by another session', member
          using errcode = 'lock_not_available', hint = 'Run it again. Who blocks: psql -f sql/ops/blocked-by.sql';
      end;
    end loop;
  end loop;
end
$attach$;
revoke all on function cdc_bridge.attach_related(regclass, name, name, name, text, regclass) from public;
comment on function cdc_bridge.attach_related(regclass, name, name, name, text, regclass) is
  'Has changes of another table count as changes of reservations; safe to repeat';
