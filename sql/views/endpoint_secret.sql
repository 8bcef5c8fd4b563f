-- cdc_bridge.endpoint_secret: one row for each secret of an endpoint, with the key that it is encrypted with. It shows none of
-- them.
--
-- A secret is a signing secret, the value of a header, the query of a URL, or user and password of a proxy. A daemon with the
-- setting secrets_key_file writes encrypted1.KEY.DATA in its place (cdc_bridge/endpoints/secrets_cipher.py).
--
--   option   the column that it is in
--   key_id   name of the key; null: it is plain text
--
-- "status" reads it for ten thousand endpoints, and regular expressions would take most of a second for that.

create or replace view cdc_bridge.endpoint_secret as
select
  e.endpoint_id,
  e.name,
  s.option,
  case when starts_with(s.secret, 'encrypted1.') and substr(s.secret, 20, 1) = '.' then substr(s.secret, 12, 8) end as key_id
from cdc_bridge.endpoint e
cross join lateral (
  select 'url' as option, substr(e.url, strpos(e.url, '?') + 1) as secret where e.url like '%?_%'
  union all
  select 'headers', ltrim(substr(header, strpos(header, ':') + 1), E' \t') from unnest(e.headers) as header where header like '%:_%'
  union all
  select 'secret', e.secret where e.secret <> ''
  union all
  select 'previous_secret', e.previous_secret where e.previous_secret <> ''
  union all
  select 'proxy', substr(e.proxy, case strpos(e.proxy, '//') when 0 then 1 else strpos(e.proxy, '//') + 2 end) where e.proxy like '%_@%'
) as s;

comment on view cdc_bridge.endpoint_secret is 'Which secrets of endpoints are encrypted, and with which key';
