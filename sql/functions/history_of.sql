-- cdc_bridge.history_of(server text)
--
-- Returns the history of the server that the caller is connected to; the first use begins it.
--   server  what tells it from any other
-- Locks: none but that of the new row.

create or replace function cdc_bridge.history_of(server text) returns bigint
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $history$
declare
  found_history bigint;
begin
  loop
    select h.history into found_history from cdc_bridge.history h where h.server = history_of.server;
    if found then
      return found_history;
    end if;
    insert into cdc_bridge.history (history, server)
    select greatest(coalesce(max(h.history), 0) + 1, extract(epoch from clock_timestamp())::bigint / 10), history_of.server
    from cdc_bridge.history h
    on conflict do nothing;  -- Another daemon may be beginning it.
  end loop;
end
$history$;
revoke all on function cdc_bridge.history_of(text) from public;
grant execute on function cdc_bridge.history_of(text) to cdc_bridge;
comment on function cdc_bridge.history_of(text) is 'History of the server; begins one if the server is another';
