-- cdc_bridge.attach(reservations regclass, key name)
--
-- Attaches capture to a table: two statement-level triggers, one for INSERT and one for UPDATE, which append the
-- affected rows to the change log and notify an idle daemon.
--   reservations  the table; of a partitioned one the parent, not a partition
--   key           the column that identifies a reservation: unique, not null, of type text, varchar, char, uuid, numeric or
--                 an integer type
-- Returns nothing. Safe to repeat: it changes and locks nothing that is in place. With another key it replaces the triggers,
-- and drops a capture function that no trigger uses any more. A trigger disabled with "alter table ... disable trigger"
-- stays disabled, unless it has to be replaced. Capture switched off by cdc_bridge.disable_capture() is switched on.
-- Rejects, before it creates anything, a table on which capture could make a booking fail or miss one.
-- Locks: SHARE ROW EXCLUSIVE on each table on which it creates or replaces a trigger, until the transaction ends: writers
-- wait, readers do not. Its lock_timeout is 200 ms, as later writers queue behind it; on a time-out, repeat.
--
-- Statement-level triggers with transition tables also see ON CONFLICT, MERGE and COPY, and cost a bulk update far less
-- than row triggers. A statement fires only the triggers of the table that it names, whichever partitions or children its
-- rows are in; so all of them get triggers, and nothing is captured twice. A partition created later has none until this
-- is repeated; "cdc-bridge check" warns of it.
--
-- The key's text form must be the same in every session. That of a timestamp, for one, depends on session settings.

create or replace function cdc_bridge.attach(reservations regclass, key name) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '200ms'
as $attach$
declare
  function_oid regprocedure;
  subject record;
  key_column record;
  by_another_key text;
  members regclass[];
  member regclass;
  key_number smallint;
  operation text;
  unused regprocedure;
