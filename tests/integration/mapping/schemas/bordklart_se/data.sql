set search_path to bordklart;

insert into kedja values (1, 'Norrgrillen AB', '556677-8899');
insert into krog values
  (1, 1, 'Norrgrillen Stockholm', 'Götgatan 1', '116 21', 'Stockholm', 'Europe/Stockholm', 'SEK'),
  (2, 1, 'Norrgrillen Helsingfors', 'Mannerheimvägen 2', '00100', 'Helsingfors', 'Europe/Helsinki', 'EUR');
insert into matsal values (1, 1, 'Stora salen'), (2, 2, 'Salen');
insert into bord values (1, 1, 'B1', 4), (2, 1, 'B2', 2), (3, 2, 'B3', 4);
insert into sittning values (1, 1, 'Lunch', '11:00', '14:30'), (2, 1, 'Middag', '17:00', '23:00'), (3, 2, 'Middag', '17:00', '23:00');
insert into kanal values ('TE', 'Telefon'), ('WB', 'Webb'), ('DR', 'Drop in');
insert into bokningsstatus values ('B', 'Bekräftad', 1), ('K', 'Klar', 2), ('M', 'Makulerad', 3);
insert into personal values (1, 'KAL', 'Karin Alm'), (2, 'OBE', 'Olle Berg');
insert into gast (gast_id, fullt_namn, titel, foretag, stamgast, skapad_av, registrerad, andrad, nyhetsbrev) values
  ('11111111-aaaa-4aaa-8aaa-000000000001', 'Åsa Lindström', 'Dr', 'Lindström AB', true, 1, '2025-07-01 10:00', '2026-01-10 09:30', 'J'),
  ('00000000-aaaa-4aaa-8aaa-000000000002', 'Nils von Essen', null, null, false, 1, '2025-12-24 18:00', null, 'N'),
  ('22222222-aaaa-4aaa-8aaa-000000000003', 'Maria Virtanen', null, null, false, 2, '2026-02-01 12:00', null, 'N');
insert into kontaktuppgift values
  ('11111111-aaaa-4aaa-8aaa-000000000001', 'mobil', '+46700000001'),
  ('11111111-aaaa-4aaa-8aaa-000000000001', 'hem', '08-100001'),
  ('11111111-aaaa-4aaa-8aaa-000000000001', 'epost', 'asa@exempel.se'),
  ('00000000-aaaa-4aaa-8aaa-000000000002', 'arbete', '08-200002'),
  ('22222222-aaaa-4aaa-8aaa-000000000003', 'mobil', '+358400000003');
insert into gastadress values ('11111111-aaaa-4aaa-8aaa-000000000001', 'Storgatan 5', '111 22', 'Stockholm', 'SE');
insert into allergi values
  ('11111111-aaaa-4aaa-8aaa-000000000001', 'NÖTTER', ''), ('11111111-aaaa-4aaa-8aaa-000000000001', 'GLUTEN', 'ej spår');
insert into bokning overriding system value values
  (1001, 1, 2, '2026-07-03', '19:30', 120, 2, 1, 'B', 'TE', 1, 'Fönsterbord, tack', null, 50000, 'PK-77', '2026-06-01 12:00', '2026-06-02 08:15', null, null, null),
  (1002, 2, 3, '2026-12-05', '20:00', 90, 4, 0, 'K', 'WB', null, null, 'VIP', null, null, '2026-11-01 09:00', null, null, '2026-12-05 20:05', 'X-1'),
  (1003, 1, null, '2026-07-03', '12:00', 60, 1, 0, 'M', 'DR', 2, null, null, null, null, '2026-07-03 11:58', null, '2026-07-03 12:30', null, null);
insert into bokning_gast values
  (1001, '11111111-aaaa-4aaa-8aaa-000000000001', 'H'), (1001, '00000000-aaaa-4aaa-8aaa-000000000002', 'M'),
  (1002, '22222222-aaaa-4aaa-8aaa-000000000003', 'H');
insert into bokning_bord values (1001, 1), (1001, 2), (1002, 3);
insert into samtal (bokningsnr, krog_id, fran_nummer, riktning, borjade, slutade, ringtid_sek, besvarat_av) values
  (1001, 1, '+46700000001', 'IN', '2026-06-01 11:57', '2026-06-01 12:00', 8, 1);
insert into nota values (71002, 1002, 180000, '2026-12-05 22:30');
