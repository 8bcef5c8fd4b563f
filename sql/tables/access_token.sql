-- cdc_bridge.access_token: tokens with a name and a right, for the dashboard and the HTTP API; and the links to the portal.
--
-- A token with an endpoint is in the link of that endpoint's vendor, and good for the portal alone. An endpoint has one link at
-- most. A token is made of 256 random bits and shown once; only its hash is here. A row is added and removed, never changed.

create table if not exists cdc_bridge.access_token (
  token_id     bigint      generated always as identity primary key,
  name         text        unique check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$' and name not in ('web_token', 'web_api_token')),
  endpoint_id  bigint      unique references cdc_bridge.endpoint on delete cascade,
  access_right text        not null check (access_right in ('view', 'content', 'change')),
  token_hash   bytea       not null unique check (length(token_hash) = 32),
  created_at   timestamptz not null default now(),
  created_by   text        not null,
  expires_at   timestamptz,
  last_used_at timestamptz,
  check ((name is null) <> (endpoint_id is null)),
  check (endpoint_id is null or expires_at is not null)
);
comment on table cdc_bridge.access_token is 'Tokens of the dashboard and the HTTP API, and links to the portal';
comment on column cdc_bridge.access_token.name is 'Whose it is; null: of the vendor of an endpoint';
comment on column cdc_bridge.access_token.endpoint_id is 'The one endpoint that it is for; null: all, and what is not of an endpoint';
comment on column cdc_bridge.access_token.access_right is 'view: states; content: request previews too; change: everything';
comment on column cdc_bridge.access_token.token_hash is 'SHA-256 of the token';
comment on column cdc_bridge.access_token.created_by is 'Who made it';
comment on column cdc_bridge.access_token.expires_at is 'When it ends; null: when it is removed';
comment on column cdc_bridge.access_token.last_used_at is 'When it was last used to sign in or for a request of the HTTP API, to the hour';

-- For readers: all columns but the hash. One that is not named here cannot be read.
grant select (
  token_id, name, endpoint_id, access_right, created_at, created_by, expires_at, last_used_at
) on cdc_bridge.access_token to cdc_bridge_reader;
