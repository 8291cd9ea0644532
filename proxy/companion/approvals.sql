-- Requests, votes and grants: the state behind CALL veil.request and its like, in one database that all proxies share.
--
-- The proxies' own login reads and writes here, nobody else. Rows are never deleted: what was asked, by whom, who agreed and what
-- was used of it stays.

CREATE TABLE IF NOT EXISTS pgveil.policy (
  version    text             PRIMARY KEY,
  made       timestamptz      NOT NULL DEFAULT clock_timestamp(),
  texts      jsonb            NOT NULL               -- [[file, text], ...]
);

CREATE TABLE IF NOT EXISTS pgveil.request (
  id         bigint           PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  made       timestamptz      NOT NULL DEFAULT clock_timestamp(),
  kind       text             NOT NULL CHECK (kind IN ('columns', 'glass', 'policy')),  -- glass: taken at once, looked at later
  version    text             REFERENCES pgveil.policy,  -- of kind policy
  database   text             NOT NULL,
  login      text             NOT NULL,
  person     text             NOT NULL,              -- the login, or the one that a trusted application acts for
  roles      text[]           NOT NULL,              -- of the person at that time, those that approvals ask for
  attributes jsonb            NOT NULL,              -- likewise, those that approvals compare
  targets    jsonb            NOT NULL,              -- [[schema, relation, column, class, level, its oid, its attnum], ...]
  rows       text,                                   -- row predicate; null: every row
  most       bigint           CHECK (most > 0),      -- rows that may be shown; null: any number
  used       bigint           NOT NULL DEFAULT 0,    -- rows shown
  leased     bigint           NOT NULL DEFAULT 0,    -- rows set aside for statements that run
  seconds    float8           NOT NULL,              -- how long it is to hold once it is granted
  reason     text             NOT NULL,
  state      text             NOT NULL CHECK (state IN ('pending', 'granted', 'rejected', 'revoked')),
  decided    timestamptz,
  until      timestamptz,
  review_by  timestamptz,                            -- of kind glass
  reviewed   text             CHECK (reviewed IN ('justified', 'unjustified'))
);
CREATE INDEX IF NOT EXISTS request_made ON pgveil.request (made);

CREATE TABLE IF NOT EXISTS pgveil.vote (
  request    bigint           NOT NULL REFERENCES pgveil.request,
  person     text             NOT NULL,
  login      text             NOT NULL,
  made       timestamptz      NOT NULL DEFAULT clock_timestamp(),
  verdict    text             NOT NULL CHECK (verdict IN ('approve', 'reject', 'revoke', 'review')),
  roles      text[]           NOT NULL,              -- by which the person may decide
  attributes jsonb            NOT NULL,
  note       text,
  PRIMARY KEY (request, person, verdict)
);
REVOKE ALL ON pgveil.policy, pgveil.request, pgveil.vote FROM PUBLIC;
GRANT USAGE ON SCHEMA pgveil TO {control};
GRANT SELECT, INSERT, UPDATE ON pgveil.policy, pgveil.request, pgveil.vote TO {control};
