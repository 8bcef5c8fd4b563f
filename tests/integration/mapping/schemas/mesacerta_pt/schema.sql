-- MesaCerta 7 (Portugal): datas em texto AAAAMMDD, horas HHMM, entidades partilhadas por clientes e fornecedores
CREATE TABLE empregados (cod_empregado integer PRIMARY KEY, nome varchar(60) NOT NULL, pin varchar(6), ativo char(1) NOT NULL DEFAULT 'S');
CREATE TABLE salas (cod_sala integer PRIMARY KEY, designacao varchar(40) NOT NULL, lotacao integer);
CREATE TABLE mesas (cod_mesa integer PRIMARY KEY, cod_sala integer NOT NULL REFERENCES salas, etiqueta varchar(10) NOT NULL, lugares smallint);
CREATE TABLE refeicoes (cod_refeicao integer PRIMARY KEY, designacao varchar(40) NOT NULL, hora_ini char(4), hora_fim char(4));
CREATE TABLE estados (cod_estado smallint PRIMARY KEY, descricao varchar(30) NOT NULL);
CREATE TABLE campanhas (cod_campanha integer PRIMARY KEY, titulo varchar(60) NOT NULL, dt_inicio char(8), dt_fim char(8));
CREATE TABLE entidades (
  cod_entidade integer PRIMARY KEY, tipo char(1) NOT NULL CHECK (tipo IN ('C','F')), tratamento varchar(10), nome_proprio varchar(60), apelido varchar(60), empresa varchar(80), nif char(9),
  telefone varchar(20), telemovel varchar(20), tel_emprego varchar(20), correio_eletronico varchar(120),
  morada varchar(80), morada_2 varchar(80), localidade varchar(40), distrito varchar(40), cod_postal varchar(8),
  num_visitas integer, aceita_publicidade char(1) DEFAULT 'N', cliente_vip char(1) DEFAULT 'N', habitual char(1) DEFAULT 'N', critico char(1) DEFAULT 'N', observacoes text,
  rgpd_aceite_em timestamp, rgpd_aceite_ip varchar(45), dt_criacao timestamp NOT NULL, dt_alteracao timestamp
);
COMMENT ON TABLE entidades IS 'Clientes e fornecedores';
COMMENT ON COLUMN entidades.tipo IS 'C = cliente, F = fornecedor';
COMMENT ON COLUMN entidades.critico IS 'Crítico ou inspetor de guias gastronómicos';
CREATE TABLE chamadas (
  num_chamada integer PRIMARY KEY, cod_casa integer NOT NULL, numero_origem varchar(20), id_central varchar(40), id_operadora varchar(40), inicio timestamp NOT NULL, duracao_seg integer, atendida_por integer REFERENCES empregados
);
COMMENT ON COLUMN chamadas.id_central IS 'Identificador na central telefónica';
COMMENT ON COLUMN chamadas.id_operadora IS 'Identificador na operadora';
COMMENT ON COLUMN chamadas.cod_casa IS 'Restaurante que recebeu a chamada';
CREATE TABLE reservas (
  num_reserva integer PRIMARY KEY, cod_cliente integer REFERENCES entidades, cod_sala integer REFERENCES salas, cod_refeicao integer REFERENCES refeicoes, cod_campanha integer REFERENCES campanhas,
  dia char(8) NOT NULL, hora char(4) NOT NULL, permanencia smallint, pessoas smallint NOT NULL, das_quais_criancas smallint NOT NULL DEFAULT 0, cadeiras_bebe smallint NOT NULL DEFAULT 0, cadeiras_rodas smallint,
  cod_estado smallint NOT NULL REFERENCES estados, anulada char(1) NOT NULL DEFAULT 'N', eliminada char(1) NOT NULL DEFAULT 'N', mesa_pedida char(1) NOT NULL DEFAULT 'N', via_internet char(1) NOT NULL DEFAULT 'N', sem_marcacao char(1) NOT NULL DEFAULT 'N',
  chegou char(1) NOT NULL DEFAULT 'N', saiu char(1) NOT NULL DEFAULT 'N', alergias varchar(200), obs varchar(500), vale varchar(30), sinal_pedido numeric(9,2), sinal_pago numeric(9,2), total_conta numeric(9,2), token_stripe varchar(60),
  num_chamada integer REFERENCES chamadas, cod_empregado integer REFERENCES empregados, dt_criacao timestamp NOT NULL, dt_alteracao timestamp,
  CHECK (anulada IN ('S','N')), CHECK (eliminada IN ('S','N'))
);
COMMENT ON COLUMN reservas.dia IS 'AAAAMMDD';
COMMENT ON COLUMN reservas.hora IS 'HHMM';
COMMENT ON COLUMN reservas.permanencia IS 'Minutos';
COMMENT ON COLUMN reservas.pessoas IS 'Total, incluindo as crianças';
COMMENT ON COLUMN reservas.sinal_pedido IS 'Sinal (caução) a pagar na marcação';
COMMENT ON COLUMN reservas.eliminada IS 'Eliminação lógica';
CREATE INDEX reservas_dia ON reservas (dia, hora);
CREATE TABLE reservas_mesas (num_reserva integer NOT NULL REFERENCES reservas, cod_mesa integer NOT NULL REFERENCES mesas, PRIMARY KEY (num_reserva, cod_mesa));
CREATE TABLE encomendas (num_encomenda integer PRIMARY KEY, cod_fornecedor integer REFERENCES entidades, dia char(8), total numeric(9,2));
CREATE TABLE faturas (num_fatura integer PRIMARY KEY, num_reserva integer REFERENCES reservas, nif char(9), total numeric(9,2), emitida_em timestamp);
CREATE TABLE parametros (chave varchar(40) PRIMARY KEY, valor varchar(200));
