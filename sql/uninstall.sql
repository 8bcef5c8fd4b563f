-- Uninstalls cdc-bridge from the current database: triggers, schema, rights and, unless another database needs them, roles.
-- e-Res's own tables and their data are not touched. The change log and the delivery log are deleted.
--
--   psql -v ON_ERROR_STOP=1 -f sql/uninstall.sql
--   cdc-bridge uninstall --print | psql -v ON_ERROR_STOP=1
--   cdc-bridge uninstall
--
-- Stop the daemon first. Warns of a daemon that runs, and of changes that are not delivered. Safe to repeat. Fails, and
-- changes nothing, if it would drop what is not cdc-bridge's: an object elsewhere that depends on the schema, or that belongs
-- to one of the roles.
-- Locks: ACCESS EXCLUSIVE on the reservations table, from dropping its triggers until commit.

begin;
set local search_path = pg_catalog, pg_temp;  -- no object that others created in public is used
set local lock_timeout = '200ms';
set local statement_timeout = '60s';
set local client_min_messages = warning;

\ir uninstall-preconditions.sql
do $others$
declare
  ours constant oid := pg_catalog.to_regnamespace('cdc_bridge');
  others text;
  statements text;
  loss text;
begin
  perform pg_catalog.pg_advisory_xact_lock(52683, 0);

  if pg_catalog.to_regprocedure('cdc_bridge.losses_of_uninstall()') is not null then
    for loss in execute 'select cdc_bridge.losses_of_uninstall()' loop
      raise warning '%', loss;
    end loop;
  end if;

  -- Objects elsewhere that DROP SCHEMA ... CASCADE would silently drop: views, functions, columns, defaults, foreign keys,
  -- publications of our tables.
  select
    pg_catalog.string_agg(distinct pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', '),
    pg_catalog.string_agg(
      distinct case
        when r.oid is not null and c.relkind in ('v', 'm')
          then pg_catalog.format('drop %s %s;', case c.relkind when 'v' then 'view' else 'materialized view' end, c.oid::regclass)
        when r.oid is not null then pg_catalog.format('drop rule %I on %s;', r.rulename, c.oid::regclass)
        when f.oid is not null then pg_catalog.format('alter table %s alter column %I drop default;', c.oid::regclass, a.attname)
        when k.conrelid <> 0 then pg_catalog.format('alter table %s drop constraint %I;', c.oid::regclass, k.conname)
        when g.oid is not null then pg_catalog.format('drop trigger %I on %s;', g.tgname, c.oid::regclass)
        when y.oid is not null then pg_catalog.format('drop policy %I on %s;', y.polname, c.oid::regclass)
        when d.classid = 'pg_class'::regclass and d.objsubid > 0
          then pg_catalog.format('alter table %s drop column %I;', c.oid::regclass, a.attname)
        when u.oid is not null
          then pg_catalog.format('alter publication %I drop table %s;',
            (select p.pubname from pg_catalog.pg_publication p where p.oid = u.prpubid), u.prrelid::regclass)
        else (
          select pg_catalog.format('drop %s %s;', o.type, o.identity) from pg_catalog.pg_identify_object(d.classid, d.objid, 0) as o
        )
      end,
      E'\n'
    )
  into others, statements
  from pg_catalog.pg_depend d
  left join pg_catalog.pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
  left join pg_catalog.pg_attrdef f on d.classid = 'pg_attrdef'::regclass and f.oid = d.objid
  left join pg_catalog.pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
  left join pg_catalog.pg_trigger g on d.classid = 'pg_trigger'::regclass and g.oid = d.objid
  left join pg_catalog.pg_policy y on d.classid = 'pg_policy'::regclass and y.oid = d.objid
  left join pg_catalog.pg_class c on c.oid = case
    when d.classid = 'pg_class'::regclass then d.objid
    else coalesce(r.ev_class, f.adrelid, nullif(k.conrelid, 0), g.tgrelid, y.polrelid)
  end
  left join pg_catalog.pg_attribute a
    on a.attrelid = c.oid and a.attnum = case when f.oid is not null then f.adnum else nullif(d.objsubid, 0) end
  left join pg_catalog.pg_publication_rel u on d.classid = 'pg_publication_rel'::regclass and u.oid = d.objid
  left join pg_catalog.pg_proc p on d.classid = 'pg_proc'::regclass and p.oid = d.objid
  left join pg_catalog.pg_type t on d.classid = 'pg_type'::regclass and t.oid = d.objid
  where d.deptype in ('n', 'a')
    and (
      d.refclassid = 'pg_class'::regclass and d.refobjid in (select o.oid from pg_catalog.pg_class o where o.relnamespace = ours)
      or d.refclassid = 'pg_proc'::regclass and d.refobjid in (select o.oid from pg_catalog.pg_proc o where o.pronamespace = ours)
      or d.refclassid = 'pg_type'::regclass and d.refobjid in (select o.oid from pg_catalog.pg_type o where o.typnamespace = ours)
    )
    and coalesce(c.relnamespace, p.pronamespace, t.typnamespace) is distinct from ours
    -- The capture triggers are ours, on whatever table.
    and not coalesce(pg_catalog.starts_with(g.tgname, 'cdc_bridge_'), false);
  if others is not null then
    raise exception 'objects outside the schema cdc_bridge depend on it: %', others
      using errcode = 'dependent_objects_still_exist', hint = E'If nobody needs them:\n' || coalesce(statements, '');
  end if;

  -- Objects elsewhere that DROP OWNED would drop.
  select
    pg_catalog.string_agg(distinct pg_catalog.pg_describe_object(s.classid, s.objid, s.objsubid), ', '),
    pg_catalog.string_agg(distinct pg_catalog.format('alter %s %s owner to %I;', o.type, o.identity, current_user), E'\n')
  into others, statements
  from pg_catalog.pg_shdepend s
  cross join lateral pg_catalog.pg_identify_object(s.classid, s.objid, 0) as o
  join pg_catalog.pg_roles r on r.oid = s.refobjid
  left join pg_catalog.pg_class c on s.classid = 'pg_class'::regclass and c.oid = s.objid
  left join pg_catalog.pg_proc p on s.classid = 'pg_proc'::regclass and p.oid = s.objid
  left join pg_catalog.pg_type t on s.classid = 'pg_type'::regclass and t.oid = s.objid
  where s.refclassid = 'pg_authid'::regclass and s.deptype = 'o'
    and r.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge_reader')
    and (
      s.dbid = 0
      or s.dbid = (select db.oid from pg_catalog.pg_database db where db.datname = pg_catalog.current_database())
      and coalesce(c.relnamespace, p.pronamespace, t.typnamespace, s.objid) is distinct from ours
    );
  if others is not null then
    raise exception 'objects outside the schema cdc_bridge belong to one of its roles: %', others
      using errcode = 'dependent_objects_still_exist',
            hint = E'Change their owner, or drop them:\n' || coalesce(statements, '');
  end if;
