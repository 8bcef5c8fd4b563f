-- cdc_bridge.history_of(server text)
--
-- Returns the history of the server that the caller is connected to. It begins one unless the newest one is that server's.
--   server  what tells it from any other
-- Locks: none but that of the new row.

create or replace function cdc_bridge.history_of(server text) returns bigint
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $history$
declare
  newest cdc_bridge.history;
  next_history bigint;
begin
  loop
    select * into newest from cdc_bridge.history h order by h.history desc limit 1;
    if newest.server = history_of.server then
      return newest.history;
    end if;
    next_history := greatest(coalesce(newest.history, 0), floor(extract(epoch from clock_timestamp()))::bigint) + 1;
    if newest.history is not null then
      -- Until its second has come, so that one that does not know of it is higher, however soon it begins.
      perform pg_sleep(least(1, next_history - extract(epoch from clock_timestamp())));
    end if;
    insert into cdc_bridge.history (history, server)
    values (next_history, history_of.server)
    on conflict do nothing;  -- Another daemon may be beginning one.
  end loop;
end
$history$;
revoke all on function cdc_bridge.history_of(text) from public;
grant execute on function cdc_bridge.history_of(text) to cdc_bridge;
comment on function cdc_bridge.history_of(text) is 'History of the server; begins one if the server is another';
