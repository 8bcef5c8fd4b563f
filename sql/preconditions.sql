-- Checks that come before any change. A hint's lines that end with a semicolon can be run as they stand.

do $preconditions$
declare
  needed constant integer := pg_catalog.current_setting('cdc_bridge.schema_version');
  installed integer;
  prepared boolean;
  stranger text;
  statements text;
  not_owned text;
  -- The text of the mapping, if "cdc-bridge install" runs this: the tables that it names are those that matter. Blank: the
  -- installed one is kept.
  mapping constant text := pg_catalog.regexp_replace(
    coalesce(pg_catalog.current_setting('cdc_bridge.mapping', true), ''), '--[^\n]*', '', 'g');
  no_name constant text := '(?:^|$|[^\w"])';
begin
  perform pg_catalog.set_config('cdc_bridge.version_before', '', true);
  if current_setting('server_version_num')::integer < 150000 then
    raise exception 'cdc-bridge needs PostgreSQL 15 or newer, but this is %', current_setting('server_version')
      using errcode = 'feature_not_supported';
  end if;
  if pg_catalog.pg_is_in_recovery() then
    raise exception 'this is a standby, which is read-only'
      using errcode = 'object_not_in_prerequisite_state', hint = 'Connect to the primary.';
  end if;

  -- One installation at a time: two would conflict over the roles.
  perform pg_catalog.pg_advisory_xact_lock(52683, 0);

  -- Whoever created the schema could have put objects into it that we would run with the owner's rights.
  select pg_catalog.pg_get_userbyid(n.nspowner) into stranger
  from pg_catalog.pg_namespace n
  where n.nspname = 'cdc_bridge' and pg_catalog.pg_get_userbyid(n.nspowner) <> 'cdc_bridge_owner';
  if found then
    raise exception 'schema cdc_bridge already exists and belongs to role %', stranger
      using errcode = 'object_not_in_prerequisite_state',
            hint = E'Find out what it is for. If nobody needs it:\ndrop schema cdc_bridge cascade;';
  end if;

  select
    pg_catalog.string_agg(r.rolname, ', ' order by r.rolname),
    pg_catalog.string_agg(
      pg_catalog.format(
        'alter role %I nosuperuser nobypassrls nocreaterole nocreatedb noreplication%s;',
        r.rolname, case when r.rolname <> 'cdc_bridge' then ' nologin' end
      ),
      E'\n' order by r.rolname
    )
  into stranger, statements
  from pg_catalog.pg_roles r
  where r.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge_reader')
    and (
      r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication
      or r.rolbypassrls and r.rolname <> 'cdc_bridge_loader'  -- which needs it where e-Res's tables have policies
      or r.rolcanlogin and r.rolname <> 'cdc_bridge'
    );
  if stranger is not null then
    raise exception 'role % already exists and has more rights than cdc-bridge needs', stranger
      using errcode = 'object_not_in_prerequisite_state', hint = E'If it is cdc-bridge''s:\n' || statements;
  end if;

  if current_user in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge_reader') then
    raise exception 'role % is %, which must not install', current_user,
        case current_user when 'cdc_bridge' then 'the daemon''s' else 'cdc-bridge''s own' end
      using errcode = 'insufficient_privilege',
            hint = 'Connect as a DBA: a superuser, or a role with CREATEROLE that owns the database and e-Res''s tables.';
  end if;

  -- Everything that a DBA who is no superuser lacks, at once.
  with who as (
    select r.rolcreaterole, pg_catalog.to_regnamespace('cdc_bridge') is not null as is_installed,
      current_setting('server_version_num')::integer >= 160000 as has_set_option
    from pg_catalog.pg_roles r
    where r.rolname = current_user and not r.rolsuper
  ), of_e_res as (
    select
      pg_catalog.format('%I.%I', n.nspname, c.relname) as name,
      pg_catalog.quote_ident(n.nspname) as schema,
      owner.rolname as owner,
      owner.rolsuper as of_superuser,
      pg_catalog.pg_has_role(current_user, c.relowner, 'usage') as is_owned,
      pg_catalog.pg_has_role(current_user, n.nspowner, 'usage')
        or pg_catalog.has_schema_privilege(n.oid, 'usage with grant option')
        or pg_catalog.has_schema_privilege('public', n.oid, 'usage') as may_grant_usage,
      pg_catalog.has_table_privilege(c.oid, 'select with grant option') as may_grant_select,
      pg_catalog.has_table_privilege(c.oid, 'trigger') as may_attach,
      mapping ~* (no_name || pg_catalog.regexp_replace(pg_catalog.format('%I.%I', n.nspname, c.relname), '(\W)', '\\\1', 'g') || no_name)
        as is_named
    from who
    join pg_catalog.pg_class c on c.relkind in ('r', 'p', 'v', 'm') and c.relpersistence <> 't'
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_roles owner on owner.oid = c.relowner
    where n.nspname not in ('cdc_bridge', 'pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
      and not exists (
        select from pg_catalog.pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
      )
  ), out_of_reach as (
    select e.*
    from of_e_res e
    where case
      when mapping <> '' then e.is_named and not (e.is_owned or e.may_grant_select and e.may_grant_usage)
      -- With psql the mapping is not known here. Whoever owns none of the tables owns none that it names.
      else not exists (select from who where who.is_installed)
        and not exists (select from of_e_res o where o.is_owned or o.may_grant_select and o.may_attach)
    end
  ), statement (number, text) as (
    select 1, pg_catalog.format('alter role %I createrole;', current_user)
    from who
    where not who.rolcreaterole and (
      select pg_catalog.count(*) from pg_catalog.pg_roles ours
      where ours.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge_reader')
    ) < 5
    union all
    select 2, pg_catalog.format('grant create on database %I to %I;', pg_catalog.current_database(), current_user)
    from who
    where not who.is_installed and not pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create')
    union all
    select 3, pg_catalog.format(
      case when who.is_installed then 'grant cdc_bridge_owner to %I;'
      else 'grant cdc_bridge_owner, cdc_bridge_loader, cdc_bridge_capture, cdc_bridge, cdc_bridge_reader to %I with admin option;' end,
      current_user
    )
    from who
    join pg_catalog.pg_roles o on o.rolname = 'cdc_bridge_owner'
    where not pg_catalog.pg_has_role(current_user, o.oid, case when who.has_set_option then 'set' else 'member' end)
      and not pg_catalog.pg_has_role(current_user, o.oid, 'member with admin option')
      and (who.has_set_option or not who.rolcreaterole)
    union
    select 4, pg_catalog.format('grant %I to %I;', o.owner, current_user) from out_of_reach o where not o.of_superuser
    union
    -- Nobody is made a superuser.
    select
      5, pg_catalog.format('grant usage on schema %s to %I with grant option; grant select, trigger on %s to %I with grant option;',
        o.schema, current_user, o.name, current_user)
    from out_of_reach o
    where o.of_superuser and mapping <> ''
  )
  select
    (select pg_catalog.string_agg(s.text, E'\n' order by s.number, s.text) from statement s),
    (
      select pg_catalog.array_to_string((pg_catalog.array_agg(o.name order by o.name))[1:5], ', ')
        || case when pg_catalog.count(*) > 5 then pg_catalog.format(' and %s more', pg_catalog.count(*) - 5) else '' end
      from out_of_reach o
    )
  into statements, not_owned;
  if statements is not null or not_owned is not null then
    raise exception 'role % has too few rights to install%', current_user, coalesce('; it does not own ' || not_owned, '')
      using errcode = 'insufficient_privilege', hint = coalesce(E'As a superuser:\n' || statements, 'Run it as a superuser.');
  end if;

  if pg_catalog.to_regclass('cdc_bridge.schema_version') is null then
    return;
  end if;
  select v.version, v.next_prepared_at is not null into installed, prepared
  from cdc_bridge.schema_version v
  order by v.version desc
  limit 1;
  perform pg_catalog.set_config('cdc_bridge.version_before', coalesce(installed::text, ''), true);
  if installed > needed then
    raise exception 'this database has version % of the cdc-bridge schema, newer than version %, which this installs', installed, needed
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Install with the release of cdc-bridge that created it, or a newer one.';
  end if;
  if installed < needed and not (installed = needed - 1 and prepared) then
    raise exception 'this database has version % of the cdc-bridge schema and must be migrated to version % first', installed, needed
      using errcode = 'object_not_in_prerequisite_state',
            hint = pg_catalog.format(
              'Run the files in sql/migrations from %s-before.sql on, then repeat this. "cdc-bridge install" runs them all.',
              pg_catalog.to_char(installed + 1, 'FM0000'));
  end if;
end
$preconditions$;
