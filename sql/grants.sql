-- Rights of each role. The mapping grants cdc_bridge_loader the right to read e-Res's tables.

grant usage on schema cdc_bridge to cdc_bridge, cdc_bridge_reader, cdc_bridge_loader, cdc_bridge_capture;

grant insert (reservation_id, operation, changed_at) on cdc_bridge.change to cdc_bridge_capture;
grant insert (related_id, key, changed_at) on cdc_bridge.related_change to cdc_bridge_capture;
grant select on cdc_bridge.related_table to cdc_bridge_loader;
grant select on cdc_bridge.related_table, cdc_bridge.related_change to cdc_bridge, cdc_bridge_reader;
grant select on cdc_bridge.payload_definition to cdc_bridge_loader, cdc_bridge, cdc_bridge_reader;
grant select on cdc_bridge.captured_table, cdc_bridge.history, cdc_bridge.daemon to cdc_bridge, cdc_bridge_reader;
grant insert on cdc_bridge.history to cdc_bridge;

grant select on cdc_bridge.schema_version, cdc_bridge.change, cdc_bridge.endpoint, cdc_bridge.delivery to cdc_bridge;
grant select on
  cdc_bridge.endpoint_status, cdc_bridge.endpoint_position, cdc_bridge.unsettled_delivery, cdc_bridge.endpoint_secret
to cdc_bridge;
grant insert, update on cdc_bridge.endpoint, cdc_bridge.delivery to cdc_bridge;
grant select, insert, delete, update (response) on cdc_bridge.attempt to cdc_bridge;  -- of many attempts some are deleted
grant delete on cdc_bridge.endpoint to cdc_bridge;
grant insert, update, delete on cdc_bridge.daemon to cdc_bridge;
grant execute on function cdc_bridge.end_daemon(bigint) to cdc_bridge;
grant select, insert, delete on cdc_bridge.idempotency_key to cdc_bridge;
grant select, insert, update on cdc_bridge.alert to cdc_bridge;
grant select, insert, delete, update (last_used_at) on cdc_bridge.access_token to cdc_bridge;
-- Who has the daemon's password can append to the audit log, and neither set time and role nor change what is there.
grant insert (who, via, action, endpoint, details) on cdc_bridge.audit to cdc_bridge;
grant select on cdc_bridge.audit to cdc_bridge, cdc_bridge_reader;
grant usage on sequence cdc_bridge.change_seq_seq to cdc_bridge;  -- numbers for the deliveries that "backfill" and "reconcile" queue
-- The daemon's only way to delete from the logs: old and settled rows, a page at a time.
grant execute on function
  cdc_bridge.prune_changes(interval, xid8, bigint, integer),
  cdc_bridge.prune_deliveries(bigint, interval, interval, bigint, integer),
  cdc_bridge.prunable_delivery_logs(interval, interval),
  cdc_bridge.prune_attempts(interval, timestamptz, bigint, bigint, integer, integer),
  cdc_bridge.prune_responses(integer),
  cdc_bridge.prune_audit(integer)
to cdc_bridge;
grant execute on procedure cdc_bridge.prune(interval, interval, bigint, bigint) to cdc_bridge;

grant select on cdc_bridge.schema_version, cdc_bridge.change, cdc_bridge.delivery, cdc_bridge.alert to cdc_bridge_reader;
grant select on
  cdc_bridge.endpoint_status, cdc_bridge.endpoint_position, cdc_bridge.unsettled_delivery, cdc_bridge.endpoint_secret
to cdc_bridge_reader;
-- What a reader may see of cdc_bridge.endpoint is granted with the table.
