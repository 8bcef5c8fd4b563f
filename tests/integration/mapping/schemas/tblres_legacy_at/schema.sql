-- Migrated from Firebird 1.5 by a script. No foreign keys were ever declared.
create table tbl_kunde (
  kdnr numeric(10,0) not null, anr varchar(15), vname varchar(40), nname varchar(60), firma varchar(80), tel varchar(30), mobil varchar(30), tel_ges varchar(30), email varchar(120),
  str varchar(80), plz varchar(10), ort varchar(60), land varchar(3),
  anz_bes smallint, werb smallint default 0, vip smallint default 0, stamm smallint default 0, gesp smallint default 0, bem varchar(2000), zimmer varchar(10),
  anl_dat date, anl_zeit time, aend_dat date, aend_zeit time, constraint pk_kunde primary key (kdnr)
);
comment on column tbl_kunde.zimmer is 'Zimmernummer, wenn Hotelgast';
comment on column tbl_kunde.werb is '1 = Werbung erlaubt';
create table tbl_res (
  resnr numeric(10,0) not null, kdnr numeric(10,0) default 0, resdat date not null, reszeit time not null, dauer smallint, persz smallint, kindz smallint default 0,
  raumnr smallint default 0, schicht smallint default 0, tische varchar(60), bem varchar(2000), allerg varchar(500), anzahl_soll numeric(12,2), anzahl_ist numeric(12,2), umsatz numeric(12,2),
  stat smallint default 1, storno smallint default 0, da smallint default 0, weg smallint default 0, laufk smallint default 0, web smallint default 0, bednr smallint, khs smallint, rolli smallint,
  gutschein varchar(100), aktion varchar(60), geloescht smallint default 0, anl_dat date, anl_zeit time, aend_dat date, aend_zeit time,
  constraint pk_res primary key (resnr)
);
comment on table tbl_res is 'Reservierungen';
comment on column tbl_res.stat is '1 = fix, 2 = Option, 3 = Warteliste, 9 = storniert';
comment on column tbl_res.da is 'Gast ist da';
comment on column tbl_res.weg is 'Gast ist weg';
comment on column tbl_res.laufk is 'Laufkunde';
comment on column tbl_res.khs is 'Kinderhochstuhl Anzahl';
comment on column tbl_res.persz is 'Personenzahl gesamt, Kinder inbegriffen';
comment on column tbl_res.kdnr is '0 = ohne Kunde';
create index ix_res_dat on tbl_res (resdat, reszeit);
create index ix_res_kd on tbl_res (kdnr);
create table tbl_raum (raumnr smallint not null primary key, raumbez varchar(40), plaetze smallint);
create table tbl_schicht (schicht smallint not null primary key, bez varchar(40), von time, bis time);
create table tbl_tisch (tischnr varchar(6) not null, raumnr smallint, pl smallint, constraint pk_tisch primary key (tischnr));
create table tbl_bed (bednr smallint not null primary key, bedname varchar(40), kennw varchar(20), recht smallint);
create table tbl_art (artnr numeric(8,0) primary key, bez varchar(60), preis numeric(10,2), wg smallint);
create table tbl_rech (rechnr numeric(10,0) primary key, resnr numeric(10,0), tischnr varchar(6), summe numeric(12,2), redat date, rezeit time, bednr smallint);
create table tbl_rech_pos (rechnr numeric(10,0), pos smallint, artnr numeric(8,0), menge numeric(8,2), preis numeric(10,2), primary key (rechnr, pos));
create table tbl_log (lfdnr numeric(12,0) primary key, dat date, zeit time, bednr smallint, txt varchar(500));
create table tbl_res_alt (resnr numeric(10,0), kdnr numeric(10,0), resdat date, reszeit time, persz smallint, stat smallint, bem varchar(2000));
comment on table tbl_res_alt is 'Archiv vor 2015';
create table tbl_param (pname varchar(30) primary key, pwert varchar(200));
create table tbl_feiertag (dat date primary key, bez varchar(40));
