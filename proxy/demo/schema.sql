-- The sample bank. Every person in it is made up; names, numbers and addresses are generated (data.py).
-- Loaded into an empty database by its superuser; the roles exist already (roles.sql).

CREATE SCHEMA bank AUTHORIZATION admin;
SET ROLE admin;
SET search_path = bank;

CREATE TABLE branches (
    code   text PRIMARY KEY,
    name   text NOT NULL,
    city   text NOT NULL,
    opened date NOT NULL,
    region text NOT NULL
);

CREATE TABLE customers (
    id         int PRIMARY KEY,
    full_name  text NOT NULL,
    id_card    char(18) NOT NULL UNIQUE,
    phone      varchar(11) NOT NULL,
    email      text,
    birth_date date NOT NULL,
    address    text,
    balance    numeric(18,2) NOT NULL,
    vip        boolean NOT NULL DEFAULT false,
    branch     text NOT NULL REFERENCES branches (code),
    profile    jsonb,
    tags       text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL
);
CREATE INDEX customers_phone ON customers (phone);
CREATE INDEX customers_branch ON customers (branch);

CREATE TABLE accounts (
    id          int PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers (id),
    account_no  varchar(19) NOT NULL UNIQUE,
    kind        text NOT NULL,
    currency    char(3) NOT NULL,
    balance     numeric(18,2) NOT NULL,
    opened      date NOT NULL,
    region      text NOT NULL
);
CREATE INDEX accounts_customer ON accounts (customer_id);

CREATE TABLE cards (
    id          int PRIMARY KEY,
    account_id  int NOT NULL REFERENCES accounts (id),
    card_no     varchar(19) NOT NULL UNIQUE,
    holder_name text NOT NULL,
    cvv         char(3) NOT NULL,
    expiry      date NOT NULL,
    daily_limit int NOT NULL
);

CREATE TABLE transactions (
    id           bigint NOT NULL,
    account_id   int NOT NULL,
    at           timestamptz NOT NULL,
    amount       numeric(14,2) NOT NULL,
    channel      text NOT NULL,
    counterparty text,
    memo         text,
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);

DO $$
BEGIN
    FOR month IN 1..12 LOOP
        EXECUTE format('CREATE TABLE transactions_2025_%s PARTITION OF transactions FOR VALUES FROM (%L) TO (%L)',
            lpad(month::text, 2, '0'),
            make_timestamptz(2025, month, 1, 0, 0, 0, 'Asia/Shanghai'),
            make_timestamptz(2025 + month / 12, month % 12 + 1, 1, 0, 0, 0, 'Asia/Shanghai'));
    END LOOP;
END
$$;
CREATE INDEX transactions_account ON transactions (account_id, at);

CREATE VIEW contact_list AS
    SELECT c.id, c.full_name, c.phone, c.email, b.city
    FROM customers c JOIN branches b ON b.code = c.branch;

CREATE VIEW branch_totals AS
    SELECT b.code, b.name, count(*) AS customers, sum(c.balance) AS total_balance
    FROM branches b JOIN customers c ON c.branch = b.code
    GROUP BY b.code, b.name;

GRANT USAGE ON SCHEMA bank TO analyst, teller, branch_manager, auditor, core_banking, fx_desk, risk, duty;
GRANT SELECT ON ALL TABLES IN SCHEMA bank TO analyst, teller, branch_manager, auditor, core_banking, fx_desk, risk, duty;
GRANT UPDATE (daily_limit) ON cards TO teller, branch_manager;
RESET ROLE;
RESET search_path;

-- Who works where: what the policy calls attributes. It belongs to the personnel department, not to the DBA, who is masked too.
CREATE SCHEMA hr AUTHORIZATION hr;
CREATE TABLE hr.staff (
    login  text PRIMARY KEY,
    name   text NOT NULL,
    branch text,
    region text NOT NULL,
    grade  text NOT NULL DEFAULT 'B',
    shift  text NOT NULL DEFAULT 'day'
);
ALTER TABLE hr.staff OWNER TO hr;
INSERT INTO hr.staff (login, name, branch, region, grade, shift) VALUES
    ('T01', '王晓丽', 'BJ01', '华北', 'A', 'day'),           -- T..: tellers behind the login core_banking
    ('T02', '陈志远', 'SH01', '华东', 'B', 'day'),
    ('T03', '刘思雨', 'BJ01', '华北', 'trainee', 'day'),
    ('teller', '李明', 'BJ01', '华北', 'A', 'day'),
    ('branch_manager', '赵建华', 'BJ01', '华北', 'A', 'day'),
    ('manager_sh', '周雪梅', 'SH01', '华东', 'A', 'day'),
    ('duty', '孙宇', 'BJ01', '华北', 'A', 'night'),
    ('fx_day', '林思远', NULL, '华北', 'A', 'day'),
    ('fx_night', '郭嘉欣', NULL, '华北', 'A', 'night');
GRANT USAGE ON SCHEMA hr TO pgveil_control;
GRANT SELECT ON hr.staff TO pgveil_control;
