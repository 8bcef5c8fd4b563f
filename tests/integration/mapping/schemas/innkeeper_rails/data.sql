insert into properties values (1,'Glen Arrow House','London','2024-01-10','2024-01-10');
insert into users (id,email,name,created_at,updated_at) values (1,'morag@example.com','Morag Sinclair','2024-01-10','2024-01-10');
insert into dining_areas values (1,1,'Orangery',1,'2024-01-10','2024-01-10'),(2,1,'Bar',2,'2024-01-10','2024-01-10');
insert into dining_tables values (1,1,'21',2,'2024-01-10','2024-01-10'),(2,1,'22',2,'2024-01-10','2024-01-10'),(3,2,'B1',2,'2024-01-10','2024-01-10');
insert into sittings values (1,1,'Afternoon Tea','14:00','17:00','2024-01-10','2024-01-10'),(2,1,'Dinner','18:00','21:30','2024-01-10','2024-01-10');
insert into rooms values (1,'14',1,'Heather','2024-01-10','2024-01-10'),(2,'15',1,'Thistle','2024-01-10','2024-01-10');
insert into offers values (1,'Champagne Tea',true,'2024-01-10','2024-01-10');
insert into guests (id,title,first_name,last_name,company,email,notes,visits_count,vip,subscribed,loyalty_tier,room_number,terms_accepted_at,terms_ip,created_at,updated_at) values
 (1,'Sir','Hamish','Kettlewell','Kettlewell Tweed','hamish@example.com','Own marmalade',31,true,true,3,'14','2025-08-08 08:08:08.808','192.0.2.8','2024-02-02 10:00:00.123456','2026-06-06 10:00:00'),
 (2,null,null,'Obi',null,null,null,0,false,null,0,null,null,null,'2026-07-07 07:00:00','2026-07-07 07:00:00');
insert into addresses values (1,'Guest',1,'Kettle Hall','Glen Road','By Loch Fyne','Inveraray','Argyll','PA32 0XX','2024-01-10','2024-01-10'),(2,'Property',1,'1 Arrow Drive',null,null,'Oban','Argyll','PA34 0XX','2024-01-10','2024-01-10');
insert into phones values (1,'Guest',1,0,'01632 960301','2024-01-10','2024-01-10'),(2,'Guest',1,1,'07700 900301','2024-01-10','2024-01-10'),(3,'Guest',1,2,'01632 960302','2024-01-10','2024-01-10'),(4,'Property',1,0,'01632 960300','2024-01-10','2024-01-10'),(5,'User',2,1,'07700 900399','2024-01-10','2024-01-10');
insert into reservations (id,property_id,guest_id,dining_area_id,sitting_id,created_by_id,code,starts_at,ends_at,adults,children,infants,status,channel,notes,dietary_requirements,highchairs_count,wheelchairs_count,preferred_table,offer_id,voucher_code,deposit_cents,deposit_received_cents,bill_total_cents,stripe_payment_method_id,arrived_at,departed_at,cancelled_at,discarded_at,created_at,updated_at) values
 (501,1,1,1,1,1,'GAH7QX','2026-07-20 14:00:00','2026-07-20 15:45:00',4,1,1,3,0,'Piper at four','no gluten',1,2,'21',1,'TEA-90',4000,4000,16250,'pm_gb_501','2026-07-20 13:58:00','2026-07-20 15:50:00',null,null,'2026-07-01 09:00:00.654321','2026-07-20 15:50:00'),
 (502,1,2,1,2,null,'GAH7QY','2026-12-20 19:00:00',null,2,0,0,4,1,null,null,0,null,null,null,null,0,0,null,null,null,null,'2026-12-18 09:00:00',null,'2026-12-01 09:00:00','2026-12-18 09:00:00'),
 (503,1,null,2,null,1,'GAH7QZ','2026-07-20 20:10:00','2026-07-20 21:10:00',2,0,0,2,2,null,null,0,0,'',null,null,0,0,null,null,'2026-07-20 20:10:00',null,null,null,'2026-07-20 20:10:00','2026-07-20 20:10:00'),
 (504,1,1,null,null,1,'GAH7R0','2026-08-01 18:00:00','2026-08-01 20:00:00',6,0,0,1,0,null,null,0,0,null,null,null,12050,0,null,null,null,null,null,'2026-07-22 10:00:00','2026-07-21 10:00:00','2026-07-22 10:00:00');
insert into reservations_dining_tables values (501,2),(501,1),(503,3);
insert into stays values (1,1,'14','2026-07-19','2026-07-22',1,'2024-01-10','2024-01-10');
insert into spa_bookings values (1,1,null,'2026-07-21 10:00',0,'2024-01-10','2024-01-10');
insert into versions values (1,'Reservation',501,'create','1',null,'2026-07-01 09:00');
