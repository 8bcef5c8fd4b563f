-- cdc_bridge.alert: the one row that says what was reported last of the bridge's health.
--
-- Daemons that have somebody to alert share it: whoever changes the row by its version sends the alert, the others do not.
-- It outlives a daemon, so that the next one knows that green is news. While the database is away each alerts by itself.

create table if not exists cdc_bridge.alert (
  only_row    boolean     primary key default true check (only_row),
  version     bigint      not null,
  state       text        not null check (state in ('green', 'red', 'unstable')),
  reported_at timestamptz not null,
  red_at      timestamptz,
  alerts      bigint      not null,
  about       text[]      not null,
  reported_by text        not null,
  unsent      boolean     not null,
  problem     text
) with (fillfactor = 50);
comment on table cdc_bridge.alert is 'What was reported last of the bridge''s health (settings alert_url and alert_command)';
comment on column cdc_bridge.alert.version is 'Grows with each alert: of several daemons the one that raises it sends the alert';
comment on column cdc_bridge.alert.state is 'Unstable: it turned red again and again';
comment on column cdc_bridge.alert.reported_at is 'When the last alert was decided';
comment on column cdc_bridge.alert.red_at is 'When health was reported red for the last time';
comment on column cdc_bridge.alert.alerts is 'Alerts since health was green';
comment on column cdc_bridge.alert.about is 'Which problems the last alert was about, part and endpoint';
comment on column cdc_bridge.alert.reported_by is 'Name of the daemon that sends it';
comment on column cdc_bridge.alert.unsent is 'Whether it is not sent yet';
comment on column cdc_bridge.alert.problem is 'Why it could not be sent; null: nothing failed';
