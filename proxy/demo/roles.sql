-- Logins of the demo. The passwords are for the demo only: it listens on 127.0.0.1 and nowhere else.
CREATE ROLE analyst        LOGIN PASSWORD 'analyst';
CREATE ROLE teller         LOGIN PASSWORD 'teller';
CREATE ROLE branch_manager LOGIN PASSWORD 'branch_manager';
CREATE ROLE auditor        LOGIN PASSWORD 'auditor';
CREATE ROLE admin          LOGIN CREATEROLE PASSWORD 'admin';    -- the DBA: owns the schema, is not a superuser
CREATE ROLE pgveil_control LOGIN NOINHERIT PASSWORD 'pgveil_control';  -- reads the system catalogs, may read no table of the bank
