SELECT id, name, phone, mood, home, tags, balance, branch, seen, photo, extra FROM shop.people ORDER BY id LIMIT 8;
SELECT branch, count(*), sum(balance), min(phone), max(phone) FROM shop.people GROUP BY 1 ORDER BY 1;
SELECT * FROM shop.contacts WHERE phone LIKE '139%3' ORDER BY phone; TABLE shop.per_branch ORDER BY 1;
SELECT p.name, o.* FROM shop.people p JOIN shop.orders o ON o.person = p.id WHERE o.total > 300 ORDER BY o.no;
SELECT 1/0; SELECT * FROM shop.nothing_here; SELEC; ;
SELECT 1 AS a \; SELECT 2 AS b \; SELECT phone FROM shop.people WHERE id = 3;
SELECT shop.twice(4), shop.total(id) FROM shop.people;
VALUES (1, 'x'), (2, NULL);
