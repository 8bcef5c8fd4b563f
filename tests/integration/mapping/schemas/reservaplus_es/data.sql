insert into maestros.restaurante (id,nombre,zona_horaria) values (1,'Casa Olivares Madrid','Europe/Madrid'),(2,'Casa Olivares Tenerife','Atlantic/Canary');
insert into maestros.provincia values (28,'Madrid'),(38,'Santa Cruz de Tenerife');
insert into maestros.empleado values (1,1,'Nuria','Cifuentes Prado','ncifuentes',true),(2,2,'Yeray',null,'yeray',true);
insert into maestros.comedor values (1,1,'Salón principal',60),(2,2,'Terraza al mar',40);
insert into maestros.mesa values (1,1,4,4),(2,1,10,6),(3,2,2,4);
insert into maestros.turno values (1,1,'Comida','13:00','16:00'),(2,1,'Cena','20:30','23:30'),(3,2,'Cena','19:00','23:00');
insert into maestros.estado_reserva values (10,'Pendiente',false,'amarillo'),(20,'Confirmada',false,'verde'),(30,'Sentada',false,null),(90,'Anulada por el cliente',true,'rojo'),(91,'Anulada por la casa',true,'rojo');
insert into maestros.canal values ('TEL','Teléfono'),('WEB','Página web'),('MOS','Mostrador');
insert into maestros.promocion values (1,'Menú degustación -10%',10,'2026-01-01','2026-12-31');
insert into reservas.cliente values
 (301,'Sra.','Begoña','Ibáñez Lafuente','Ibáñez Abogados SL','begona@example.es',true,true,true,false,7,'212','Mesa tranquila','2025-03-30T01:30:00Z','192.0.2.44','00000000T','2024-01-10T09:00:00Z','2026-04-01T10:00:00Z'),
 (302,null,null,'Rivero',null,null,false,false,false,true,0,null,null,null,null,null,'2026-05-01T12:00:00Z',null);
insert into reservas.cliente_direccion (cliente_id,linea1,linea2,linea3,codigo_postal,poblacion,provincia_id,principal) values (301,'C/ Antigua 1',null,null,'28001','Madrid',28,false),(301,'Calle del Pez 12','3.º izda.',null,'28004','Madrid',28,true);
insert into reservas.cliente_telefono (cliente_id,tipo,numero) values (301,'movil','+34 600 555 101'),(301,'fijo','910 555 102'),(301,'trabajo','910 555 103'),(302,'movil','+34 600 555 109');
insert into reservas.reserva (id,restaurante_id,localizador,cliente_id,comedor_id,turno_id,fecha,hora,duracion,adultos,ninos,estado_codigo,canal_codigo,empleado_id,mesa_solicitada,sin_reserva,tronas,sillas_ruedas,alergias,observaciones,promocion_id,bonos,senal_exigida,senal_abonada,importe_consumido,id_stripe,hora_llegada,hora_salida,eliminada,fecha_alta,fecha_modificacion) values
 (9001,1,550123,301,1,2,'2026-05-09','21:15','2:30',8,1,20,'TEL',1,true,false,1,1,'Frutos secos','Cumpleaños',1,'BONO-77','150.00','75.25',null,'pi_es_0001',null,null,false,'2026-05-01T11:02:00Z','2026-05-02T08:00:00Z'),
 (9002,2,550124,302,2,3,'2026-01-17','20:00','1 day 00:00',2,0,90,'WEB',null,false,false,0,0,null,null,null,null,null,null,null,null,null,null,false,'2026-01-03T12:00:00Z','2026-01-16T09:00:00.5Z'),
 (9003,2,550125,null,2,null,'2026-07-18','21:00',null,4,0,30,'MOS',2,false,true,0,0,null,null,null,null,null,null,'210.40',null,'2026-07-18T20:00:00Z','2026-07-18T22:10:00Z',false,'2026-07-18T20:00:00Z',null),
 (9004,1,550126,301,null,1,'2026-12-31','14:00','90 minutes',3,2,10,'WEB',null,false,false,0,0,null,null,null,null,'60','0',null,null,null,null,true,'2026-11-01T09:00:00Z',null);
insert into reservas.reserva_mesa values (9001,2),(9001,1),(9003,3);
insert into reservas.llamada values (52,1,9001,'+34 600 555 101','CENT-52',null,'2026-05-02T07:58:00Z',40),(51,1,9001,'+34 600 555 101','CENT-51','OP-9f','2026-05-01T11:00:00Z',130),(53,2,null,'oculto','CENT-53',null,'2026-05-03T11:00:00Z',5);
insert into contabilidad.factura values (1,9003,'210.40','2026-07-18');
insert into reservas.historial_estado (reserva_id,estado_codigo,empleado_id) values (9001,10,1),(9001,20,1);
