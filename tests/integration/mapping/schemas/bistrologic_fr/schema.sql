-- BistroLogic v7 (origine : MySQL). Dates en secondes Unix, clés hexadécimales de 32 caractères.
create table etablissement (id char(32) primary key, nom varchar(80), siret varchar(14), fuseau varchar(40) default 'Europe/Paris');
create table utilisateur (id char(32) primary key, login varchar(40) not null, prenom varchar(40), nom varchar(60), mot_de_passe varchar(100), profil varchar(20), actif boolean not null default true);
create table salle (id char(32) primary key, etablissement_id char(32) not null references etablissement, libelle varchar(60) not null, capacite int);
create table service (id char(32) primary key, libelle varchar(40) not null, debut time, fin time);
comment on table service is 'Service du midi, du soir …';
create table table_salle (id char(32) primary key, salle_id char(32) not null references salle, numero varchar(8) not null, couverts int);
create table civilite (code varchar(4) primary key, libelle varchar(20) not null);
create table client (
  id char(32) primary key, civilite varchar(4) references civilite, prenom varchar(60), nom varchar(80) not null, societe varchar(100), courriel varchar(150), tel_fixe varchar(30), tel_portable varchar(30), tel_bureau varchar(30),
  adresse varchar(120), complement_adresse varchar(120), lieu_dit varchar(120), code_postal varchar(10), ville varchar(80), departement varchar(60), pays varchar(2) default 'FR',
  nb_visites int not null default 0, nb_absences int not null default 0, accepte_publicite boolean not null default false, vip boolean not null default false, habitue boolean not null default false, inspecteur_guide boolean not null default false, liste_noire boolean not null default false,
  commentaire text, chambre varchar(10), cgu_acceptees_le bigint, cgu_ip varchar(45), cree_le bigint not null, modifie_le bigint
);
comment on column client.cree_le is 'secondes depuis 1970 (UTC)';
create index client_nom on client (nom);
create table appel (id char(32) primary key, etablissement_id char(32) references etablissement, numero_appelant varchar(30), ref_standard varchar(60), ref_operateur varchar(60), recu_le bigint not null, duree_s int, decroche_par char(32) references utilisateur);
create table reservation (
  id char(32) primary key, no_dossier int not null, client_id char(32) references client, salle_id char(32) references salle, service_id char(32) references service, appel_id char(32) references appel,
  debut_le bigint not null, fin_le bigint, nb_adultes int not null default 2, nb_enfants int not null default 0, nature varchar(1) not null default 'R', etat varchar(15) not null default 'confirmee',
  annulee boolean not null default false, motif_annulation varchar(120), arrivee boolean not null default false, partie boolean not null default false, passage boolean not null default false, par_internet boolean not null default false, table_demandee boolean, supprimee boolean not null default false,
  nb_chaises_hautes int, nb_fauteuils_roulants int, allergies text, remarques text, operation_promo varchar(60), bons_cadeaux varchar(120), acompte_demande numeric(9,2), acompte_verse numeric(9,2), montant_addition numeric(9,2), jeton_stripe varchar(80),
  prise_par char(32) references utilisateur, tables varchar(60), champs_perso jsonb, cree_le bigint not null, modifie_le bigint,
  constraint ck_etat check (etat in ('demande','confirmee','a_table','terminee','annulee','absente'))
);
comment on column reservation.passage is 'client de passage, sans réservation';
comment on column reservation.tables is 'numéros des tables, séparés par des virgules';
create index reservation_debut on reservation (debut_le);
create table reservation_journal (id bigserial primary key, reservation_id char(32), champ varchar(40), ancienne text, nouvelle text, le bigint, par char(32));
create table acompte (id char(32) primary key, reservation_id char(32) references reservation, montant numeric(9,2), encaisse_le bigint, moyen varchar(20));
create table carte_menu (id char(32) primary key, libelle varchar(100), prix numeric(9,2), en_ligne boolean);
create table fermeture (id char(32) primary key, etablissement_id char(32), du date, au date, motif varchar(80));
create table parametre (cle varchar(60) primary key, valeur text);
create table modele_sms (id char(32) primary key, texte text, actif boolean);
