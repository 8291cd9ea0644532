\startpipeline
SELECT phone FROM shop.people WHERE id = $1 \bind 1 \sendpipeline
SELECT phone FROM shop.people WHERE id = $1 \bind 2 \sendpipeline
SELECT 'third';
\flushrequest
\getresults 2
\syncpipeline
SELECT 1/0;
SELECT 'not reached';
\syncpipeline
SELECT 'after the error';
\getresults
\endpipeline
\startpipeline
BEGIN \bind \sendpipeline
INSERT INTO play.none VALUES ($1) \bind 1 \sendpipeline
COMMIT \bind \sendpipeline
\endpipeline
SELECT 'fine';
