INSERT INTO operatori VALUES ('GIADA','Giada Montefusco','0000');
INSERT INTO tavoli VALUES ('3','Sala camino',4),('4','Sala camino',4),('D1','Dehors',2);
INSERT INTO rubrica_fornitori VALUES (1,'Ortofrutta Rossi','Mario Rossi','055 5550199','m@example.it');
INSERT INTO prenotazioni (id_prenotazione,numero,data_prenotazione,ora_arrivo,ora_fine,nominativo,telefono,cellulare,email,ditta,coperti,bambini,seggioloni,carrozzine,sala,turno,tavoli,stato,annullata,arrivato,andato_via,da_internet,senza_prenotazione,tavolo_richiesto,cancellato_logico,vip,pubblicita,allergie,note,buono,promozione,caparra_dovuta,caparra_versata,conto,operatore,inserita_il,modificata_il) VALUES
 (61,2041,'2026-09-12','20:30','23:00','De Santis Ludovica','055 5550101','333 5550101','ludovica@example.it','Studio De Santis',6,2,1,1,'Sala camino','Cena','3-4','CHIUSA','N','S','S','N','N','S','N','S','S','arachidi','Torta alle 22','B-12','Festa del tartufo',60.00,30.50,312.00,'GIADA','2026-09-01 10:00:00','2026-09-12 23:10:00.5'),
 (62,2042,'2026-02-14','20:00',NULL,'Conti',NULL,'333 5550102',NULL,NULL,2,0,0,0,'Dehors','Cena',NULL,'ANNULLATA','S','N','N','S','N',NULL,'N',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2026-02-01 09:00:00','2026-02-10 09:00:00'),
 (63,2043,'2026-09-12','13:05','14:00',NULL,NULL,NULL,NULL,NULL,3,NULL,NULL,NULL,NULL,'Pranzo','D1','AL TAVOLO','N','S','N','N','S','N','N',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'GIADA','2026-09-12 13:05:00',NULL),
 (64,2044,'2026-12-31','21:00','00:30','Conti',NULL,'333 5550102',NULL,NULL,10,4,0,0,NULL,'Veglione',NULL,'IN ATTESA','N','N','N','S','N','N','S','N','N',NULL,NULL,NULL,NULL,500,NULL,NULL,NULL,'2026-11-15 18:00:00',NULL);
INSERT INTO registro (operatore,azione) VALUES ('GIADA','nuova prenotazione 61');
INSERT INTO conti VALUES (1,61,312,'2026-09-12 23:00');