end
$others$;

do $detach$
declare
  attached record;
begin
  -- From PostgreSQL 16, who created a role may grant it, and need not have its rights.
  if exists (
    select from pg_catalog.pg_namespace n
    where n.nspname = 'cdc_bridge' and not pg_catalog.pg_has_role(current_user, n.nspowner, 'usage')
  ) then
    execute pg_catalog.format('grant cdc_bridge_owner to %I', current_user);
  end if;

  for attached in
    select t.tgrelid::regclass as name, t.tgname
    from pg_catalog.pg_trigger t
    join pg_catalog.pg_proc p on p.oid = t.tgfoid
    where p.pronamespace = pg_catalog.to_regnamespace('cdc_bridge') and pg_catalog.starts_with(t.tgname, 'cdc_bridge_')
    order by t.tgrelid, t.tgname
  loop
    begin
      execute pg_catalog.format('drop trigger %I on %s', attached.tgname, attached.name);
    exception when lock_not_available then
      raise exception 'table % is locked by another session', attached.name
        using errcode = 'lock_not_available', hint = 'Run it again. Who blocks: psql -f sql/ops/blocked-by.sql';
    end;
  end loop;
end
$detach$;

do $schema$
begin
  drop schema if exists cdc_bridge cascade;
exception when lock_not_available then
  raise exception 'a table of the schema cdc_bridge is locked by another session'
    using errcode = 'lock_not_available', hint = 'Stop the daemon, and run it again. Who blocks: psql -f sql/ops/blocked-by.sql';
end
$schema$;

do $roles$
declare
  here constant oid := (select db.oid from pg_catalog.pg_database db where db.datname = pg_catalog.current_database());
  name text;
  granted record;
begin
  foreach name in array array['cdc_bridge', 'cdc_bridge_reader', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture'] loop
    continue when not exists (select from pg_catalog.pg_roles where rolname = name);

    -- A role that another database of the cluster still needs stays; only its rights in this one are revoked.
    if exists (select from pg_catalog.pg_shdepend s where s.refobjid = name::regrole and s.dbid not in (0, here)) then
      for granted in
        select
          case s.classid
            when 'pg_class'::regclass then 'table'
            when 'pg_proc'::regclass then 'routine'
            when 'pg_type'::regclass then 'type'
            when 'pg_namespace'::regclass then 'schema'
            else 'database'
          end as kind,
          case s.classid
            when 'pg_class'::regclass then s.objid::regclass::text
            when 'pg_proc'::regclass then s.objid::regprocedure::text
            when 'pg_type'::regclass then s.objid::regtype::text
            when 'pg_namespace'::regclass then s.objid::regnamespace::text
            else pg_catalog.quote_ident(pg_catalog.current_database())
          end as object
        from pg_catalog.pg_shdepend s
        where s.refobjid = name::regrole and s.deptype = 'a'
          and (
            s.dbid = here
              and s.classid in ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_namespace'::regclass)
            or s.dbid = 0 and s.classid = 'pg_database'::regclass and s.objid = here
          )
      loop
        execute pg_catalog.format('revoke all on %s %s from %I', granted.kind, granted.object, name);
      end loop;
      raise warning 'role % is kept: another database of this cluster uses it', name;
      continue;
    end if;

    -- DROP OWNED revokes the rights on e-Res's tables; the role owns nothing else here any more.
    if not pg_catalog.pg_has_role(current_user, name, 'usage') then
      execute pg_catalog.format('grant %I to %I', name, current_user);
    end if;
    execute pg_catalog.format('drop owned by %I', name);
    execute pg_catalog.format('drop role %I', name);
  end loop;
end
$roles$;

commit;
