insert into pms.prop values ('ADK','Adirondack Lodge','America/New_York');
insert into pms.outlt values ('GRIL','ADK','Lakeside Grill',80),('LOFT','ADK','The Loft',30);
insert into pms.mlper values ('BF','Breakfast','0630','1030'),('DN','Dinner','1700','2200');
insert into pms.stscd values ('CF','Confirmed','N'),('TN','Tentative','N'),('CX','Cancelled','Y'),('NS','No-show','N'),('CO','Checked out','N');
insert into pms.emp values (1017,'Okafor','Grace',null);
insert into pms.rm values ('310','KNG',3,'Birch');
insert into pms.gst values ('6A000000000000000000000000000A01','Mr','Ellsworth','Pickering','Pickering Canoes','ellsworth@example.com','PO Box 9','RR 2','Long Lake Rd','Saranac Lake','NY','12983','310',12,1,'Y','Y','N','Y','Late arrival','2026-03-08 01:30:00','203.0.113.5','2019-09-09 09:09:09','2026-04-04 16:00:00'),
 ('6A000000000000000000000000000A02',null,null,'Vance',null,null,null,null,null,null,null,null,null,null,null,null,null,'Y',null,null,null,null,'2026-11-01 12:00:00',null);
insert into pms.gstph values ('6A000000000000000000000000000A01','H','518-555-0101'),('6A000000000000000000000000000A01','M','518-555-0102'),('6A000000000000000000000000000A01','W','518-555-0103'),('6A000000000000000000000000000A02','F','518-555-0109');
insert into pms.phcall values ('CA000000000000000000000000000C01','ADK','518-555-0102','X-1','V-1','2026-06-30 15:00:00',88);
insert into pms.bk (bk_id,cnf_no,gst_id,otl_cd,mp_cd,sts_cd,bk_dt,bk_tm,dur_min,cov,chd,hchr,whlc,tbl_nos,bk_typ,web_fl,wlk_fl,req_fl,arv_fl,dep_fl,del_fl,algy,rmk,promo,vchr,dep_due,dep_pd,spend,strp_tok,emp_no,call_no,crt_ts,chg_ts) values
 ('B0000000000000000000000000000B01',7710001,'6A000000000000000000000000000A01','GRIL','DN','CO','2026-07-04','1845',120,6,2,1,1,'31 32','R','N','N','Y','Y','Y','N','Tree nuts','Fireworks view','JULY4','GC-77',150,150,612.30,'tok_us_77',1017,'CA000000000000000000000000000C01','2026-06-30 15:02:00','2026-07-04 21:00:00.5'),
 ('B0000000000000000000000000000B02',7710002,'6A000000000000000000000000000A02','LOFT','BF','CX','2026-12-24','0730',null,2,0,null,null,null,'R','Y','N',null,'N','N','N',null,null,null,null,null,null,null,null,null,null,'2026-12-01 10:00:00','2026-12-20 10:00:00'),
 ('B0000000000000000000000000000B03',7710003,null,'GRIL',null,'CF','2026-07-05','1210',60,4,0,0,0,'7','R','N','Y','N','Y','N','N',null,null,null,null,null,null,99.90,null,1017,null,'2026-07-05 12:10:00',null),
 ('B0000000000000000000000000000B04',7710004,'6A000000000000000000000000000A01',null,'DN','TN','2026-08-08','2000',90,10,0,0,0,null,'P','N','N','N','N','N','Y',null,'Rehearsal dinner',null,null,500.5,0,null,null,1017,null,'2026-07-06 12:10:00','2026-07-07 12:00:00');
insert into pms.rmbk values ('DB000000000000000000000000000D01','6A000000000000000000000000000A01','310','2026-07-03','2026-07-06',2,2,'CF','2026-06-01','2026-06-02');
insert into pms.chkhd values (90001,'B0000000000000000000000000000B01','GRIL',612.30,45,'2026-07-04 18:50');
