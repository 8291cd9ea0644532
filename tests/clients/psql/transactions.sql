\set AUTOCOMMIT off
CREATE TABLE play.t (a int PRIMARY KEY, b text);
INSERT INTO play.t SELECT i, 'v' || i FROM generate_series(1, 5) i RETURNING *;
\set ON_ERROR_ROLLBACK on
INSERT INTO play.t VALUES (1, 'again');
INSERT INTO play.t VALUES (6, 'fine') ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING a, b;
SELECT count(*) FROM play.t;
ROLLBACK;
SELECT to_regclass('play.t');
COMMIT;
\set AUTOCOMMIT on
BEGIN; SAVEPOINT s; SELECT 1/0; SELECT 2; ROLLBACK TO s; SELECT 3; COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT phone FROM shop.people WHERE id = 1; DELETE FROM shop.orders; END;
SHOW transaction_isolation; SHOW search_path; SET search_path = shop, public; SELECT phone FROM people WHERE id = 2; RESET ALL;
DISCARD ALL; SHOW search_path;
