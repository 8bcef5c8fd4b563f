-- Checks that come before an uninstallation, and change nothing. A hint's lines that end with a semicolon can be run as they
-- stand.

do $preconditions$
declare
  here constant oid := (select db.oid from pg_catalog.pg_database db where db.datname = pg_catalog.current_database());
  statements text;
  not_owned text;
  of_superuser boolean;
begin
  if pg_catalog.pg_is_in_recovery() then
    raise exception 'this is a standby, which is read-only'
      using errcode = 'object_not_in_prerequisite_state', hint = 'Connect to the primary.';
  end if;
  if current_user in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge_reader') then
    raise exception 'role % is %, which must not uninstall', current_user,
        case current_user when 'cdc_bridge' then 'the daemon''s' else 'cdc-bridge''s own' end
      using errcode = 'insufficient_privilege',
            hint = 'Connect as a DBA: a superuser, or a role with CREATEROLE that owns the database and e-Res''s tables.';
  end if;

  -- Everything that a DBA who is no superuser lacks, at once.
  with who as (
    select r.rolcreaterole, current_setting('server_version_num')::integer >= 160000 as needs_admin_option
    from pg_catalog.pg_roles r
    where r.rolname = current_user and not r.rolsuper
  ), dropped as (
    select r.oid, r.rolname
    from pg_catalog.pg_roles r
    where r.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge_reader')
      and not exists (select from pg_catalog.pg_shdepend s where s.refobjid = r.oid and s.dbid not in (0, here))
  ), captured as (
    select distinct t.tgrelid::regclass::text as name, owner.rolname as owner, owner.rolsuper as of_superuser
    from who
    cross join pg_catalog.pg_trigger t
    join pg_catalog.pg_proc p on p.oid = t.tgfoid
    join pg_catalog.pg_class c on c.oid = t.tgrelid
    join pg_catalog.pg_roles owner on owner.oid = c.relowner
    where p.pronamespace = pg_catalog.to_regnamespace('cdc_bridge') and pg_catalog.starts_with(t.tgname, 'cdc_bridge_')
      and not pg_catalog.pg_has_role(current_user, c.relowner, 'usage')
  ), statement (number, text) as (
    select 1, pg_catalog.format('alter role %I createrole;', current_user)
    from who
    where not who.rolcreaterole and exists (select from dropped)
    union all
    select 2, pg_catalog.format('grant %s to %I with admin option;',
      pg_catalog.string_agg(d.rolname, ', ' order by d.rolname = 'cdc_bridge_owner' desc, d.rolname), current_user)
    from who
    join dropped d on who.needs_admin_option and not pg_catalog.pg_has_role(current_user, d.oid, 'member with admin option')
    having pg_catalog.count(*) > 0
    union all
    select 3, pg_catalog.format('grant cdc_bridge_owner to %I;', current_user)
    from who
    join pg_catalog.pg_namespace n on n.nspname = 'cdc_bridge'
    join pg_catalog.pg_roles o on o.oid = n.nspowner
    where not pg_catalog.pg_has_role(current_user, o.oid, 'usage')
      -- What is granted above makes it a member, too.
      and not (who.needs_admin_option and exists (select from dropped d where d.oid = o.oid))
    union
    select 4, pg_catalog.format('grant %I to %I;', c.owner, current_user) from captured c where not c.of_superuser
  )
  select
    (select pg_catalog.string_agg(s.text, E'\n' order by s.number, s.text) from statement s),
    (select pg_catalog.string_agg(c.name, ', ' order by c.name) from captured c),
    (select pg_catalog.bool_or(c.of_superuser) from captured c)
  into statements, not_owned, of_superuser;
  if statements is not null or not_owned is not null then
    raise exception 'role % has too few rights to uninstall%', current_user, coalesce('; it does not own ' || not_owned, '')
      using errcode = 'insufficient_privilege',
            hint = case when of_superuser then 'Run it as a superuser.' else E'As a superuser:\n' || statements end;
  end if;
end
$preconditions$;
