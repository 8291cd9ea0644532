-- Logins of the demo. The passwords are for the demo only: it listens on 127.0.0.1 and nowhere else.
CREATE ROLE analyst        LOGIN PASSWORD 'analyst';
CREATE ROLE teller         LOGIN PASSWORD 'teller';
CREATE ROLE branch_manager LOGIN PASSWORD 'branch_manager';
CREATE ROLE auditor        LOGIN PASSWORD 'auditor';
CREATE ROLE manager_sh     LOGIN PASSWORD 'manager_sh' IN ROLE branch_manager;    -- of the branch in Shanghai
CREATE ROLE core_banking   LOGIN PASSWORD 'core_banking';         -- an application with many tellers behind one login
CREATE ROLE fx_desk        NOLOGIN;
CREATE ROLE fx_day         LOGIN PASSWORD 'fx_day' IN ROLE fx_desk;
CREATE ROLE fx_night       LOGIN PASSWORD 'fx_night' IN ROLE fx_desk;
CREATE ROLE risk           LOGIN PASSWORD 'risk';
CREATE ROLE duty           LOGIN PASSWORD 'duty';                 -- whoever may break the glass at night
CREATE ROLE hr             LOGIN PASSWORD 'hr';                   -- keeps the table of staff, sees nothing of the bank
CREATE ROLE admin          LOGIN CREATEROLE PASSWORD 'admin';    -- the DBA: owns the schema, is not a superuser
CREATE ROLE pgveil_control LOGIN NOINHERIT PASSWORD 'pgveil_control';  -- reads the system catalogs, may read no table of the bank
