-- The table of pgveil's audit records, and what its writer may do there. Written by `pgveil audit sink sql`; run it as an
-- administrator of that database. {schema} and {writer} are quoted names.
CREATE SCHEMA IF NOT EXISTS {schema};

CREATE TABLE IF NOT EXISTS {schema}.record (
  source      text NOT NULL,          -- the proxy
  worker      text NOT NULL,
  seq         bigint NOT NULL,        -- with source and worker it names the record
  time        timestamptz NOT NULL,
  kind        text NOT NULL,
  session     text,
  login       text,
  person      text,                   -- whom the session acts for
  database    text,
  client      text,
  application text,
  statement   text,                   -- class
  verdict     text,
  clear       text,                   -- highest level of which something left in clear
  columns     text[],                 -- touched: schema.relation.column
  classes     text[],
  levels      text[],
  rules       text[],
  grants      bigint[],
  digests     text[],                 -- of constants and parameters (docs/audit.md)
  sqlstate    text,
  decision    bigint,                 -- of an outcome: seq of what it ends
  rows        bigint,
  bytes       bigint,
  seconds     double precision,
  policy      text,
  event       text,
  record      jsonb NOT NULL,         -- all of it
  PRIMARY KEY (source, worker, seq, time)
) PARTITION BY RANGE (time);
CREATE INDEX IF NOT EXISTS record_time ON {schema}.record USING brin (time);
CREATE INDEX IF NOT EXISTS record_person ON {schema}.record (person, time) WHERE person IS NOT NULL;
CREATE INDEX IF NOT EXISTS record_columns ON {schema}.record USING gin (columns);
CREATE INDEX IF NOT EXISTS record_digests ON {schema}.record USING gin (digests);

-- How far each worker's trail has been taken over, changed in the same transaction as the records.
CREATE TABLE IF NOT EXISTS {schema}.place (
  source text, worker text, segment integer NOT NULL, byte bigint NOT NULL, seq bigint NOT NULL, mac text NOT NULL,
  PRIMARY KEY (source, worker)
);
-- Places of trails that could not be read.
CREATE TABLE IF NOT EXISTS {schema}.gap (
  source text NOT NULL, worker text NOT NULL, seq bigint NOT NULL, noticed timestamptz NOT NULL DEFAULT now(), place text NOT NULL
);

CREATE OR REPLACE FUNCTION {schema}.make_partition(moment timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $make$
DECLARE
  first timestamptz := date_trunc('month', moment AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
  past timestamptz := (date_trunc('month', moment AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
  name text := 'record_' || to_char(moment AT TIME ZONE 'UTC', 'YYYY_MM');
BEGIN
  IF moment > now() + interval '1 year' OR moment < now() - interval '20 years' THEN
    RAISE EXCEPTION 'no partition for %', moment;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('pgveil audit partitions'));
  IF to_regclass(format('%I.%I', {schema_text}, name)) IS NULL THEN
    EXECUTE format('CREATE TABLE %I.%I PARTITION OF %I.record FOR VALUES FROM (%L) TO (%L)',
                   {schema_text}, name, {schema_text}, first, past);
  END IF;
END
$make$;
SELECT {schema}.make_partition(now() + n * interval '1 month') FROM generate_series(0, 2) n;

-- The writer adds records and moves its place; it can change or remove nothing, and reads nothing but places.
REVOKE ALL ON FUNCTION {schema}.make_partition(timestamptz) FROM PUBLIC;
GRANT USAGE ON SCHEMA {schema} TO {writer};
GRANT EXECUTE ON FUNCTION {schema}.make_partition(timestamptz) TO {writer};
GRANT INSERT ON {schema}.record, {schema}.gap TO {writer};
GRANT SELECT, INSERT, UPDATE ON {schema}.place TO {writer};
