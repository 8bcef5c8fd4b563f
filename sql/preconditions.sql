-- What has to be true before anything is touched: PostgreSQL 15 or newer, and no newer cdc-bridge already here.

do $preconditions$
declare
  installed integer;
begin
  if current_setting('server_version_num')::integer < 150000 then
    raise exception 'cdc-bridge needs PostgreSQL 15 or newer, this is %', current_setting('server_version')
      using errcode = 'feature_not_supported';
  end if;

  if to_regclass('cdc_bridge.schema_version') is not null then
    execute 'select max(version) from cdc_bridge.schema_version' into installed;
    if installed > 1 then
      raise exception 'this database has version % of the cdc-bridge schema, newer than version 1 which this text installs', installed
        using errcode = 'object_not_in_prerequisite_state',
              hint = 'Install with the cdc-bridge release that made it, or a newer one.';
    end if;
  end if;
end
$preconditions$;
