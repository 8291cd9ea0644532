\pset null NULL
\x
SELECT * FROM shop.people WHERE id IN (1, 7);
\x
\pset format csv
SELECT id, phone, tags FROM shop.people WHERE id < 4 ORDER BY 1;
\pset format html
SELECT id, phone FROM shop.people WHERE id = 1;
\pset format unaligned
\t
SELECT phone FROM shop.people WHERE id = 2 \g (format=aligned)
\timing off
