-- cdc_bridge.change: the change log. Append-only; one row for each reservation that a statement inserted or
-- updated. It holds ids and times, never a guest's data.
--
-- The primary key leads with the transaction because that is how the daemon reads: all rows of transactions that
-- its last snapshot did not see (a sequence alone will not do: numbers are drawn before commit, and transactions
-- commit in another order). seq is not cached, so that among the changes of one reservation, which its row lock
-- puts one behind the other, it always grows. No check on operation: PostgreSQL would read and plan it anew for every
-- booking, and only the capture function writes here.
--
-- Each day as many rows are pruned as come. With a vacuum per twentieth of the table instead of per fifth, log and ledger
-- settle at 1.15 times their live rows' size instead of 1.33; at 100,000 changes a day that is two vacuums a day, of
-- well under a second.

create table if not exists cdc_bridge.change (
  xid            xid8        not null default pg_current_xact_id(),
  seq            bigint      not null generated always as identity (cache 1),
  reservation_id text        not null,
  operation      "char"      not null,
  changed_at     timestamptz not null,
  primary key (xid, seq)
) with (autovacuum_vacuum_scale_factor = 0.05);
comment on table cdc_bridge.change is 'Change log: which reservation was inserted (I) or updated (U) by which transaction';
comment on column cdc_bridge.change.xid is 'The top-level transaction that made the change';
comment on column cdc_bridge.change.seq is 'Number of the change; grows with each change of one reservation';
comment on column cdc_bridge.change.reservation_id is 'The reservation''s key as text';
comment on column cdc_bridge.change.operation is 'I: inserted, U: updated';
comment on column cdc_bridge.change.changed_at is 'When the statement that made the change had run; one instant a statement';
