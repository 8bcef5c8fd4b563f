-- cdc_bridge.change: the change log. Append-only, one row for each reservation that a statement inserted or updated. It
-- holds keys and times, never guest data.
--
-- The primary key starts with the transaction id because the daemon reads all rows of the transactions that its last
-- snapshot did not see. (A sequence alone will not do: numbers are drawn before commit, and transactions commit in another
-- order.) The sequence has no cache, so that the numbers of one reservation's changes, which its row lock serialises,
-- always grow. operation has no check constraint: PostgreSQL would read and plan it anew for every booking, and only the
-- capture function writes here.
--
-- Each day as many rows are pruned as are added. Vacuuming at a twentieth of the table instead of a fifth keeps both logs
-- at 1.15 times the size of their live rows instead of 1.33; at 100,000 changes a day that is two vacuums a day, each well
-- below a second.

create table if not exists cdc_bridge.change (
  xid            xid8        not null default pg_current_xact_id(),
  seq            bigint      not null generated always as identity (cache 1),
  reservation_id text        not null,
  operation      "char"      not null,
  changed_at     timestamptz not null,
  primary key (xid, seq)
) with (autovacuum_vacuum_scale_factor = 0.05);
comment on table cdc_bridge.change is 'Change log: which reservation was inserted or updated by which transaction';
comment on column cdc_bridge.change.xid is 'Top-level transaction that made the change';
comment on column cdc_bridge.change.seq is 'Number of the change; grows with each change of one reservation';
comment on column cdc_bridge.change.reservation_id is 'The reservation''s key as text';
comment on column cdc_bridge.change.operation is 'I: inserted, U: updated';
comment on column cdc_bridge.change.changed_at is 'When the statement ended; the same for all rows of a statement';
