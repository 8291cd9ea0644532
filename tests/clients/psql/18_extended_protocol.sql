SELECT phone FROM shop.people WHERE id = $1 \bind 3 \g
SELECT $1::int + $2::int AS sum \bind 1 2 \g
SELECT phone FROM shop.people WHERE id = $1 \parse one
\bind_named one 5 \g
\bind_named one 6 \gdesc
\bind_named one nonsense \g
\close_prepared one
\bind_named one 5 \g
SELECT 1/$1::int \bind 0 \g
\errverbose
SELECT phone FROM shop.people WHERE id = 1 \watch c=2 i=0.01
