CREATE EXTENSION pg_stat_statements;
CREATE ROLE analyst LOGIN PASSWORD 'analyst';
CREATE ROLE auditor LOGIN PASSWORD 'auditor';
CREATE ROLE pgveil_control LOGIN PASSWORD 'control';
GRANT pg_read_all_stats TO pgveil_control;  -- for `pgveil audit complete` only: what others run is counted, not read
CREATE TABLE people (id int PRIMARY KEY, full_name text NOT NULL, phone text NOT NULL);
INSERT INTO people VALUES (1, '张晓明', '13800001111'), (2, 'Elena Rossi', '13900002222');
GRANT SELECT ON people TO analyst, auditor;
