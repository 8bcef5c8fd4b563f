-- ReservaPlus. Varias casas en una base de datos.
create schema reservas;
create schema maestros;
create schema contabilidad;
create table maestros.restaurante (
  id serial primary key, nombre text not null, zona_horaria text not null default 'Europe/Madrid', moneda char(3) not null default 'EUR', cif text, direccion text, poblacion text, activo boolean default true
);
comment on column maestros.restaurante.zona_horaria is 'Nombre IANA de la zona horaria';
create table maestros.provincia (id smallint primary key, nombre text not null);
create table maestros.empleado (id serial primary key, restaurante_id int references maestros.restaurante, nombre text not null, apellidos text, usuario text unique, activo boolean default true);
create table maestros.comedor (id serial primary key, restaurante_id int not null references maestros.restaurante, nombre text not null, aforo int);
create table maestros.mesa (id serial primary key, comedor_id int not null references maestros.comedor, numero smallint not null, plazas smallint, unique (comedor_id, numero));
create table maestros.turno (id serial primary key, restaurante_id int not null references maestros.restaurante, nombre text not null, hora_inicio time, hora_fin time);
create table maestros.estado_reserva (codigo smallint primary key, descripcion text not null, es_cancelacion boolean not null default false, color text);
create table maestros.canal (codigo text primary key, descripcion text);
create table maestros.promocion (id serial primary key, nombre text not null, descuento numeric(5,2), desde date, hasta date);
create table reservas.cliente (
  id serial primary key, tratamiento text, nombre text, apellidos text not null, empresa text, correo text, acepta_publicidad boolean not null default false, es_vip boolean not null default false,
  habitual boolean not null default false, critico_gastronomico boolean not null default false, numero_visitas int not null default 0, habitacion text, observaciones text,
  fecha_consentimiento timestamptz, ip_consentimiento text, nif text, fecha_alta timestamptz not null default now(), fecha_modificacion timestamptz
);
create table reservas.cliente_direccion (
  id serial primary key, cliente_id int not null references reservas.cliente on delete cascade, linea1 text, linea2 text, linea3 text, codigo_postal text, poblacion text, provincia_id smallint references maestros.provincia, principal boolean not null default false
);
create unique index on reservas.cliente_direccion (cliente_id) where principal;
create table reservas.cliente_telefono (
  id serial primary key, cliente_id int not null references reservas.cliente on delete cascade, tipo text not null check (tipo in ('fijo','movil','trabajo')), numero text not null, unique (cliente_id, tipo)
);
create table reservas.reserva (
  id serial primary key, restaurante_id int not null references maestros.restaurante, localizador int not null unique, cliente_id int references reservas.cliente,
  comedor_id int references maestros.comedor, turno_id int references maestros.turno, fecha date not null, hora time not null, duracion interval default '2 hours',
  adultos smallint not null, ninos smallint not null default 0, estado_codigo smallint not null references maestros.estado_reserva, canal_codigo text references maestros.canal, empleado_id int references maestros.empleado,
  mesa_solicitada boolean not null default false, sin_reserva boolean not null default false, tronas smallint not null default 0, sillas_ruedas smallint not null default 0, alergias text, observaciones text,
  promocion_id int references maestros.promocion, bonos text, senal_exigida money, senal_abonada money, importe_consumido money, id_stripe text,
  hora_llegada timestamptz, hora_salida timestamptz, eliminada boolean not null default false, fecha_alta timestamptz not null default now(), fecha_modificacion timestamptz
);
comment on column reservas.reserva.senal_exigida is 'Señal (anticipo) que se pide al cliente';
comment on column reservas.reserva.sin_reserva is 'Cliente de paso';
create index on reservas.reserva (restaurante_id, fecha);
create table reservas.reserva_mesa (reserva_id int references reservas.reserva on delete cascade, mesa_id int references maestros.mesa, primary key (reserva_id, mesa_id));
create table reservas.llamada (
  id serial primary key, restaurante_id int not null references maestros.restaurante, reserva_id int references reservas.reserva, numero_origen text, id_centralita text, id_operador text, inicio timestamptz not null, duracion_seg int
);
create index on reservas.llamada (reserva_id);
create table reservas.historial_estado (id serial primary key, reserva_id int references reservas.reserva, estado_codigo smallint references maestros.estado_reserva, empleado_id int, momento timestamptz default now());
create table reservas.lista_espera (id serial primary key, cliente_id int references reservas.cliente, fecha date, comensales smallint, atendida boolean);
create table contabilidad.factura (id serial primary key, reserva_id int references reservas.reserva, total money, fecha date);
create table contabilidad.cobro (id serial primary key, factura_id int references contabilidad.factura, importe money, forma text);
create table contabilidad.tipo_iva (id smallint primary key, porcentaje numeric(4,2));