begin
  select c.relkind, c.relpersistence, c.relispartition, n.nspname as schema_name
  into strict subject
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.oid = reservations;

  if subject.relkind not in ('r', 'p') then
    raise exception '% is not a table but a %', reservations,
        case subject.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' else 'relation of another kind' end
      using errcode = 'feature_not_supported',
            hint = concat_ws(E'\n', 'Attach capture to the table that e-Res writes to, in the database that holds it.', (
              select E'The view reads:\n' || string_agg(
                distinct format('select cdc_bridge.attach(%L, %L);', read.oid::regclass, a.attname), E'\n'
              )
              from pg_rewrite w
              join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
              join pg_class read on read.oid = d.refobjid and read.relkind in ('r', 'p')
              join pg_index i on i.indrelid = read.oid and i.indisprimary
              join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
              where w.ev_class = reservations
            ));
  end if;
  if subject.relpersistence = 't' then
    raise exception 'table % is temporary', reservations using errcode = 'feature_not_supported';
  end if;
  if subject.schema_name in ('cdc_bridge', 'pg_catalog', 'information_schema', 'pg_toast') then
    raise exception 'table % belongs to the schema %, not to e-Res', reservations, subject.schema_name
      using errcode = 'feature_not_supported', hint = 'Attach capture to e-Res''s reservations table.';
  end if;
  if subject.relispartition then
    raise exception 'table % is a partition', reservations
      using errcode = 'feature_not_supported',
            hint = format(E'Attach capture to the partitioned table:\nselect cdc_bridge.attach(%L, %L);',
              pg_partition_root(reservations), key);
  end if;

  -- What can be run instead, if this key will not do.
  select format(E'By another key:\nselect cdc_bridge.attach(%L, %L);', reservations, a.attname)
  into by_another_key
  from pg_index i
  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
  join pg_type t on t.oid = a.atttypid
  where i.indrelid = reservations and i.indisunique and i.indisvalid and i.indpred is null
    and (subject.relkind = 'p' or i.indnkeyatts = 1)
    and a.attnotnull and a.attname <> key and octet_length('capture_by_' || a.attname) <= 63
    and t.typnamespace = 'pg_catalog'::regnamespace
    and t.typname in ('text', 'varchar', 'bpchar', 'uuid', 'int2', 'int4', 'int8', 'numeric')
  order by i.indisprimary desc, a.attnum
  limit 1;

  select a.attnum, a.attnotnull, format_type(a.atttypid, a.atttypmod) as shown_type, t.typname, t.typnamespace,
    declared.typtype = 'd' as is_domain
  into key_column
  from pg_attribute a
  join pg_type declared on declared.oid = a.atttypid
  join pg_type t on t.oid = (
    with recursive base (oid, over) as (
      select declared.oid, declared.typbasetype union all select o.oid, o.typbasetype from base join pg_type o on o.oid = base.over
    )
    select base.oid from base where base.over = 0
  )
  where a.attrelid = reservations and a.attname = key and a.attnum > 0 and not a.attisdropped;
  if not found then
    raise exception 'table % has no column "%"', reservations, key
      using errcode = 'undefined_column', hint = coalesce(by_another_key, '');
  end if;
  if not (
    key_column.typnamespace = 'pg_catalog'::regnamespace
    and key_column.typname in ('text', 'varchar', 'bpchar', 'uuid', 'int2', 'int4', 'int8', 'numeric')
  ) then
    raise exception 'column "%" of table % has type %, which cannot be a reservation key', key, reservations, key_column.shown_type
      using errcode = 'feature_not_supported',
            hint = concat_ws(E'\n', 'Supported types: text, varchar, char, uuid, smallint, integer, bigint, numeric.', by_another_key);
  end if;
  if key_column.typname = 'bpchar' and key_column.is_domain then
    raise exception 'column "%" of table % has type %, a domain over char, whose padding is not known', key, reservations, key_column.shown_type
      using errcode = 'feature_not_supported',
            hint = concat_ws(E'\n', 'Use the type that the domain is based on, or varchar.', by_another_key);
  end if;
  if octet_length('capture_by_' || key) > 63 then
    raise exception 'the name of column "%" of table % is too long', key, reservations
      using errcode = 'name_too_long', hint = concat_ws(E'\n', 'The limit is 52 bytes.', by_another_key);
  end if;
  if not key_column.attnotnull then
    raise exception 'column "%" of table % is nullable, and a booking with a null key would fail', key, reservations
      using errcode = 'object_not_in_prerequisite_state',
            hint = concat_ws(E'\n', by_another_key, 'By this key, if it is never null:',
              format('alter table %s alter column %I set not null;', reservations, key));
  end if;

  -- The table, its partitions and its children; not the temporary children of other sessions.
  with recursive member as (
    select reservations::oid as oid, 0 as depth
    union
    select i.inhrelid, m.depth + 1
    from member m
    join pg_inherits i on i.inhparent = m.oid
  )
  select array_agg(c.oid::regclass order by m.depth, c.oid)
  into members
  from (select oid, min(depth) as depth from member group by oid) as m
  join pg_class c on c.oid = m.oid
  where c.relpersistence <> 't';

  foreach member in array members loop
    select c.relkind, c.relispartition into strict subject from pg_class c where c.oid = member;
    if subject.relkind = 'f' then
      raise exception 'table % has a partition or child that is a foreign table: %', reservations, member
        using errcode = 'feature_not_supported',
              hint = 'Foreign tables have no transition tables: statements would fail, or their rows would be missed.';
    end if;
    -- A unique index of a partitioned table includes the partition key, so an index that starts with our key has to do.
    -- The partitions have their parts of that index.
    if not subject.relispartition and not exists (
      select
      from pg_index i
      join pg_class c on c.oid = i.indexrelid
      join pg_am am on am.oid = c.relam
      join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      where i.indrelid = member and a.attname = key and i.indisvalid and i.indpred is null and am.amname = 'btree'
        and (subject.relkind = 'p' or i.indisunique and i.indnkeyatts = 1)
    ) then
      if subject.relkind = 'p' then
        raise exception 'no index of the partitioned table % starts with column "%", so reservations cannot be looked up by it', member, key
          using errcode = 'object_not_in_prerequisite_state',
                hint = concat_ws(E'\n', by_another_key, 'By this key:', format('create index on %s (%I);', member, key));
      end if;
      raise exception 'column "%" of table % has no unique index of its own, so it does not identify a reservation', key, member
        using errcode = 'object_not_in_prerequisite_state',
              hint = concat_ws(E'\n', by_another_key, 'By this key, if it is unique:',
                format('create unique index concurrently on %s (%I);', member, key));
    end if;
    if not has_table_privilege(member, 'trigger') then
      raise exception 'role % may not create triggers on table %', current_user, member
        using errcode = 'insufficient_privilege',
              hint = format(E'As its owner, %s, or as a superuser:\ngrant trigger on %s to %I;',
                pg_get_userbyid((select c.relowner from pg_class c where c.oid = member)), member, current_user);
    end if;
  end loop;

  function_oid := cdc_bridge.define_capture(key, true);

  foreach member in array members loop
    -- The column's number finds the key if e-Res renames it. Partitions and children have numbers of their own.
    select a.attnum into strict key_number from pg_attribute a where a.attrelid = member and a.attname = key and not a.attisdropped;
    foreach operation in array array['insert', 'update'] loop
      if not exists (
        select
        from pg_trigger t
        where t.tgrelid = member and t.tgname = 'cdc_bridge_' || operation and t.tgfoid = function_oid
          and t.tgnewtable = 'changed_rows' and t.tgtype = case operation when 'insert' then 4 else 16 end
          and t.tgattr = '' and t.tgqual is null and encode(t.tgargs, 'escape') = key_number || '\000'
      ) then
        begin
          execute format(
            'create or replace trigger %I after %s on %s referencing new table as changed_rows for each statement execute function %s(%L)',
            'cdc_bridge_' || operation, operation, member, function_oid::regproc, key_number);
        exception when lock_not_available then
          raise exception 'table % is locked by another session', member
            using errcode = 'lock_not_available', hint = 'Run it again. Who blocks: psql -f sql/ops/blocked-by.sql';
        end;
      end if;
    end loop;
  end loop;

  insert into cdc_bridge.captured_table (schema_name, table_name, table_oid, key)
  select n.nspname, c.relname, c.oid, attach.key from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = reservations
  on conflict (schema_name, table_name) do update set key = excluded.key, table_oid = excluded.table_oid, attached_at = now()
  where (captured_table.key, captured_table.table_oid) <> (excluded.key, excluded.table_oid);
  -- Under its former name, if it was renamed.
  delete from cdc_bridge.captured_table t
  where t.table_oid = reservations
    and to_regclass(format('%I.%I', t.schema_name, t.table_name)) is distinct from reservations;

  for unused in
    select p.oid::regprocedure
    from pg_proc p
    where p.pronamespace = 'cdc_bridge'::regnamespace and p.proname like 'capture\_by\_%'
      and not exists (select from pg_trigger t where t.tgfoid = p.oid)
  loop
    execute format('drop function %s', unused);
  end loop;
end
$attach$;
revoke all on function cdc_bridge.attach(regclass, name) from public;
comment on function cdc_bridge.attach(regclass, name) is 'Attaches change capture to a table; safe to repeat';
