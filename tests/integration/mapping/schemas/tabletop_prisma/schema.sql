-- CreateEnum
CREATE TYPE "BookingStatus" AS ENUM ('REQUESTED', 'CONFIRMED', 'ARRIVED', 'FINISHED', 'CANCELLED', 'NO_SHOW');
CREATE TYPE "BookingChannel" AS ENUM ('PHONE', 'WIDGET', 'GOOGLE', 'WALK_IN', 'EMAIL');
CREATE TYPE "PhoneKind" AS ENUM ('HOME', 'MOBILE', 'WORK');
CREATE TYPE "UserRole" AS ENUM ('OWNER', 'MANAGER', 'HOST');
-- CreateTable
CREATE TABLE "Restaurant" ("id" UUID NOT NULL, "name" TEXT NOT NULL, "slug" TEXT NOT NULL, "timezone" TEXT NOT NULL DEFAULT 'America/Chicago', "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMP(3) NOT NULL, CONSTRAINT "Restaurant_pkey" PRIMARY KEY ("id"));
CREATE TABLE "User" ("id" UUID NOT NULL, "email" TEXT NOT NULL, "name" TEXT, "role" "UserRole" NOT NULL DEFAULT 'HOST', "passwordHash" TEXT, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, CONSTRAINT "User_pkey" PRIMARY KEY ("id"));
CREATE TABLE "Session" ("id" UUID NOT NULL, "userId" UUID NOT NULL, "token" TEXT NOT NULL, "expiresAt" TIMESTAMP(3) NOT NULL, CONSTRAINT "Session_pkey" PRIMARY KEY ("id"));
CREATE TABLE "FloorPlan" ("id" UUID NOT NULL, "restaurantId" UUID NOT NULL, "name" TEXT NOT NULL, "isActive" BOOLEAN NOT NULL DEFAULT true, CONSTRAINT "FloorPlan_pkey" PRIMARY KEY ("id"));
CREATE TABLE "Table" ("id" UUID NOT NULL, "floorPlanId" UUID NOT NULL, "name" TEXT NOT NULL, "seats" INTEGER NOT NULL, "x" DOUBLE PRECISION, "y" DOUBLE PRECISION, CONSTRAINT "Table_pkey" PRIMARY KEY ("id"));
CREATE TABLE "Shift" ("id" UUID NOT NULL, "restaurantId" UUID NOT NULL, "name" TEXT NOT NULL, "startMinute" INTEGER NOT NULL, "endMinute" INTEGER NOT NULL, "dayOfWeek" INTEGER[], CONSTRAINT "Shift_pkey" PRIMARY KEY ("id"));
CREATE TABLE "Guest" (
  "id" UUID NOT NULL, "restaurantId" UUID NOT NULL, "fullName" TEXT NOT NULL, "company" TEXT, "email" TEXT, "isVip" BOOLEAN NOT NULL DEFAULT false, "marketingConsent" BOOLEAN NOT NULL DEFAULT false, "visitCount" INTEGER NOT NULL DEFAULT 0,
  "notes" TEXT, "tags" TEXT[] DEFAULT ARRAY[]::TEXT[], "termsAcceptedAt" TIMESTAMP(3), "termsAcceptedIp" TEXT, "stripeCustomerId" TEXT, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMP(3) NOT NULL, CONSTRAINT "Guest_pkey" PRIMARY KEY ("id"));
CREATE TABLE "GuestPhone" ("id" UUID NOT NULL, "guestId" UUID NOT NULL, "kind" "PhoneKind" NOT NULL DEFAULT 'MOBILE', "number" TEXT NOT NULL, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, CONSTRAINT "GuestPhone_pkey" PRIMARY KEY ("id"));
CREATE TABLE "GuestAddress" ("guestId" UUID NOT NULL, "line1" TEXT, "line2" TEXT, "city" TEXT, "state" TEXT, "zipCode" TEXT, "country" TEXT DEFAULT 'US', CONSTRAINT "GuestAddress_pkey" PRIMARY KEY ("guestId"));
CREATE TABLE "Booking" (
  "id" UUID NOT NULL, "restaurantId" UUID NOT NULL, "confirmationNumber" SERIAL NOT NULL, "guestId" UUID, "floorPlanId" UUID, "shiftId" UUID, "startsAt" TIMESTAMP(3) NOT NULL, "durationMinutes" INTEGER NOT NULL DEFAULT 105, "partySize" INTEGER NOT NULL, "childrenCount" INTEGER NOT NULL DEFAULT 0,
  "status" "BookingStatus" NOT NULL DEFAULT 'CONFIRMED', "channel" "BookingChannel" NOT NULL, "requestedTable" BOOLEAN NOT NULL DEFAULT false, "specialRequests" TEXT, "allergies" TEXT[], "highChairs" INTEGER NOT NULL DEFAULT 0, "wheelchairs" INTEGER NOT NULL DEFAULT 0, "promoCode" TEXT, "giftCardNumbers" TEXT,
  "depositAmountCents" INTEGER NOT NULL DEFAULT 0, "depositPaidCents" INTEGER NOT NULL DEFAULT 0, "checkTotalCents" INTEGER, "stripePaymentIntentId" TEXT, "metadata" JSONB, "createdById" UUID, "arrivedAt" TIMESTAMP(3), "finishedAt" TIMESTAMP(3), "cancelledAt" TIMESTAMP(3), "deletedAt" TIMESTAMP(3),
  "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMP(3) NOT NULL, CONSTRAINT "Booking_pkey" PRIMARY KEY ("id"));
CREATE TABLE "PhoneCall" ("id" UUID NOT NULL, "restaurantId" UUID NOT NULL, "bookingId" UUID, "from" TEXT, "to" TEXT, "extensionCallId" TEXT, "twilioCallSid" TEXT, "startedAt" TIMESTAMP(3) NOT NULL, CONSTRAINT "PhoneCall_pkey" PRIMARY KEY ("id"));
CREATE TABLE "_BookingToTable" ("A" UUID NOT NULL, "B" UUID NOT NULL);
CREATE TABLE "BookingLog" ("id" UUID NOT NULL, "bookingId" UUID NOT NULL, "action" TEXT NOT NULL, "diff" JSONB, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, CONSTRAINT "BookingLog_pkey" PRIMARY KEY ("id"));
CREATE TABLE "Review" ("id" UUID NOT NULL, "bookingId" UUID NOT NULL, "rating" INTEGER NOT NULL, "text" TEXT, CONSTRAINT "Review_pkey" PRIMARY KEY ("id"));
CREATE TABLE "MenuItem" ("id" UUID NOT NULL, "restaurantId" UUID NOT NULL, "name" TEXT NOT NULL, "priceCents" INTEGER NOT NULL, CONSTRAINT "MenuItem_pkey" PRIMARY KEY ("id"));
CREATE TABLE "WebhookSubscription" ("id" UUID NOT NULL, "url" TEXT NOT NULL, "secret" TEXT, CONSTRAINT "WebhookSubscription_pkey" PRIMARY KEY ("id"));
CREATE TABLE "_prisma_migrations" ("id" VARCHAR(36) NOT NULL PRIMARY KEY, "checksum" VARCHAR(64) NOT NULL, "finished_at" TIMESTAMPTZ, "migration_name" VARCHAR(255) NOT NULL, "logs" TEXT, "rolled_back_at" TIMESTAMPTZ, "started_at" TIMESTAMPTZ NOT NULL DEFAULT now(), "applied_steps_count" INTEGER NOT NULL DEFAULT 0);
-- CreateIndex
CREATE UNIQUE INDEX "Restaurant_slug_key" ON "Restaurant"("slug");
CREATE UNIQUE INDEX "Booking_confirmationNumber_key" ON "Booking"("confirmationNumber");
CREATE UNIQUE INDEX "PhoneCall_bookingId_key" ON "PhoneCall"("bookingId");
CREATE UNIQUE INDEX "GuestPhone_guestId_kind_key" ON "GuestPhone"("guestId", "kind");
CREATE UNIQUE INDEX "_BookingToTable_AB_unique" ON "_BookingToTable"("A", "B");
CREATE INDEX "_BookingToTable_B_index" ON "_BookingToTable"("B");
-- AddForeignKey
ALTER TABLE "FloorPlan" ADD CONSTRAINT "FloorPlan_restaurantId_fkey" FOREIGN KEY ("restaurantId") REFERENCES "Restaurant"("id");
ALTER TABLE "Table" ADD CONSTRAINT "Table_floorPlanId_fkey" FOREIGN KEY ("floorPlanId") REFERENCES "FloorPlan"("id");
ALTER TABLE "Session" ADD CONSTRAINT "Session_userId_fkey" FOREIGN KEY ("userId") REFERENCES "User"("id");
ALTER TABLE "Guest" ADD CONSTRAINT "Guest_restaurantId_fkey" FOREIGN KEY ("restaurantId") REFERENCES "Restaurant"("id");
ALTER TABLE "GuestPhone" ADD CONSTRAINT "GuestPhone_guestId_fkey" FOREIGN KEY ("guestId") REFERENCES "Guest"("id") ON DELETE CASCADE;
ALTER TABLE "GuestAddress" ADD CONSTRAINT "GuestAddress_guestId_fkey" FOREIGN KEY ("guestId") REFERENCES "Guest"("id") ON DELETE CASCADE;
ALTER TABLE "Booking" ADD CONSTRAINT "Booking_restaurantId_fkey" FOREIGN KEY ("restaurantId") REFERENCES "Restaurant"("id");
ALTER TABLE "Booking" ADD CONSTRAINT "Booking_guestId_fkey" FOREIGN KEY ("guestId") REFERENCES "Guest"("id") ON DELETE SET NULL;
ALTER TABLE "Booking" ADD CONSTRAINT "Booking_floorPlanId_fkey" FOREIGN KEY ("floorPlanId") REFERENCES "FloorPlan"("id");
ALTER TABLE "Booking" ADD CONSTRAINT "Booking_shiftId_fkey" FOREIGN KEY ("shiftId") REFERENCES "Shift"("id");
ALTER TABLE "Booking" ADD CONSTRAINT "Booking_createdById_fkey" FOREIGN KEY ("createdById") REFERENCES "User"("id");
ALTER TABLE "PhoneCall" ADD CONSTRAINT "PhoneCall_bookingId_fkey" FOREIGN KEY ("bookingId") REFERENCES "Booking"("id");
ALTER TABLE "_BookingToTable" ADD CONSTRAINT "_BookingToTable_A_fkey" FOREIGN KEY ("A") REFERENCES "Booking"("id") ON DELETE CASCADE;
ALTER TABLE "_BookingToTable" ADD CONSTRAINT "_BookingToTable_B_fkey" FOREIGN KEY ("B") REFERENCES "Table"("id") ON DELETE CASCADE;
ALTER TABLE "BookingLog" ADD CONSTRAINT "BookingLog_bookingId_fkey" FOREIGN KEY ("bookingId") REFERENCES "Booking"("id");
ALTER TABLE "Review" ADD CONSTRAINT "Review_bookingId_fkey" FOREIGN KEY ("bookingId") REFERENCES "Booking"("id");
