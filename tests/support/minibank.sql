-- A bank in miniature, as the planner tests know it (tests/support/minibank.py describes the same relations).
CREATE SCHEMA bank;
CREATE SCHEMA archive;
CREATE SCHEMA "零售";
CREATE DOMAIN bank.phone_t AS text CONSTRAINT phone_format CHECK (VALUE ~ '^1[0-9]{10}$');
CREATE TYPE bank.contact_t AS (phone text, email text);

CREATE TABLE bank.branches (code text PRIMARY KEY, name text NOT NULL);
CREATE TABLE bank.customers (
  id int PRIMARY KEY, name text NOT NULL, phone bank.phone_t UNIQUE, id_card char(18), email text, birthday date,
  balance numeric(18,2), branch text REFERENCES bank.branches, vip bool NOT NULL DEFAULT false, profile jsonb,
  contact bank.contact_t, email_lower text GENERATED ALWAYS AS (lower(email)) STORED);
CREATE TABLE bank.corporate (tax_no text, PRIMARY KEY (id)) INHERITS (bank.customers);
CREATE TABLE bank.accounts (
  id int PRIMARY KEY, customer_id int NOT NULL, number text UNIQUE, balance numeric(18,2), status text DEFAULT 'active', pin text);
CREATE TABLE bank.transactions (
  id int NOT NULL, day date NOT NULL, account_id int, amount numeric(12,2), memo text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE bank.transactions_1 PARTITION OF bank.transactions FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');
CREATE TABLE bank.transactions_2 PARTITION OF bank.transactions FOR VALUES FROM ('2024-07-01') TO ('2025-01-01');
CREATE TABLE bank.wealth (id int NOT NULL, amount numeric(18,2) NOT NULL) PARTITION BY RANGE (amount);
CREATE TABLE bank.wealth_low PARTITION OF bank.wealth FOR VALUES FROM (0) TO (500000);
CREATE TABLE bank.wealth_high PARTITION OF bank.wealth FOR VALUES FROM (500000) TO (100000000);
CREATE TABLE bank."Customers" ("ID" int PRIMARY KEY, "Phone" text, phone text);
CREATE TABLE bank.watchlist (id int PRIMARY KEY, reason text);
INSERT INTO bank.watchlist VALUES (1, 'late'), (2, 'fraud');
-- Values that have found their way into the system catalogs: a default (and the missing value it leaves), a predicate, a comment.
ALTER TABLE bank.watchlist ADD COLUMN hotline text DEFAULT '15900001111';
CREATE INDEX watchlist_hot ON bank.watchlist (id) WHERE hotline = '15911112222';
COMMENT ON TABLE bank.watchlist IS 'filed by 15922223333';
CREATE TABLE bank.emergency_contacts_of_customers_kept_for_the_regulatory_reporti (id int PRIMARY KEY, phone text);
CREATE TABLE archive.customers (id int PRIMARY KEY, name text, phone text);
CREATE TABLE public.customers (id int PRIMARY KEY, name text, phone text);
CREATE TABLE "零售"."客户 表" ("编号" int PRIMARY KEY, "姓名" text, "手机号" text, "select" text);

CREATE VIEW bank.v_contact AS SELECT id, name, phone, email FROM bank.customers;
CREATE VIEW bank.v_again AS SELECT id AS cid, phone AS tel FROM bank.v_contact;
CREATE VIEW bank.v_label AS SELECT id, name || '/' || phone AS label FROM bank.customers;
CREATE VIEW bank.v_totals AS SELECT branch, count(*) AS n, max(balance) AS top FROM bank.customers GROUP BY branch;
CREATE VIEW bank.v_by_key AS SELECT c.id, c.name, count(a.id) AS accounts
  FROM bank.customers c LEFT JOIN bank.accounts a ON a.customer_id = c.id GROUP BY c.id;
CREATE VIEW bank.v_branches AS SELECT code FROM bank.branches;
CREATE VIEW bank.v_join AS SELECT a.id, a.number AS no, c.name, c.branch AS "Branch"
  FROM bank.accounts a JOIN bank.customers c ON c.id = a.customer_id;
CREATE VIEW bank.v_outer AS SELECT b.code, c.name FROM bank.branches b LEFT JOIN bank.customers c ON c.branch = b.code AND c.vip;
CREATE VIEW bank.v_rich AS SELECT id, branch FROM bank.customers WHERE balance > 500000;
CREATE VIEW bank.v_rich_count AS SELECT count(*) AS n FROM bank.v_rich;
CREATE VIEW bank.v_memo AS SELECT id AS tid, amount AS sum, memo AS note FROM bank.transactions;
CREATE VIEW bank.v_memo_alone AS SELECT id, memo FROM bank.transactions;
CREATE VIEW bank.v_names AS SELECT DISTINCT name FROM bank.customers;
CREATE VIEW bank.v_pins AS SELECT id, customer_id, status, pin FROM bank.accounts;
CREATE VIEW bank.v_vip AS SELECT id, name, branch, vip FROM bank.customers WHERE vip WITH CHECK OPTION;
CREATE VIEW bank.v_probe AS SELECT DISTINCT ON (id) id, name, 1 / (balance - 55322.28) AS x FROM bank.customers ORDER BY id;
CREATE MATERIALIZED VIEW bank.mv_report AS SELECT c.id, c.name, c.phone AS tel, count(a.id) AS accounts, sum(a.balance) AS total
  FROM bank.customers c LEFT JOIN bank.accounts a ON a.customer_id = c.id GROUP BY c.id WITH NO DATA;
CREATE VIEW bank.v_row AS SELECT c.id, c AS customer FROM bank.customers c;
CREATE MATERIALIZED VIEW bank.mv_rich AS SELECT id FROM bank.customers WHERE balance > 500000 WITH NO DATA;
CREATE MATERIALIZED VIEW bank.mv_phones AS SELECT id, phone::text AS phone FROM bank.customers WITH NO DATA;

CREATE FUNCTION bank.get_phone(int) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
  AS 'SELECT phone::text FROM bank.customers WHERE id = $1';
CREATE FUNCTION bank.band(numeric) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN $1 >= 500000 THEN 'A' ELSE 'B' END $$;
CREATE FUNCTION bank.attr(int, text) RETURNS text LANGUAGE sql STABLE AS 'SELECT bank.get_phone($1) || $2';
CREATE DOMAIN bank.hooked_t AS int CHECK (bank.attr(VALUE, '') <> '');
CREATE OPERATOR bank.~> (LEFTARG = int, RIGHTARG = text, FUNCTION = bank.attr);

INSERT INTO bank.branches VALUES ('BJ', 'Beijing'), ('SH', 'Shanghai'), ('GZ', 'Guangzhou');
INSERT INTO bank.customers (id, name, phone, id_card, email, birthday, balance, branch, vip, profile, contact)
SELECT i, '客' || substr(md5('name' || i), 1, 12), '1' || (3000000000 + i * 7919 * 8111 % 999999999), substr(md5('card' || i), 1, 18),
       'Mail' || substr(md5('mail' || i), 1, 12) || '@x.cn', date '1960-01-02' + i * 397, 1000.37 + i * 54321.91,
       (ARRAY['BJ', 'SH', 'GZ'])[i % 3 + 1], i % 7 = 0, jsonb_build_object('ssn', md5('ssn' || i), 'risk', i % 5),
       ROW('1' || (8000000000 + i * 7717), substr(md5('ce' || i), 1, 12) || '@y.cn')::bank.contact_t
FROM generate_series(1, 20) i;
UPDATE bank.customers SET email = NULL, birthday = NULL, contact = NULL WHERE id = 5;
INSERT INTO bank.corporate (id, name, phone, id_card, email, balance, branch, tax_no)
SELECT i, '企' || substr(md5('name' || i), 1, 12), '1' || (5000000000 + i * 6007), substr(md5('card' || i), 1, 18),
       'Corp' || substr(md5('mail' || i), 1, 12) || '@z.cn', 7000.11 + i * 98765.43, 'BJ', 'T' || i
FROM generate_series(101, 104) i;
INSERT INTO bank.accounts SELECT i, i % 20 + 1, '6222' || substr(md5('acc' || i), 1, 14), i * 10001.17, 'active', md5('pin' || i)
FROM generate_series(1, 30) i;
INSERT INTO bank.transactions
SELECT i, date '2024-01-01' + i * 11, i, i * 7.5, 'memo-' || substr(md5('memo' || i), 1, 12) FROM generate_series(1, 30) i;
INSERT INTO bank.wealth SELECT i, 1234.56 + i * 98765.21 FROM generate_series(1, 10) i;
INSERT INTO bank."Customers" SELECT i, '1' || (7000000000 + i * 5003), 'yes' FROM generate_series(1, 4) i;
UPDATE bank.watchlist SET hotline = '1591111222' || id;
INSERT INTO bank.emergency_contacts_of_customers_kept_for_the_regulatory_reporti VALUES (1, '13711112222'), (2, '13733334444');
INSERT INTO archive.customers SELECT i, '旧' || substr(md5('old' || i), 1, 12), '1' || (6000000000 + i * 4001) FROM generate_series(1, 5) i;
INSERT INTO public.customers VALUES (1, 'Demo One', '100'), (2, 'Demo Two', '200');
INSERT INTO "零售"."客户 表" SELECT i, '零' || substr(md5('rn' || i), 1, 12), '1' || (9000000000 + i * 3001), 's' || i
FROM generate_series(1, 5) i;
REFRESH MATERIALIZED VIEW bank.mv_phones;
REFRESH MATERIALIZED VIEW bank.mv_report;
REFRESH MATERIALIZED VIEW bank.mv_rich;
ANALYZE;
