-- LodgeSuite PMS, F&B module. Converted from DB2/400: eight-letter habits, codes, Y/N, no foreign keys on the booking file.
create schema pms;
create table pms.prop (prp_cd char(3) primary key, prp_nm varchar(40), tz_nm varchar(40));
comment on table pms.prop is 'Property master';
create table pms.outlt (otl_cd char(4) primary key, prp_cd char(3) not null references pms.prop, otl_nm varchar(40) not null, seats numeric(4,0));
comment on table pms.outlt is 'F&B outlets (restaurants and bars)';
create table pms.mlper (mp_cd char(2) primary key, mp_nm varchar(20) not null, beg_tm char(4), end_tm char(4));
comment on table pms.mlper is 'Meal periods';
create table pms.stscd (sts_cd char(2) primary key, sts_ds varchar(30) not null, cxl_fl char(1) not null default 'N');
comment on table pms.stscd is 'Booking status codes';
create table pms.emp (emp_no numeric(6,0) primary key, emp_lnm varchar(30), emp_fnm varchar(30), trm_dt date);
create table pms.gst (
  gst_id char(32) primary key, gst_ttl varchar(8), gst_fnm varchar(30), gst_lnm varchar(40) not null, gst_co varchar(40), gst_eml varchar(80), gst_ad1 varchar(40), gst_ad2 varchar(40), gst_ad3 varchar(40), gst_cty varchar(30), gst_st char(2), gst_zip varchar(10), gst_rm varchar(6), vst_cnt numeric(5,0) default 0, no_shw numeric(5,0) default 0,
  vip_fl char(1) default 'N' check (vip_fl in ('Y','N')), reg_fl char(1) default 'N' check (reg_fl in ('Y','N')), insp_fl char(1) default 'N' check (insp_fl in ('Y','N')), mail_fl char(1) default 'N' check (mail_fl in ('Y','N')), gst_rmk varchar(500), trm_ts timestamp, trm_ip varchar(45), crt_ts timestamp not null default now(), chg_ts timestamp
);
comment on table pms.gst is 'Guest profiles';
comment on column pms.gst.gst_rm is 'Room currently occupied';
comment on column pms.gst.mail_fl is 'Mailing list Y/N';
create table pms.gstph (gst_id char(32) not null references pms.gst, ph_typ char(1) not null check (ph_typ in ('H','M','W','F')), ph_no varchar(24) not null, primary key (gst_id, ph_typ));
comment on column pms.gstph.ph_typ is 'H=home, M=mobile, W=work, F=fax';
create table pms.bk (
  bk_id char(32) primary key, cnf_no numeric(8,0) not null, gst_id char(32), otl_cd char(4), mp_cd char(2), sts_cd char(2) not null default 'CF', bk_dt date not null, bk_tm char(4) not null, dur_min numeric(4,0), cov numeric(4,0) not null default 2, chd numeric(4,0) not null default 0, hchr numeric(3,0), whlc numeric(3,0), tbl_nos varchar(40), bk_typ char(1) default 'R',
  web_fl char(1) default 'N', wlk_fl char(1) default 'N', req_fl char(1) default 'N', arv_fl char(1) default 'N', dep_fl char(1) default 'N', del_fl char(1) default 'N', algy varchar(200), rmk varchar(500), promo varchar(20), vchr varchar(40), dep_due numeric(9,2), dep_pd numeric(9,2), spend numeric(9,2), strp_tok varchar(60), emp_no numeric(6,0), call_no char(32), crt_ts timestamp not null default now(), chg_ts timestamp
);
comment on table pms.bk is 'F&B bookings';
comment on column pms.bk.bk_tm is 'HHMM, property local time';
comment on column pms.bk.cov is 'Adult covers';
comment on column pms.bk.dep_fl is 'Departed';
comment on column pms.bk.dep_due is 'Deposit due';
comment on column pms.bk.dep_pd is 'Deposit paid';
create unique index bkx1 on pms.bk (cnf_no);
create index bkx2 on pms.bk (bk_dt, otl_cd);
create index bkx3 on pms.bk (gst_id);
create table pms.phcall (call_no char(32) primary key, prp_cd char(3), ani varchar(24), ext_sid varchar(40), prv_sid varchar(40), beg_ts timestamp, sec numeric(6,0));
comment on column pms.phcall.ani is 'Calling number';
create table pms.bkhst (bk_id char(32), seq numeric(6,0), chg_ts timestamp, emp_no numeric(6,0), fld varchar(10), old_val varchar(100), new_val varchar(100), primary key (bk_id, seq));
create table pms.chkhd (chk_no numeric(9,0) primary key, bk_id char(32), otl_cd char(4), tot numeric(9,2), tax numeric(9,2), opn_ts timestamp);
create table pms.chkdt (chk_no numeric(9,0), ln numeric(3,0), plu numeric(6,0), qty numeric(4,0), amt numeric(9,2), primary key (chk_no, ln));
create table pms.plu (plu numeric(6,0) primary key, ds varchar(30), prc numeric(7,2));
create table pms.rm (rm_no varchar(6) primary key, rm_typ char(3), flr numeric(2,0), rm_nm varchar(20));
comment on table pms.rm is 'Hotel rooms';
create table pms.rmbk (rb_id char(32) primary key, gst_id char(32) references pms.gst, rm_no varchar(6) references pms.rm, arv_dt date, dep_dt date, adl numeric(2,0), chd numeric(2,0), sts_cd char(2), crt_ts timestamp, chg_ts timestamp);
comment on table pms.rmbk is 'Room (lodging) bookings';
create table pms.rate (rt_cd char(6) primary key, rt_ds varchar(30), amt numeric(9,2));
create table pms.folio (fol_no numeric(9,0) primary key, rb_id char(32) references pms.rmbk, gst_id char(32), bal numeric(9,2));
create table pms.syspar (par varchar(20) primary key, val varchar(60));
create view pms.v_bk as select b.*, g.gst_lnm, g.gst_fnm from pms.bk b left join pms.gst g on g.gst_id = b.gst_id;
