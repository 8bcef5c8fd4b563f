-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: read_alert
-- What was reported last, by whom, and whether that daemon is live.
select
  a.version, a.state, a.reported_at, a.red_at, a.alerts, a.about, a.reported_by, a.unsent, a.problem,
  exists (select from cdc_bridge.daemon d where d.name = a.reported_by and d.alive_until > now()) as is_live
from cdc_bridge.alert a

-- name: claim_alert
-- Writes what will be reported, unless another daemon has done so since the row was read.
insert into cdc_bridge.alert as a (version, state, reported_at, red_at, alerts, about, reported_by, unsent)
values (%(before)s + 1, %(state)s, %(reported_at)s, %(red_at)s, %(alerts)s, %(about)s::text[], %(daemon)s, true)
on conflict (only_row) do update
set version = excluded.version, state = excluded.state, reported_at = excluded.reported_at, red_at = excluded.red_at,
  alerts = excluded.alerts, about = excluded.about, reported_by = excluded.reported_by, unsent = true, problem = null
where a.version = %(before)s

-- name: note_alert
-- Whether the last alert was sent, if it was this daemon's.
update cdc_bridge.alert
set unsent = %(unsent)s, problem = %(problem)s
where reported_by = %(daemon)s
