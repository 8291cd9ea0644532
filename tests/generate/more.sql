-- What the generator needs beyond the mini bank of the fixtures: arrays, times, bytes, enumerations, self-references, a key of two columns.
CREATE TYPE bank.state_t AS ENUM ('open', 'won', 'lost');
CREATE TABLE bank.staff (
  id int PRIMARY KEY, name text NOT NULL, phone varchar(11), salary numeric(12,2), chief int REFERENCES bank.staff, branch text, hired date);
CREATE TABLE bank.deals (
  id int NOT NULL, branch text NOT NULL, partner text, contacts text[], tags text[], price numeric(14,2), state bank.state_t,
  opened timestamptz, note json, photo bytea, vip bool, PRIMARY KEY (id, branch));
CREATE TABLE bank.rates (code char(3), day date, rate numeric(12,2), PRIMARY KEY (code, day));
CREATE TABLE bank.tasks (id int PRIMARY KEY, title text, done bool DEFAULT false, due date, tags text[], extra jsonb, owner int);
CREATE VIEW bank.v_staff AS SELECT s.id, s.name, s.phone, c.name AS chief FROM bank.staff s LEFT JOIN bank.staff c ON c.id = s.chief;
CREATE VIEW bank.v_people AS
  SELECT id, name, phone::text AS phone, 'customer' AS source FROM bank.customers
  UNION ALL SELECT id, name, phone, 'staff' FROM bank.staff;
CREATE VIEW bank.v_rows AS SELECT c.id, to_jsonb(c) AS doc FROM bank.customers c;
CREATE VIEW bank.v_whole AS SELECT c.id, c AS customer FROM bank.customers c;
CREATE VIEW bank.v_best WITH (security_barrier) AS
  SELECT id, name, balance, rank() OVER (ORDER BY balance DESC) AS place FROM bank.customers WHERE NOT vip;
CREATE VIEW bank.v_tasks AS SELECT t.id, t.title, s.name AS owner FROM bank.tasks t LEFT JOIN bank.staff s ON s.id = t.owner;
INSERT INTO bank.staff
SELECT i, 'Staff ' || i, '1' || (4200000000 + i * 9001), 30000.55 + i * 4321.17, nullif(i / 4, 0), (ARRAY['BJ', 'SH', 'GZ'])[i % 3 + 1],
       date '2010-01-01' + i * 97 FROM generate_series(1, 12) i;
INSERT INTO bank.deals
SELECT i, (ARRAY['BJ', 'SH'])[i % 2 + 1], 'P' || substr(md5('partner' || i), 1, 12), ARRAY['c' || substr(md5('dc' || i), 1, 12), NULL],
       ARRAY['gold', 'x' || i % 3], 1000.77 + i * 33333.33, (ARRAY['open', 'won', 'lost'])[i % 3 + 1]::bank.state_t,
       timestamptz '2024-01-01 10:00+00' + i * interval '1 day 3 hours', json_build_object('n', i), decode(lpad(to_hex(i), 4, '0'), 'hex'),
       i % 4 = 0 FROM generate_series(1, 15) i;
INSERT INTO bank.rates SELECT c, d, 1 + extract(day FROM d) / 100 FROM unnest(ARRAY['USD', 'EUR']) c,
  generate_series('2024-01-01'::date, '2024-01-05', '1 day') d;
INSERT INTO bank.tasks
SELECT i, 'task ' || i, i % 2 = 0, date '2024-02-01' + i, ARRAY['a', 'b' || i % 2], jsonb_build_object('risk', i % 3), i % 12 + 1
FROM generate_series(1, 10) i;
ANALYZE;
