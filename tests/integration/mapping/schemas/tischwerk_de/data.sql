insert into "Betrieb" values (1, 'Gasthaus Lindenhof', 'Am Markt 4', '87435', 'Kempten', 'EUR', '22:00');
insert into "Mitarbeiter" ("Kürzel","Vorname","Nachname","PIN") values ('AH','Anke','Hollerbach','4711'),('JB','Jonas','Brenninger','0815');
insert into "Räume" values (1,'Gaststube',48,'N'),(2,'Wintergarten',30,'N'),(3,'Bar',12,'J');
insert into "Tische" ("RaumNr","Nummer","PlätzeMin","PlätzeMax") values (1,'12',2,4),(1,'14',2,4),(2,'W3',2,6);
insert into "Mahlzeiten" values (1,'Mittagstisch','11:30','14:00'),(2,'Abendessen','17:30','22:00');
insert into "Gäste" ("GastNr","Anrede","Titel","Vorname","Nachname","Firma","EMail","TelefonPrivat","Handy","TelefonGeschäftlich","Straße","Adresszusatz","PLZ","Ort","Bundesland","AnzahlBesuche","Newsletter","VIP","Stammgast","Restauranttester","Bemerkung","DatenschutzZugestimmtAm","DatenschutzIP","AngelegtAm","GeändertAm") values
 (5001,'Frau','Dr.','Mechthild','Öttinger','Öttinger Optik GmbH','m.oettinger@example.de','0831 555010','0151 5550101','0831 555011','Lärchenweg 7','Hinterhaus','87437','Kempten','Bayern',14,'J','J','J','N','Sitzt gern am Fenster','2023-05-02 18:30:15.5','203.0.113.17','2019-02-11 09:00:00','2026-03-01 12:00:00'),
 (5002,'Herr',null,null,'Grünwald',null,null,null,null,null,null,null,null,null,null,0,'N','N','N','J',null,null,null,'2026-07-01 10:15:00',null);
insert into "Anrufe" values (71,1,'+49 831 555010','21','pbx-00a1','sip-77f0','2026-02-27 16:02:11',95,5001);
insert into "Anrufe" values (72,1,'anonym',null,null,null,'2026-02-28 11:00:00',20,null);
insert into "Reservierungen" ("ReservierungNr","Buchungsnummer","GastNr","RaumNr","MahlzeitNr","AnrufNr","Beginn","DauerMinuten","AnzahlErwachsene","AnzahlKinder","Art","Status","Storniert","Eingetroffen","Gegangen","Laufkundschaft","Online","Wunschtisch","Hochstühle","Rollstühle","Allergien","Bemerkung","Anlass","Aktion","Gutscheine","AnzahlungSollCent","AnzahlungIstCent","UmsatzCent","StripeZahlungId","AufgenommenVon","AngelegtAm","GeändertAm") values
 (1001,26017,5001,2,2,71,'2026-03-14 19:30:00',150,6,2,'R','Bestätigt','N','N','N','N','N','J',1,1,'Nüsse, Laktose','Geburtstag; Kerze bitte','Geburtstag','Spargelwochen','GS-2231',5000,2550,null,'pi_3Nk0001',1,'2026-02-27 16:03:40','2026-02-27 16:10:00'),
 (1002,26018,5002,1,1,null,'2026-07-02 12:00:00',90,2,0,'R','Storniert','J','N','N','N','J','N',0,0,null,null,null,null,null,0,0,null,null,null,'2026-07-01 10:15:00','2026-07-01 18:00:00.25'),
 (1003,26019,null,3,2,null,'2026-07-04 20:45:00',120,3,0,'B','Gegangen','N','J','J','J','N','N',0,0,null,'Walk-in',null,null,null,0,0,8790,null,2,'2026-07-04 20:45:12','2026-07-04 22:40:00'),
 (1004,26020,null,null,null,null,'2026-12-24 18:00:00',180,12,4,'V','Angefragt','N','N','N','N','J','N',0,0,null,null,null,null,null,0,0,null,null,null,'2026-11-02 08:00:00',null);
update "Reservierungen" set "Gelöscht"='J' where "ReservierungNr"=1004;
insert into "ReservierungTische" values (1001,2),(1001,1),(1003,3);
insert into "ReservierungVerlauf" ("ReservierungNr","MitarbeiterNr","StatusAlt","StatusNeu") values (1001,1,null,'Bestätigt'),(1002,null,'Bestätigt','Storniert');
insert into "Zahlungen" ("ReservierungNr","BetragCent","Zahlungsart","StripeId") values (1001,2550,'Karte','pi_3Nk0001'),(1003,8790,'Bar',null);
