-- cdc_bridge.history: the histories of the data that deliveries were made in.
--
-- A crash, a fail-over, a point-in-time recovery, a restored dump or a copy of the files may set the sequence of change
-- numbers back, so that a number is drawn again that was delivered before. All of them are seen as another run of a server,
-- and each run begins another history. A delivery's number, ce-sequence, has it in front. It is a time, in seconds since
-- 1970: a standby that was cut off does not know the histories that came meanwhile, and must not repeat one.

create table if not exists cdc_bridge.history (
  history  bigint      primary key,
  server   text        not null,
  began_at timestamptz not null default now()
);
comment on table cdc_bridge.history is 'Histories of the data; the newest one stands in front of ce-sequence';
comment on column cdc_bridge.history.server is 'Cluster, timeline, starts and tables that the daemon found';
