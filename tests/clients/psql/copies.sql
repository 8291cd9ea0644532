\copy (SELECT id, name, phone, tags, extra FROM shop.people ORDER BY id) TO STDOUT
\copy (SELECT id, name, phone, tags, extra FROM shop.people ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER, FORCE_QUOTE *)
\copy shop.people (id, phone, mood) TO STDOUT (FORMAT csv, DELIMITER ';', NULL 'nil')
COPY (SELECT id, phone FROM shop.people ORDER BY id) TO STDOUT;
COPY shop.branches TO STDOUT WITH CSV HEADER;
CREATE TABLE play.c (id int, name text, at date);
\copy play.c FROM STDIN
1	one	2024-01-01
2	\N	2024-01-02
\.
\copy play.c FROM STDIN WITH (FORMAT csv, HEADER)
id,name,at
3,"a, ""b""",2024-01-03
\.
COPY play.c FROM STDIN (FORMAT csv);
4,four,2024-01-04
\.
COPY play.c FROM STDIN;
5	broken
\.
COPY play.c FROM STDIN;
6	date	not-a-date
\.
SELECT * FROM play.c ORDER BY id;
DROP TABLE play.c;
