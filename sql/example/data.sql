-- Sample data for the example schema: the booking of the announcement, and 200 made-up customers with 300 bookings around
-- today. Safe to repeat.

insert into public.customers (id, title, firstname, surname, email, mobile, visits, terms_agreed, created, updated)
values ('D859AE499217478B8C5527745F917008', 'Mr', 'Graham', 'Murt', 'graham@kernow-software.co.uu', '07000000123', 1,
        '2020-12-15T16:11:40Z', '2020-12-15T16:11:40Z', '2021-02-22T13:34:32Z')
on conflict do nothing;

insert into public.calls (call_id, restaurant_id, number, ext_sid, provider_sid)
values ('2E707ADAB091488EAC5AC0A6BF2134B0', 'C3DB02F6FED042B7B0097A3DB12FF7D5', '01841510311', 'ABC123', 'XYZ789')
on conflict do nothing;

insert into public.reservations (id, cust_id, reference, room_id, room_name, meal_id, meal_name, datetime, duration, adults,
                                 tables, taken_by, created, updated, deposit_due, call_id)
values ('43B39683AB734A038ADA1B27345E9C90', 'D859AE499217478B8C5527745F917008', 920,
        '5D9DB7464F1E447A93D39450253C67B2', 'Restaurant', 'A51F84AD874D412F89EE772E67CC5CD2', 'Dinner',
        '2021-02-22T22:30:00Z', 120, 2, '1', 'ADMIN', '2021-02-22T13:34:32Z', '2021-02-22T13:34:32Z', 20,
        '2E707ADAB091488EAC5AC0A6BF2134B0')
on conflict do nothing;

insert into public.customers (id, title, firstname, surname, email, mobile, visits, vip, terms_agreed, created, updated)
select upper(md5('customer ' || n)),
       (array['Mr', 'Mrs', 'Ms', 'Dr'])[1 + n % 4],
       (array['Ana', 'Ben', 'Chloë', 'Dafydd', 'Erin', 'Fionn', 'Grace', 'Hamid', 'Ines', 'Jago'])[1 + n % 10],
       (array['Penrose', 'Tregear', 'Nance', 'Okafor', 'Müller', 'Rossi', 'Singh', 'Dubois', 'Novák', 'Hughes'])[1 + (n / 10) % 10],
       'guest' || n || '@example.com',
       '07700 900' || lpad(n::text, 3, '0'),
       n % 7,
       case when n % 25 = 0 then 'T' else 'F' end,
       now() - interval '1 year', now() - interval '1 year', now() - interval '1 day'
from generate_series(1, 200) as n
on conflict do nothing;

insert into public.reservations (id, cust_id, reference, room_id, room_name, meal_id, meal_name, datetime, duration, adults,
                                 children, tables, taken_by, web, created, updated)
select upper(md5('reservation ' || n)), upper(md5('customer ' || 1 + n % 200)), 1000 + n,
       upper(md5('room ' || n % 3)), (array['Restaurant', 'Terrace', 'Private dining'])[1 + n % 3],
       upper(md5('meal ' || n % 2)), (array['Lunch', 'Dinner'])[1 + n % 2],
       date_trunc('day', now()) + (n % 14 - 7) * interval '1 day' + (array[interval '12:30', interval '19:30'])[1 + n % 2],
       (array[90, 120, 150])[1 + n % 3], 1 + n % 6, n % 3, (1 + n % 20)::text, 'ADMIN',
       case when n % 3 = 0 then 'T' else 'F' end, now() - interval '10 days', now() - interval '10 days'
from generate_series(1, 300) as n
on conflict do nothing;
