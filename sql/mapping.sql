-- The mapping: the one file that names e-Res's own tables. If yours are not those of example/schema.sql, edit a copy of it.
--
-- define_payload says what becomes the body of a request: a SELECT with one row per reservation; its columns, in order, are
-- the JSON's keys, and a dot nests. It is kept as text, so e-Res can alter what it reads. The daemon knows nothing else of
-- e-Res.
--
--   column type                              in the JSON
--   text, varchar, char                      a string; null becomes ""
--   smallint, integer, bigint, numeric, ...  a number, exact, without trailing zeros
--   boolean                                  "T" or "F"
--   uuid                                     32 upper-case hexadecimal digits
--   timestamp with time zone                 UTC with three decimals, 2021-02-22T22:30:00.000Z
--   date                                     2021-02-22
--                                            infinity and years before 1 or after 9999 become null
--   json, jsonb                              as it is
--
-- A timestamp without time zone needs its zone: r.datetime at time zone 'Europe/London'.
-- If all columns of a nested object are null, as in "call" for a booking made on the web, the object is null.
-- "id" must be the reservations table's key itself, without an expression, so that its index finds the rows.
-- Examples for other tables and columns, and for further payloads with fewer columns or reservations: mapping-guide.md.

-- Reservations are loaded as cdc_bridge_loader. No other role of ours has a right on e-Res's tables.
grant usage on schema public to cdc_bridge_loader;
grant select on public.reservations, public.customers, public.calls to cdc_bridge_loader;

select cdc_bridge.define_payload('reservation', $query$
select
  c.id as "customer.id",
  c.title as "customer.title",
  c.firstname as "customer.firstname",
  c.surname as "customer.surname",
  c.company as "customer.company",
  c.email as "customer.email",
  c.phone as "customer.phone",
  c.mobile as "customer.mobile",
  c.work_phone as "customer.work_phone",
  c.visits as "customer.visits",
  c.mailing as "customer.mailing",
  c.vip as "customer.vip",
  c.regular as "customer.regular",
  c.inspector as "customer.inspector",
  c.notes as "customer.notes",
  c.suite as "customer.suite",
  c.extras as "customer.extras",
  c.address1 as "customer.address1",
  c.address2 as "customer.address2",
  c.address3 as "customer.address3",
  c.city as "customer.city",
  c.county as "customer.county",
  c.postcode as "customer.postcode",
  c.terms_agreed as "customer.terms_agreed",
  c.terms_agreed_ip as "customer.terms_agreed_ip",
  c.created as "customer.created",
  c.updated as "customer.updated",
  r.id,
  r.cust_id,
  r.reference,
  r.room_id,
  r.room_name,
  r.meal_id,
  r.meal_name,
  r.datetime,
  r.duration,
  r.adults,
  r.children,
  r.type,
  r.status,
  r.cancelled,
  r.tables,
  r.taken_by,
  r.requested,
  r.web,
  r.notes,
  r.deleted,
  r.created,
  r.updated,
  r.arrived,
  r.departed,
  r.walkin,
  r.high_chair,
  r.amount_spend,
  r.allergies,
  r.name_values,
  r.extras,
  r.codes,
  r.promotion,
  r.vouchers,
  r.deposit_due,
  r.deposit_paid,
  r.stripe_token,
  r.wheelchair,
  k.call_id as "call.call_id",
  k.restaurant_id as "call.restaurant_id",
  k.number as "call.number",
  k.ext_sid as "call.ext_sid",
  k.provider_sid as "call.provider_sid"
from public.reservations r
left join public.customers c on c.id = r.cust_id
left join public.calls k on k.call_id = r.call_id
$query$);

select cdc_bridge.attach('public.reservations', 'id');
