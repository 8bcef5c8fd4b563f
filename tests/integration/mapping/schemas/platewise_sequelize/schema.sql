-- PlateWise (Node, Sequelize). Hosted: many venues in one database. Keys are UUIDs without dashes in upper case.
CREATE SCHEMA app;
CREATE SCHEMA billing;
CREATE TYPE app."enum_Reservations_source" AS ENUM ('phone', 'online', 'walkin', 'concierge');
CREATE TABLE public."SequelizeMeta" ("name" VARCHAR(255) PRIMARY KEY);
CREATE TABLE app."Groups" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "name" TEXT NOT NULL,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Venues" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "groupId" TEXT REFERENCES app."Groups" ("id") ON UPDATE CASCADE, "name" TEXT NOT NULL, "timeZone" TEXT NOT NULL DEFAULT 'Europe/London', "currency" TEXT NOT NULL DEFAULT 'GBP', "phone" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Users" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "email" TEXT NOT NULL UNIQUE, "displayName" TEXT, "passwordHash" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Sections" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT NOT NULL REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "title" TEXT NOT NULL, "position" INTEGER,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."VenueTables" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "sectionId" TEXT NOT NULL REFERENCES app."Sections" ("id") ON UPDATE CASCADE, "tableNumber" INTEGER NOT NULL, "seats" INTEGER,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."MealPeriods" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT NOT NULL REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "title" TEXT NOT NULL, "from" TIME, "until" TIME,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."ReservationStatuses" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "key" TEXT NOT NULL UNIQUE, "label" TEXT NOT NULL,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Guests" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "groupId" TEXT REFERENCES app."Groups" ("id") ON UPDATE CASCADE, "honorific" TEXT, "givenName" TEXT, "surname" TEXT, "employer" TEXT, "emailAddress" TEXT, "phones" JSONB NOT NULL DEFAULT '{}', "addressLines" TEXT[], "townOrCity" TEXT, "county" TEXT, "postCode" TEXT,
  "totalVisits" INTEGER, "optedInMarketing" SMALLINT NOT NULL DEFAULT 0, "vip" SMALLINT NOT NULL DEFAULT 0, "regular" SMALLINT NOT NULL DEFAULT 0, "inspector" SMALLINT, "comments" TEXT, "termsAcceptedMs" BIGINT, "termsAcceptedIp" TEXT, "deletedAt" TIMESTAMP WITH TIME ZONE,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Promotions" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "title" TEXT NOT NULL,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Reservations" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT NOT NULL REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "bookingNumber" BIGINT NOT NULL UNIQUE, "sectionId" TEXT REFERENCES app."Sections" ("id") ON UPDATE CASCADE, "mealPeriodId" TEXT REFERENCES app."MealPeriods" ("id") ON UPDATE CASCADE, "statusId" TEXT NOT NULL REFERENCES app."ReservationStatuses" ("id") ON UPDATE CASCADE, "promotionId" TEXT REFERENCES app."Promotions" ("id") ON UPDATE CASCADE, "takenById" TEXT REFERENCES app."Users" ("id") ON UPDATE CASCADE,
  "startsAtLocal" TIMESTAMP WITHOUT TIME ZONE NOT NULL, "durationSeconds" INTEGER, "adults" INTEGER NOT NULL, "kids" INTEGER NOT NULL DEFAULT 0, "source" app."enum_Reservations_source" NOT NULL DEFAULT 'phone', "tableNumbers" INTEGER[], "tableRequested" SMALLINT NOT NULL DEFAULT 0, "comments" TEXT, "allergens" TEXT, "highChairs" INTEGER, "wheelchairSpaces" INTEGER,
  "voucherCodes" TEXT, "accessCodes" TEXT, "addOns" TEXT, "customFields" JSONB, "depositRequired" BIGINT, "depositReceived" BIGINT, "spend" BIGINT, "stripeToken" TEXT, "arrivedAtMs" BIGINT, "leftAtMs" BIGINT, "cancelledAtMs" BIGINT, "deletedAt" TIMESTAMP WITH TIME ZONE,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."ReservationGuests" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "reservationId" TEXT NOT NULL REFERENCES app."Reservations" ("id") ON UPDATE CASCADE, "guestId" TEXT NOT NULL REFERENCES app."Guests" ("id") ON UPDATE CASCADE, "isPrimary" BOOLEAN NOT NULL DEFAULT false, "seat" INTEGER, UNIQUE ("reservationId", "guestId"),
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Calls" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "reservationId" TEXT REFERENCES app."Reservations" ("id") ON UPDATE CASCADE, "guestId" TEXT REFERENCES app."Guests" ("id") ON UPDATE CASCADE, "callerNumber" TEXT, "externalSid" TEXT, "providerSid" TEXT, "startedMs" BIGINT NOT NULL, "outcome" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."ReservationHistories" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "reservationId" TEXT REFERENCES app."Reservations" ("id") ON UPDATE CASCADE, "field" TEXT, "before" JSONB, "after" JSONB,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."ReservationNotes" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "reservationId" TEXT REFERENCES app."Reservations" ("id") ON UPDATE CASCADE, "text" TEXT, "internal" BOOLEAN,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Messages" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "guestId" TEXT REFERENCES app."Guests" ("id") ON UPDATE CASCADE, "channel" TEXT, "body" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Waitlists" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "guestId" TEXT REFERENCES app."Guests" ("id") ON UPDATE CASCADE, "partySize" INTEGER,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Feedbacks" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "reservationId" TEXT REFERENCES app."Reservations" ("id") ON UPDATE CASCADE, "stars" INTEGER,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."GuestTags" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "guestId" TEXT REFERENCES app."Guests" ("id") ON UPDATE CASCADE, "tag" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."GuestMerges" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "fromGuestId" TEXT, "intoGuestId" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."OpeningHours" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "weekday" INTEGER, "opens" TIME, "closes" TIME,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Closures" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "day" DATE,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."FloorPlans" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "layout" JSONB,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Menus" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "title" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Dishes" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "menuId" TEXT REFERENCES app."Menus" ("id") ON UPDATE CASCADE, "name" TEXT, "price" BIGINT, "allergens" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Roles" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "name" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."UserRoles" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "userId" TEXT REFERENCES app."Users" ("id") ON UPDATE CASCADE, "roleId" TEXT REFERENCES app."Roles" ("id") ON UPDATE CASCADE,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Sessions" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "userId" TEXT REFERENCES app."Users" ("id") ON UPDATE CASCADE, "token" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."ApiKeys" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "hash" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Webhooks" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "url" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Jobs" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "name" TEXT, "payload" JSONB,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Settings" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "key" TEXT, "value" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."EmailTemplates" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "subject" TEXT, "body" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."WidgetVisits" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "ip" TEXT, "userAgent" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE app."Translations" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "locale" TEXT, "key" TEXT, "value" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE billing."Invoices" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "venueId" TEXT REFERENCES app."Venues" ("id") ON UPDATE CASCADE, "total" BIGINT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE billing."Payments" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "reservationId" TEXT REFERENCES app."Reservations" ("id") ON UPDATE CASCADE, "amount" BIGINT, "stripeToken" TEXT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
CREATE TABLE billing."Refunds" (
  "id" TEXT PRIMARY KEY DEFAULT upper(replace(gen_random_uuid()::text, '-', '')),
  "paymentId" TEXT REFERENCES billing."Payments" ("id") ON UPDATE CASCADE, "amount" BIGINT,
  "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);
COMMENT ON COLUMN app."Reservations"."startsAtLocal" IS 'Wall clock of the venue (Venues.timeZone)';
COMMENT ON COLUMN app."Reservations"."depositRequired" IS 'minor units';
CREATE UNIQUE INDEX "reservation_guests_primary" ON app."ReservationGuests" ("reservationId") WHERE "isPrimary";
CREATE INDEX "calls_reservation" ON app."Calls" ("reservationId");
