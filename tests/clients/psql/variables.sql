SELECT id AS who, phone AS number FROM shop.people WHERE id = 4 \gset got_
\echo :got_who :got_number :ROW_COUNT :SQLSTATE :ERROR
SELECT count(*) FROM shop.people WHERE phone = :'got_number';
SELECT phone, mood, balance FROM shop.people \gdesc
SELECT format('SELECT phone FROM shop.people WHERE id = %s', i) FROM generate_series(1, 3) i ORDER BY i \gexec
SELECT branch, mood, count(*) FROM shop.people GROUP BY 1, 2 ORDER BY 1, 2 \crosstabview branch mood
SELECT branch, mood, max(phone) FROM shop.people GROUP BY 1, 2 ORDER BY 1, 2 \crosstabview
\if :got_who
SELECT 'yes' AS it;
\else
SELECT 'no' AS it;
\endif
SELECT broken;
\errverbose
\echo :LAST_ERROR_MESSAGE :LAST_ERROR_SQLSTATE
\set VERBOSITY verbose
SELECT 1/0;
\set VERBOSITY sqlstate
SELECT 1/0;
SELECT phone FROM shop.people WHERE id = 5 \g | cat
\conninfo
