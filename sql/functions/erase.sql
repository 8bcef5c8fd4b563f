-- cdc_bridge.erase(reservation_id text)
--
-- Erases a reservation from the change log and the delivery log, as far as it is settled: its key may tell who the guest is.
-- What is still to be delivered stays, since without it the delivery would be lost. All its attempts are erased, whose responses
-- may have the guest's data in them.
-- Returns how many changes and deliveries were erased, and how many stay. Safe to repeat. Run it after e-Res has erased the
-- reservation itself, or changed its key; what stays is then skipped by the daemon, and a second call erases it.
-- Locks: the rows that it deletes. Reads the whole change log, and all attempts.

create or replace function cdc_bridge.erase(
  reservation_id text,
  out changes_erased bigint, out deliveries_erased bigint, out changes_left bigint, out deliveries_left bigint
)
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $erase$
declare
  here constant bigint := (select system_identifier from pg_control_system());
begin
  delete from cdc_bridge.attempt a where a.reservation_id = erase.reservation_id;

  delete from cdc_bridge.delivery d
  where d.reservation_id = erase.reservation_id
    and (
      d.state not in ('queued', 'retrying')
      or not exists (select from cdc_bridge.endpoint e where e.endpoint_id = d.endpoint_id)
    );
  get diagnostics deliveries_erased = row_count;

  delete from cdc_bridge.change c
  where c.reservation_id = erase.reservation_id
    and not exists (
      select
      from cdc_bridge.endpoint_position e
      where e.cluster <> here
        or not (pg_visible_in_snapshot(c.xid, e.position) or coalesce(c.xid = e.place_xid and c.seq <= e.place_seq, false))
    );
  get diagnostics changes_erased = row_count;

  select count(*) into deliveries_left from cdc_bridge.delivery d where d.reservation_id = erase.reservation_id;
  select count(*) into changes_left
  from (
    select from cdc_bridge.change c where c.reservation_id = erase.reservation_id
    union all
    select from cdc_bridge.related_change c where erase.reservation_id in (c.key, c.done_up_to)
  ) as unsettled;
end
$erase$;
revoke all on function cdc_bridge.erase(text) from public;
grant execute on function cdc_bridge.erase(text) to cdc_bridge;
comment on function cdc_bridge.erase(text) is 'Erases what is settled of a reservation from both logs; safe to repeat';
