insert into auth_user values (1,'!',null,false,'kofi','Kofi','Asante','kofi@example.ie',true,true,'2024-01-01Z'),(2,'!',null,false,'web','','','',false,true,'2024-01-01Z');
insert into venues_venue values (1,'The Salt House','Europe/Dublin','+353 1 555 0100');
insert into venues_area values (1,1,'Cellar',false),(2,1,'Garden',true);
insert into venues_table values (1,1,'C1',2),(2,1,'C2',4),(3,2,'G9',6);
insert into venues_shift values (1,1,'Lunch','12:00','15:00'),(2,1,'Dinner','17:30','22:00');
insert into crm_contact values (81,'2023-03-03T03:03:03Z','2026-01-01T01:01:01.5Z','Ms','Aoife','Ní Bhriain','Liffey Design','aoife@example.ie',true,false,true,false,false,6,'Left-handed','2024-05-25T10:00:00Z','2001:db8::7','','{"anniversary": "06-12"}'),
 (82,'2026-06-01T00:00:00Z','2026-06-01T00:00:00Z','','','Delacroix','','',false,true,false,true,false,0,'',null,null,'305','{}');
insert into crm_address values (1,81,'4 Mill Lane','Smithfield','Dublin','Leinster','D07 X0X0','IE');
insert into crm_phonenumber values (1,81,'mobile','+353 85 555 0101',2),(2,81,'mobile','+353 85 555 0102',1),(3,81,'work','+353 1 555 0103',3),(4,82,'home','+353 1 555 0104',1),(5,82,'fax','+353 1 555 0105',2);
insert into reservations_promotion values (1,'Oyster Tuesday','OYS');
insert into reservations_booking values
 (4001,'2026-06-01T09:00:00.250Z','2026-06-02T09:00:00Z',77001,1,81,1,2,'2026-06-12T18:00:00Z','02:15:00',4,2,'confirmed','phone','R',1,true,'Near the fire','crustaceans',2,1,1,'V-10 V-11',60.00,30.50,null,'tok_ie_1','{"pram": 1}',false),
 (4002,'2026-06-03T10:00:00Z','2026-06-04T10:00:00Z',77002,1,82,null,1,'2026-06-13T12:00:00Z','01:30:00',2,0,'cancelled','website','R',2,false,'','',0,0,null,'',0,0,null,'','{}',false),
 (4003,'2026-06-13T19:00:00Z','2026-06-13T21:00:00Z',77003,1,null,2,2,'2026-06-13T19:00:00Z','02:00:00',5,0,'left','walkin','W',1,false,'','',0,0,null,'',0,0,188.20,'','{}',false),
 (4004,'2026-06-13T19:00:00Z','2026-06-13T19:00:00Z',77004,1,82,2,2,'2026-12-13T19:00:00Z','02:00:00',2,1,'new','app','R',null,false,'','',0,0,null,'',0,0,null,'','{}',true),
 (4005,'2026-06-13T19:00:00Z','2026-06-13T19:30:00Z',77005,1,81,1,null,'2026-06-13T19:15:00Z','01:00:00',2,0,'seated','phone','R',1,false,'','',0,0,null,'',0,0,null,'','{}',false);
insert into reservations_booking_tables values (1,4001,2),(2,4001,1),(3,4003,3);
insert into telephony_call values (11,1,4001,'+353 85 555 0101','P-11','TW-11','2026-06-01T08:58:00Z',true),(12,1,4001,'+353 85 555 0101','P-12','TW-12','2026-06-02T08:59:00Z',true),(13,null,4005,'','','','2026-06-13T18:58:00Z',true),(14,1,null,'+353 85 555 0777','P-14','','2026-06-13T18:59:00Z',false);
insert into historicalbooking (id,number,start,status,contact_id,history_date,history_type) values (4001,77001,'2026-06-12T18:00:00Z','new',81,'2026-06-01T09:00:00Z','+');
insert into payments_transaction values (1,4001,30.50,'stripe','tok_ie_1','2026-06-01T09:10:00Z');
