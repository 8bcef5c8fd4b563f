-- An e-Res database as the announcement's example implies it, for the demo, tests and trials. Column names are the JSON's
-- keys; reservations.call_id refers to the telephone call that led to the booking.

create table public.customers (
  id              text        primary key,
  title           text        not null default '',
  firstname       text        not null default '',
  surname         text        not null default '',
  company         text        not null default '',
  email           text        not null default '',
  phone           text        not null default '',
  mobile          text        not null default '',
  work_phone      text        not null default '',
  visits          integer     not null default 0,
  mailing         text        not null default 'F' check (mailing in ('T', 'F')),
  vip             text        not null default 'F' check (vip in ('T', 'F')),
  regular         text        not null default 'F' check (regular in ('T', 'F')),
  inspector       text        not null default 'F' check (inspector in ('T', 'F')),
  notes           text        not null default '',
  suite           text        not null default '',
  extras          text        not null default '',
  address1        text        not null default '',
  address2        text        not null default '',
  address3        text        not null default '',
  city            text        not null default '',
  county          text        not null default '',
  postcode        text        not null default '',
  terms_agreed    timestamptz default now(),
  terms_agreed_ip text        not null default '',
  created         timestamptz not null default now(),
  updated         timestamptz not null default now()
);

create table public.calls (
  call_id       text primary key,
  restaurant_id text not null default '',
  number        text not null default '',
  ext_sid       text not null default '',
  provider_sid  text not null default ''
);

create table public.reservations (
  id           text        primary key,
  cust_id      text        not null references public.customers (id),
  reference    integer     not null,
  room_id      text        not null default '',
  room_name    text        not null default '',
  meal_id      text        not null default '',
  meal_name    text        not null default '',
  datetime     timestamptz not null default now(),
  duration     integer     not null default 120,
  adults       integer     not null default 2,
  children     integer     not null default 0,
  type         text        not null default 'R',
  status       text        not null default 'Confirmed',
  cancelled    text        not null default 'F' check (cancelled in ('T', 'F')),
  tables       text        not null default '',
  taken_by     text        not null default '',
  requested    text        not null default 'F' check (requested in ('T', 'F')),
  web          text        not null default 'F' check (web in ('T', 'F')),
  notes        text        not null default '',
  deleted      text        not null default 'F' check (deleted in ('T', 'F')),
  created      timestamptz not null default now(),
  updated      timestamptz not null default now(),
  arrived      text        not null default 'F' check (arrived in ('T', 'F')),
  departed     text        not null default 'F' check (departed in ('T', 'F')),
  walkin       text        not null default 'F' check (walkin in ('T', 'F')),
  high_chair   integer     not null default 0,
  amount_spend numeric     not null default 0,
  allergies    text        not null default '',
  name_values  text        not null default '',
  extras       text        not null default '',
  codes        text        not null default '',
  promotion    text        not null default '',
  vouchers     text        not null default '',
  deposit_due  numeric     not null default 0,
  deposit_paid numeric     not null default 0,
  stripe_token text        not null default '',
  wheelchair   integer     not null default 0,
  call_id      text        references public.calls (call_id)
);
create index on public.reservations (cust_id);
create index on public.reservations (datetime);
