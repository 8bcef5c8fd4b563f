-- A reservation system as a Swedish vendor might have made it: two restaurants, each with a time zone; several guests
-- at a reservation, one of them the main one by a code that a comment explains; a full name in one column; contacts in
-- rows; codes of a status with their texts in a table; amounts in ore; local times.
create schema bordklart;
set search_path to bordklart;

create table kedja (
  kedja_id smallint primary key,
  namn text not null,
  orgnr char(11)
);

create table krog (
  krog_id smallint primary key,
  kedja_id smallint references kedja,
  krognamn text not null,
  gatuadress text,
  postnr char(6),
  ort text,
  tidszon text not null default 'Europe/Stockholm',
  valuta char(3) default 'SEK'
);

create table matsal (
  matsal_id int primary key,
  krog_id smallint not null references krog,
  benamning varchar(40)
);

create table bord (
  bord_id int primary key,
  matsal_id int not null references matsal,
  bordsnr varchar(8) not null,
  platser smallint not null
);

create table sittning (
  sittning_id int primary key,
  krog_id smallint references krog,
  rubrik varchar(40),
  fran time,
  till time
);

create table kanal (
  kanal_kod char(2) primary key,
  klartext text
);

create table bokningsstatus (
  kod char(1) primary key,
  klartext text not null,
  sortering int
);

create table personal (
  personal_id int primary key,
  signatur char(3),
  namn text,
  losenord_hash text,
  slutat date
);

create table gast (
  gast_id uuid primary key,
  fullt_namn text not null,
  titel varchar(10),
  fodelsedag date,
  foretag text,
  stamgast boolean default false,
  spraak char(2) default 'sv',
  skapad_av int references personal,
  registrerad timestamp not null default localtimestamp,
  andrad timestamp,
  nyhetsbrev char(1) check (nyhetsbrev in ('J','N')) default 'N',
  svartlistad boolean default false
);

create table kontaktuppgift (
  gast_id uuid references gast,
  typ varchar(6) check (typ in ('mobil','hem','arbete','epost')),
  varde text not null,
  primary key (gast_id, typ)
);

create table gastadress (
  gast_id uuid primary key references gast,
  gata text,
  postnr char(6),
  ort text,
  land char(2)
);

create table allergi (
  gast_id uuid references gast,
  kod varchar(12),
  notering text,
  primary key(gast_id,kod)
);

create table bokning (
  bokningsnr bigint generated always as identity primary key,
  krog_id smallint not null references krog,
  sittning_id int references sittning,
  datum date not null,
  klockslag time not null,
  sittid_min smallint not null default 120,
  antal_vuxna smallint not null,
  antal_barn smallint not null default 0,
  status char(1) not null references bokningsstatus,
  kanal char(2) references kanal,
  mottagen_av int references personal,
  onskemal text,
  intern_notering text,
  handpenning_ore int,
  kod_presentkort varchar(20),
  inlagd timestamp not null default localtimestamp,
  senast_andrad timestamp,
  makulerad timestamp,
  anlande timestamp,
  extern_ref varchar(30)
);

create table bokning_gast (
  bokningsnr bigint not null references bokning,
  gast_id uuid not null references gast,
  roll char(1) not null check (roll in ('H','M')),
  primary key (bokningsnr, gast_id)
);
comment on column bokning_gast.roll is 'H = huvudgäst (den som bokar), M = medföljande';
comment on column bokning.handpenning_ore is 'Handpenning i öre';
comment on column bokning.datum is 'Lokal dag på krogen';

create table bokning_bord (
  bokningsnr bigint not null references bokning,
  bord_id int not null references bord,
  primary key (bokningsnr, bord_id)
);

create table bokningslogg (
  logg_id bigserial primary key,
  bokningsnr bigint references bokning,
  handelse text,
  nar timestamptz default now(),
  personal_id int references personal
);

create table samtal (
  samtal_id bigserial primary key,
  bokningsnr bigint references bokning,
  krog_id smallint references krog,
  fran_nummer text,
  riktning char(3) check (riktning in ('IN','UT')),
  borjade timestamp,
  slutade timestamp,
  ringtid_sek int,
  besvarat_av int references personal
);

create table vantelista (
  id bigserial primary key,
  krog_id smallint references krog,
  gast_id uuid references gast,
  datum date,
  antal smallint
);

create table nota (
  nota_nr bigint primary key,
  bokningsnr bigint references bokning,
  belopp_ore bigint,
  betald timestamp
);
