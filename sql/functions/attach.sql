-- cdc_bridge.attach(reservations regclass, key name)
--
-- Attaches capture to a table: two statement-level triggers, one for INSERT, one for UPDATE, that append the
-- affected rows to the change log and ring the doorbell if a daemon sleeps.
--   reservations  the table; a partitioned one by its own name, not by a partition's
--   key           its unique, not null column that names a reservation: text, varchar, char, uuid, an integer or numeric
-- Returns nothing. Safe to repeat; changes nothing (and locks nothing) when nothing changed. With another key it replaces
-- the triggers, and a capture function that no trigger uses any more is dropped. Whether triggers fire is up to
-- "alter table ... disable trigger": one that is as it should be is left disabled, one that is replaced is enabled. Capture that
-- was switched off by cdc_bridge.disable_capture() is switched on.
-- Refuses, before it creates anything, a table on which capture could make a booking fail or miss one.
-- Locks: SHARE ROW EXCLUSIVE on a table while a trigger is created or replaced, until the transaction ends: writers wait,
-- readers do not. It is not waited for longer than a fifth of a second, as writers that come later wait behind it; then repeat.
--
-- Statement-level triggers with transition tables also see ON CONFLICT, MERGE and COPY, and cost a bulk update far
-- less than row triggers. A statement fires the triggers of the table that it names and of no other, whatever
-- partitions or inheriting tables its rows are in; so all of them get triggers, and nothing is captured twice. A
-- partition that comes later has none until this is repeated; "cdc-bridge check" warns of it.
--
-- The key's text form must be the same in every session; that of an instant, for one, goes by the session's settings.

create or replace function cdc_bridge.attach(reservations regclass, key name) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '200ms'
as $attach$
declare
  function_oid regprocedure;
  subject record;
  key_column record;
  primary_key text;
  members regclass[];
  member regclass;
  operation text;
  unused regprocedure;
begin
  select c.relkind, c.relpersistence, c.relispartition, n.nspname as schema_name
  into strict subject
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.oid = reservations;

  if subject.relkind not in ('r', 'p') then
    raise exception '% is no table but a %', reservations,
        case subject.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' else 'relation of another kind' end
      using errcode = 'feature_not_supported',
            hint = 'Attach capture to the table that e-Res writes to, in the database where it is.';
  end if;
  if subject.relpersistence = 't' then
    raise exception 'table % is temporary, and ends with its session', reservations using errcode = 'feature_not_supported';
  end if;
  if subject.schema_name in ('cdc_bridge', 'pg_catalog', 'information_schema', 'pg_toast') then
    raise exception 'table % is not e-Res''s but of the schema %', reservations, subject.schema_name
      using errcode = 'feature_not_supported', hint = 'Attach capture to e-Res''s table of reservations.';
  end if;
  if subject.relispartition then
    raise exception 'table % is a partition', reservations
      using errcode = 'feature_not_supported',
            hint = format('Attach capture to the partitioned table, which covers it: select cdc_bridge.attach(%L, %L);',
              pg_partition_root(reservations), key);
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
  into primary_key
  from pg_index i
  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
  where i.indrelid = reservations and i.indisprimary;

  select a.attnum, a.attnotnull, format_type(a.atttypid, a.atttypmod) as shown_type, t.typname, t.typnamespace
  into key_column
  from pg_attribute a
  join pg_type declared on declared.oid = a.atttypid
  join pg_type t on t.oid = case when declared.typtype = 'd' then declared.typbasetype else declared.oid end
  where a.attrelid = reservations and a.attname = key and a.attnum > 0 and not a.attisdropped;
  if not found then
    raise exception 'table % has no column "%"', reservations, key
      using errcode = 'undefined_column', hint = coalesce('Its primary key is: ' || primary_key, '');
  end if;
  if not (
    key_column.typnamespace = 'pg_catalog'::regnamespace
    and key_column.typname in ('text', 'varchar', 'bpchar', 'uuid', 'int2', 'int4', 'int8', 'numeric')
  ) then
    raise exception 'column "%" of table % is of type %, which cannot name a reservation', key, reservations, key_column.shown_type
      using errcode = 'feature_not_supported',
            hint = 'A key is of type text, varchar, char, uuid, smallint, integer, bigint or numeric.';
  end if;
  if octet_length('capture_by_' || key) > 63 then
    raise exception 'the name of column "%" of table % is too long', key, reservations
      using errcode = 'name_too_long', hint = 'It may have 52 bytes.';
  end if;
  if not key_column.attnotnull then
    raise exception 'column "%" of table % may be null, and a booking with a null there would fail', key, reservations
      using errcode = 'object_not_in_prerequisite_state',
            hint = format('Name the primary key%s; or: alter table %s alter column %I set not null;',
              coalesce(', ' || primary_key, ''), reservations, key);
  end if;

  -- The table itself, its partitions and the tables that inherit from it; not what other sessions have of temporary ones.
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
      raise exception 'table % has a part that is a foreign table, %', reservations, member
        using errcode = 'feature_not_supported',
              hint = 'A trigger cannot be told which rows of a foreign table a statement has changed: the statement would fail, or the rows be missed.';
    end if;
    -- Unique indexes of a partitioned table have the columns in it by which it is partitioned: one that leads with the
    -- key has to do. Its partitions have their parts of that index.
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
        raise exception 'no index of the partitioned table % leads with column "%", so a reservation could not be found by it', member, key
          using errcode = 'object_not_in_prerequisite_state',
                hint = format('Name a column with which its primary key%s begins; or: create index on %s (%I);',
                  coalesce(', ' || primary_key || ',', ''), member, key);
      end if;
      raise exception 'column "%" of table % is not its primary key and has no unique index of its own, so it cannot name one reservation', key, member
        using errcode = 'object_not_in_prerequisite_state',
              hint = format('Name the primary key%s; or: create unique index concurrently on %s (%I);',
                coalesce(', ' || primary_key, ''), member, key);
    end if;
  end loop;

  function_oid := cdc_bridge.define_capture(key, true);

  foreach member in array members loop
    foreach operation in array array['insert', 'update'] loop
      if not exists (
        select
        from pg_trigger t
        where t.tgrelid = member and t.tgname = 'cdc_bridge_' || operation and t.tgfoid = function_oid
          and t.tgnewtable = 'changed_rows' and t.tgtype = case operation when 'insert' then 4 else 16 end
          and t.tgattr = '' and t.tgqual is null
      ) then
        execute format(
          'create or replace trigger %I after %s on %s referencing new table as changed_rows for each statement execute function %s',
          'cdc_bridge_' || operation, operation, member, function_oid);
      end if;
    end loop;
  end loop;

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
