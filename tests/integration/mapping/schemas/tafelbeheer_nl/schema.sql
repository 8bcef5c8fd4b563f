-- Tafelbeheer Pro. Schema's per domein; reserveringen zijn per jaar gepartitioneerd.
create schema horeca; create schema crm; create schema telefonie; create schema beheer;
create domain horeca.bedrag as numeric(10,2);
create domain horeca.ja_nee as char(1) check (value in ('J','N'));
create table beheer.vestiging (vestiging_id uuid primary key, naam text not null, plaats text, tijdzone text default 'Europe/Amsterdam');
create table beheer.medewerker (medewerker_id uuid primary key, voornaam text, tussenvoegsel text, achternaam text, actief horeca.ja_nee default 'J');
create table beheer.rol (rol_id int primary key, naam text);
create table beheer.auditlog (id bigint generated always as identity primary key, tabel text, sleutel text, wijziging jsonb, tijdstip timestamptz default now());
create table crm.relatie (
  relatie_id uuid primary key, aanhef text, voornaam text, tussenvoegsel text, achternaam text not null, bedrijfsnaam text, emailadres text, telefoon_thuis text, telefoon_mobiel text, telefoon_werk text,
  aantal_bezoeken integer, nieuwsbrief horeca.ja_nee not null default 'N', vip horeca.ja_nee not null default 'N', vaste_gast horeca.ja_nee, recensent horeca.ja_nee, opmerkingen text, kamernummer text, voorwaarden_akkoord_op timestamptz, voorwaarden_akkoord_ip inet, aangemaakt_op timestamptz not null default now(), gewijzigd_op timestamptz
);
create table crm.relatie_adres (relatie_id uuid not null references crm.relatie, soort text not null check (soort in ('bezoek','post','factuur')), straat text, huisnummer text, toevoeging text, postcode text, woonplaats text, provincie text, primary key (relatie_id, soort));
create table crm.relatie_voorkeur (relatie_id uuid references crm.relatie, voorkeur text, primary key (relatie_id, voorkeur));
create table horeca.zaal (zaal_id uuid primary key, vestiging_id uuid not null references beheer.vestiging, omschrijving text not null);
create table horeca.tafel (tafel_id uuid primary key, zaal_id uuid not null references horeca.zaal, tafelnummer integer not null, zitplaatsen integer);
create table horeca.maaltijd (maaltijd_id uuid primary key, omschrijving text not null, volgorde integer);
create table horeca.reserveringstatus (status_id smallint primary key, code text not null unique, omschrijving text not null);
create table horeca.actie (actie_id uuid primary key, titel text not null, geldig daterange);
create table telefonie.gesprek (gesprek_id uuid primary key, vestiging_id uuid references beheer.vestiging, nummer_beller text, centrale_id text, provider_id text, begonnen_op timestamptz not null, duur_seconden integer);
create table horeca.reservering (
  reservering_id uuid not null, datum date not null, reserveringsnummer bigint not null, relatie_id uuid references crm.relatie, zaal_id uuid references horeca.zaal, maaltijd_id uuid references horeca.maaltijd, status_id smallint not null references horeca.reserveringstatus, gesprek_id uuid references telefonie.gesprek, actie_id uuid references horeca.actie, aangenomen_door uuid references beheer.medewerker,
  periode tstzrange not null, volwassenen integer not null default 2, kinderen integer not null default 0, soort text not null default 'R', voorkeurstafel horeca.ja_nee default 'N', online horeca.ja_nee not null default 'N', inloop horeca.ja_nee not null default 'N', geannuleerd horeca.ja_nee not null default 'N', aangekomen horeca.ja_nee not null default 'N', vertrokken horeca.ja_nee not null default 'N', verwijderd horeca.ja_nee not null default 'N',
  kinderstoelen integer, rolstoelen integer, allergieen text, opmerkingen text, cadeaubonnen text, aanbetaling_verschuldigd horeca.bedrag, aanbetaling_voldaan horeca.bedrag, besteed_bedrag horeca.bedrag, stripe_kenmerk text, vrije_velden jsonb, aangemaakt_op timestamptz not null default now(), gewijzigd_op timestamptz,
  primary key (reservering_id, datum)
) partition by range (datum);
comment on column horeca.reservering.periode is 'Van/tot, gereserveerde tijd';
comment on column horeca.reservering.inloop is 'Gast zonder reservering';
create table horeca.reservering_2025 partition of horeca.reservering for values from ('2025-01-01') to ('2026-01-01');
create table horeca.reservering_2026 partition of horeca.reservering for values from ('2026-01-01') to ('2027-01-01');
create table horeca.reservering_rest partition of horeca.reservering default;
create index on horeca.reservering (datum, zaal_id);
create table horeca.reservering_tafel (reservering_id uuid not null, datum date not null, tafel_id uuid not null references horeca.tafel, primary key (reservering_id, datum, tafel_id), foreign key (reservering_id, datum) references horeca.reservering on delete cascade);
create table horeca.statushistorie (id bigint generated always as identity primary key, reservering_id uuid, datum date, status_id smallint references horeca.reserveringstatus, op timestamptz default now());
create table horeca.bon (bon_id uuid primary key, reservering_id uuid, totaal horeca.bedrag, betaald_op timestamptz);
create table horeca.wachtlijst (id uuid primary key, relatie_id uuid references crm.relatie, datum date, personen integer);
