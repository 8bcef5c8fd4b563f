INSERT INTO empregados VALUES (3,'Vasco Trindade','1111','S'),(4,'Benedita Lobo','2222','S');
INSERT INTO salas VALUES (1,'Sala do Forno',40),(2,'Esplanada',24);
INSERT INTO mesas VALUES (11,1,'F1',4),(12,1,'F2',4),(21,2,'E1',2);
INSERT INTO refeicoes VALUES (1,'Almoço','1200','1530'),(2,'Jantar','1900','2330');
INSERT INTO estados VALUES (1,'Por confirmar'),(2,'Confirmada'),(3,'Sentada'),(4,'Terminada'),(9,'Anulada');
INSERT INTO campanhas VALUES (5,'Semana do Bacalhau','20260901','20260930');
INSERT INTO entidades VALUES
 (1001,'C','Sr.ª D.','Graça','Quaresma','Quaresma & Filhos','299999990','210 000 101','910 000 101','210 000 102','graca@example.pt','Rua das Flores 5','2.º esq.','Setúbal','Setúbal','2900-001',14,'S','S','S','N','Prefere a mesa junto ao forno','2025-03-01 10:15:00.75','203.0.113.9','2019-06-01 09:00:00','2026-08-30 18:00:00'),
 (1002,'C',NULL,'Tomé','Sampaio',NULL,NULL,NULL,'910 000 202',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'N',NULL,'S',NULL,NULL,NULL,'2026-01-20 12:00:00',NULL),
 (2001,'F',NULL,'Rui','Peixoto','Peixes do Sado Lda','500000000','265 000 300',NULL,NULL,'lota@example.pt','Doca 2',NULL,'Setúbal','Setúbal','2900-002',NULL,'N','N','N','N','Entrega às terças',NULL,NULL,'2018-01-01 08:00:00',NULL);
INSERT INTO chamadas VALUES (70001,1,'910000101','C-5531','OP-99-1','2026-09-02 11:20:00',95,3),(70002,1,'265000300','C-5532','OP-99-2','2026-09-02 11:40:00',30,4);
INSERT INTO reservas VALUES
 (5801,1001,1,2,5,'20260912','2030',120,6,2,1,1,4,'N','N','S','N','N','S','S','Frutos secos','Aniversário da mãe','VALE-20',60.00,60.00,218.40,'pi_mesa5801',70001,3,'2026-09-02 11:21:30','2026-09-12 23:05:00.25'),
 (5802,1002,2,1,NULL,'20260115','1245',90,2,0,0,NULL,9,'S','N','N','S','N','N','N',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-10 16:00:00','2026-01-14 09:00:00'),
 (5803,NULL,2,1,NULL,'20260704','1310',NULL,4,1,0,0,3,'N','N','N','N','S','S','N',NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,4,'2026-07-04 13:10:00',NULL),
 (5804,1001,NULL,2,NULL,'20261024','2100',150,10,0,0,0,1,'N','S','N','S','N','N','N',NULL,'Duplicada',NULL,100,12.5,NULL,NULL,NULL,NULL,'2026-09-20 22:00:00','2026-09-21 08:30:00');
INSERT INTO reservas_mesas VALUES (5801,12),(5801,11),(5803,21);
INSERT INTO encomendas VALUES (1,2001,'20260911',340.10);
INSERT INTO faturas VALUES (881,5801,'299999990',218.40,'2026-09-12 22:58:00');
