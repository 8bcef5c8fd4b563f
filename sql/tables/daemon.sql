-- cdc_bridge.daemon: one row for each running daemon: its heartbeat, and how far it has read the change log.
--
-- A daemon's leases last while it is live: until alive_until, which it renews, and while its heartbeat session holds the
-- advisory lock (52684, daemon_id). When it is killed, PostgreSQL ends that session, and nobody has to wait. Another daemon
-- then deletes the row (cdc_bridge.end_daemon), which frees its endpoints. A daemon whose row is gone can neither load
-- nor record anything. alive_until is '-infinity' if it has ended and somebody locks one of its endpoints: the row is
-- needed until that one is free as well.
--
-- position is that of all endpoints that follow it: every change visible in it is in their delivery logs. Their own
-- positions are set when they stop following it, before it moves past what is not recorded.

create table if not exists cdc_bridge.daemon (
  daemon_id   bigint      generated always as identity primary key,
  name        text        not null,
  alive_until timestamptz not null,
  listening   boolean     not null,
  position    pg_snapshot,
  place_xid   xid8,
  place_seq   bigint,
  check ((place_xid is null) = (place_seq is null))
) with (fillfactor = 50);
comment on table cdc_bridge.daemon is 'Running daemons, each with its heartbeat and its position in the change log';
comment on column cdc_bridge.daemon.name is 'Host and process id';
comment on column cdc_bridge.daemon.alive_until is 'When others may end it, unless it renews this';
comment on column cdc_bridge.daemon.listening is 'Whether it got notifications at its last heartbeat; false: it polls';
comment on column cdc_bridge.daemon.position is 'All changes visible in this snapshot are in the delivery logs of the endpoints that follow it';
comment on column cdc_bridge.daemon.place_xid is 'A transaction that is read in part; null: none';
comment on column cdc_bridge.daemon.place_seq is 'The last change of place_xid that is in these delivery logs';
