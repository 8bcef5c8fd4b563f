-- Canonical text: two values of a column are equal for PostgreSQL if, and only if, their canonical texts are the same. So a
-- daemon finds by a dictionary which of many endpoints want a reservation, and PostgreSQL alone says what equality is.
--
-- cdc_bridge.canonical_form(type text)
--   The form of a column type, from its name in pg_catalog. canonical_<form>(value) returns the canonical text. A column that
--   is retyped within its form keeps it; for one of another form there is no such function, so reading it fails.
-- cdc_bridge.canonical_text, _number, _bool, _uuid, _date, _timestamptz(value)
--   The canonical text. Null text counts as '', which it is in the JSON; any other null equals nothing, and is null. Instants
--   are written in the session's time zone.
--
-- They are plain SQL that the planner inlines: they cost what they consist of. Locks: none.

create or replace function cdc_bridge.canonical_form(type text) returns text
  language sql immutable parallel safe
return case
  when type in ('text', 'varchar', 'bpchar', 'name') then 'text'
  when type in ('int2', 'int4', 'int8', 'numeric', 'float4', 'float8') then 'number'
  else type
end;

create or replace function cdc_bridge.canonical_text(value text) returns text language sql stable parallel safe
return coalesce(value, '');
create or replace function cdc_bridge.canonical_text(value bpchar) returns text language sql stable parallel safe
return coalesce(value::text, '');  -- The cast removes the blanks at the end, which are no part of it.
create or replace function cdc_bridge.canonical_number(value int2) returns text language sql stable parallel safe
return value::text;
create or replace function cdc_bridge.canonical_number(value int4) returns text language sql stable parallel safe
return value::text;
create or replace function cdc_bridge.canonical_number(value int8) returns text language sql stable parallel safe
return value::text;
create or replace function cdc_bridge.canonical_number(value numeric) returns text language sql stable parallel safe
return trim_scale(value)::text;
-- Its text is exact and has no other one; as a number, -0 is 0.
create or replace function cdc_bridge.canonical_number(value float8) returns text language sql stable parallel safe
return trim_scale(value::text::numeric)::text;
create or replace function cdc_bridge.canonical_bool(value bool) returns text language sql stable parallel safe
return value::text;
create or replace function cdc_bridge.canonical_uuid(value uuid) returns text language sql stable parallel safe
return value::text;
create or replace function cdc_bridge.canonical_date(value date) returns text language sql stable parallel safe
return value::text;
create or replace function cdc_bridge.canonical_timestamptz(value timestamptz) returns text language sql stable parallel safe
return value::text;

revoke all on function
  cdc_bridge.canonical_form(text), cdc_bridge.canonical_text(text), cdc_bridge.canonical_text(bpchar),
  cdc_bridge.canonical_number(int2), cdc_bridge.canonical_number(int4), cdc_bridge.canonical_number(int8),
  cdc_bridge.canonical_number(numeric), cdc_bridge.canonical_number(float8), cdc_bridge.canonical_bool(bool),
  cdc_bridge.canonical_uuid(uuid), cdc_bridge.canonical_date(date), cdc_bridge.canonical_timestamptz(timestamptz)
from public;
grant execute on function
  cdc_bridge.canonical_form(text), cdc_bridge.canonical_text(text), cdc_bridge.canonical_text(bpchar),
  cdc_bridge.canonical_number(int2), cdc_bridge.canonical_number(int4), cdc_bridge.canonical_number(int8),
  cdc_bridge.canonical_number(numeric), cdc_bridge.canonical_number(float8), cdc_bridge.canonical_bool(bool),
  cdc_bridge.canonical_uuid(uuid), cdc_bridge.canonical_date(date), cdc_bridge.canonical_timestamptz(timestamptz)
to cdc_bridge, cdc_bridge_loader;
comment on function cdc_bridge.canonical_form(text) is 'Form of a column type, by which its values have a canonical text';
comment on function cdc_bridge.canonical_text(text) is 'Canonical text of a text';
comment on function cdc_bridge.canonical_text(bpchar) is 'Canonical text of a char(n)';
comment on function cdc_bridge.canonical_number(int2) is 'Canonical text of a number';
comment on function cdc_bridge.canonical_number(int4) is 'Canonical text of a number';
comment on function cdc_bridge.canonical_number(int8) is 'Canonical text of a number';
comment on function cdc_bridge.canonical_number(numeric) is 'Canonical text of a number';
comment on function cdc_bridge.canonical_number(float8) is 'Canonical text of a number';
comment on function cdc_bridge.canonical_bool(bool) is 'Canonical text of a boolean';
comment on function cdc_bridge.canonical_uuid(uuid) is 'Canonical text of a UUID';
comment on function cdc_bridge.canonical_date(date) is 'Canonical text of a date';
comment on function cdc_bridge.canonical_timestamptz(timestamptz) is 'Canonical text of an instant';
