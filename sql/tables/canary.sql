-- cdc_bridge.canary: one row, which a daemon updates now and then. The update is captured as a reservation's is, and goes
-- the same way, change log, doorbell, reading, up to where a delivery would be made of it: a proof that all of it
-- works, for which no row of e-Res's is touched. In the log it stands as the reservation 'cdc-bridge canary'.

create table if not exists cdc_bridge.canary (
  canary  text        primary key check (canary = 'cdc-bridge canary'),
  sung_at timestamptz not null
) with (fillfactor = 50);
comment on table cdc_bridge.canary is 'One row, updated to prove that changes are captured and read';

do $canary$
begin
  if to_regprocedure('cdc_bridge.capture_by_canary()') is null then
    perform cdc_bridge.define_capture('canary', true);
  end if;
  if not exists (select from pg_trigger where tgrelid = 'cdc_bridge.canary'::regclass and tgname = 'canary_update') then
    create trigger canary_update after update on cdc_bridge.canary
      referencing new table as changed_rows for each statement execute function cdc_bridge.capture_by_canary();
  end if;
end
$canary$;
insert into cdc_bridge.canary (canary, sung_at) values ('cdc-bridge canary', now()) on conflict do nothing;
