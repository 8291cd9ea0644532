-- Metabase (pgjdbc): the connection test, the sync of a schema, fingerprints and field values, a question and its summary.
-- protocol: extended

SET extra_float_digits = 3;
SET application_name = 'Metabase v0.52.0 [0b9c1f6e-0000-4000-8000-000000000000]';
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;
SHOW TRANSACTION ISOLATION LEVEL;
SELECT nspname AS "TABLE_SCHEM", current_database() AS "TABLE_CATALOG" FROM pg_catalog.pg_namespace
  WHERE nspname <> 'pg_toast' AND (nspname !~ '^pg_temp_' OR nspname = (pg_catalog.current_schemas(true))[1])
  AND (nspname !~ '^pg_toast_temp_' OR nspname = replace((pg_catalog.current_schemas(true))[1], 'pg_temp_', 'pg_toast_temp_'))
  ORDER BY "TABLE_SCHEM";
SELECT "n"."nspname" AS "schema", "c"."relname" AS "name",
  CASE "c"."relkind" WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'PARTITIONED TABLE' WHEN 'v' THEN 'VIEW' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'm' THEN 'MATERIALIZED VIEW' END AS "type",
  "d"."description" AS "description", "stat"."n_live_tup" >= 0 AS "has_estimate"
  FROM "pg_catalog"."pg_class" AS "c" INNER JOIN "pg_catalog"."pg_namespace" AS "n" ON "c"."relnamespace" = "n"."oid"
  LEFT JOIN "pg_catalog"."pg_description" AS "d" ON ("c"."oid" = "d"."objoid") AND ("d"."objsubid" = 0) AND ("d"."classoid" = 'pg_class'::regclass)
  LEFT JOIN "pg_stat_user_tables" AS "stat" ON ("n"."nspname" = "stat"."schemaname") AND ("c"."relname" = "stat"."relname")
  WHERE ("n"."nspname" !~ '^pg_') AND ("n"."nspname" <> 'information_schema') AND ("c"."relkind" IN ('r', 'p', 'v', 'f', 'm')) AND ("n"."nspname" = 'shop')
  ORDER BY "type" ASC, "schema" ASC, "name" ASC;
WITH table_privileges AS (
  SELECT NULL AS role, t.schemaname AS schema, t.objectname AS table,
    pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' || replace(t.objectname, '"', '""') || '"', 'update') AS update,
    pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' || replace(t.objectname, '"', '""') || '"', 'select') AS select,
    pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' || replace(t.objectname, '"', '""') || '"', 'insert') AS insert,
    pg_catalog.has_table_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' || replace(t.objectname, '"', '""') || '"', 'delete') AS delete
  FROM (SELECT schemaname, tablename AS objectname FROM pg_catalog.pg_tables UNION SELECT schemaname, viewname FROM pg_catalog.pg_views
    UNION SELECT schemaname, matviewname FROM pg_catalog.pg_matviews) t
  WHERE t.schemaname !~ '^pg_' AND t.schemaname <> 'information_schema' AND pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage')
)
SELECT t.* FROM table_privileges t ORDER BY 2, 3;
SELECT "c"."column_name" AS "name", "c"."udt_name" AS "database-type", "c"."ordinal_position" - 1 AS "database-position", "c"."table_schema" AS "table-schema",
  "c"."table_name" AS "table-name", "pk"."column_name" IS NOT NULL AS "pk?", col_description(CAST(CAST(format('%I.%I', CAST("c"."table_schema" AS text), CAST("c"."table_name" AS text)) AS regclass) AS oid), "c"."ordinal_position") AS "field-comment",
  (("column_default" IS NULL) OR (lower("column_default") = 'null')) AND ("is_nullable" = 'NO') AND NOT ((("column_default" IS NOT NULL) AND ("column_default" LIKE '%nextval(%')) OR ("is_identity" <> 'NO')) AS "database-required",
  (("column_default" IS NOT NULL) AND ("column_default" LIKE '%nextval(%')) OR ("is_identity" <> 'NO') AS "database-is-auto-increment"
  FROM "information_schema"."columns" AS "c"
  LEFT JOIN (SELECT "tc"."table_schema", "tc"."table_name", "kc"."column_name" FROM "information_schema"."table_constraints" AS "tc"
    INNER JOIN "information_schema"."key_column_usage" AS "kc" ON ("tc"."constraint_name" = "kc"."constraint_name") AND ("tc"."table_schema" = "kc"."table_schema") AND ("tc"."table_name" = "kc"."table_name")
    WHERE "tc"."constraint_type" = 'PRIMARY KEY') AS "pk"
  ON ("c"."table_schema" = "pk"."table_schema") AND ("c"."table_name" = "pk"."table_name") AND ("c"."column_name" = "pk"."column_name")
  WHERE c.table_schema !~ '^information_schema|catalog_history|pg_' AND ("c"."table_schema" IN ('shop'))
  UNION ALL
  SELECT "pa"."attname", "pt"."typname", "pa"."attnum" - 1, "pn"."nspname", "pc"."relname", false, NULL, false, false
  FROM "pg_catalog"."pg_class" AS "pc" INNER JOIN "pg_catalog"."pg_namespace" AS "pn" ON "pn"."oid" = "pc"."relnamespace"
  INNER JOIN "pg_catalog"."pg_attribute" AS "pa" ON "pa"."attrelid" = "pc"."oid" INNER JOIN "pg_catalog"."pg_type" AS "pt" ON "pt"."oid" = "pa"."atttypid"
  WHERE ("pc"."relkind" = 'm') AND ("pa"."attnum" >= 1) AND ("pn"."nspname" IN ('shop'))
  ORDER BY "table-schema" ASC, "table-name" ASC, "database-position" ASC;
SELECT "fk_ns"."nspname" AS "fk-table-schema", "fk_table"."relname" AS "fk-table-name", "fk_column"."attname" AS "fk-column-name",
  "pk_ns"."nspname" AS "pk-table-schema", "pk_table"."relname" AS "pk-table-name", "pk_column"."attname" AS "pk-column-name"
  FROM "pg_constraint" AS "c" INNER JOIN "pg_class" AS "fk_table" ON "c"."conrelid" = "fk_table"."oid"
  INNER JOIN "pg_namespace" AS "fk_ns" ON "c"."connamespace" = "fk_ns"."oid"
  INNER JOIN "pg_attribute" AS "fk_column" ON "c"."conrelid" = "fk_column"."attrelid"
  INNER JOIN "pg_class" AS "pk_table" ON "c"."confrelid" = "pk_table"."oid"
  INNER JOIN "pg_namespace" AS "pk_ns" ON "pk_table"."relnamespace" = "pk_ns"."oid"
  INNER JOIN "pg_attribute" AS "pk_column" ON "c"."confrelid" = "pk_column"."attrelid"
  WHERE fk_ns.nspname !~ '^information_schema|catalog_history|pg_' AND ("c"."contype" = 'f'::char) AND ("fk_column"."attnum" = ANY (c.conkey)) AND ("pk_column"."attnum" = ANY (c.confkey))
  ORDER BY "fk-table-schema", "fk-table-name", "c"."conname", "pk-table-name";
SELECT "tmp"."table-schema", "tmp"."table-name", trim(BOTH '"' FROM "tmp"."field-name") AS "field-name" FROM (
  SELECT "n"."nspname" AS "table-schema", "t"."relname" AS "table-name", pg_get_indexdef(i.indexrelid, 1, true) AS "field-name"
  FROM "pg_index" AS "i" INNER JOIN "pg_class" AS "t" ON "i"."indrelid" = "t"."oid" INNER JOIN "pg_namespace" AS "n" ON "t"."relnamespace" = "n"."oid"
  WHERE ("i"."indpred" IS NULL) AND ("n"."nspname" = 'shop')) AS "tmp" ORDER BY 1, 2, 3;
SELECT nspname, typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid IN (SELECT DISTINCT enumtypid FROM pg_enum e) ORDER BY 2;
SELECT TRUE AS "_" FROM "shop"."people" WHERE 1 <> 1 LIMIT 0;
SELECT "shop"."people"."id" AS "id", substring("shop"."people"."name", 1, 1234) AS "substring1", substring("shop"."people"."phone", 1, 1234) AS "substring2",
  "shop"."people"."balance" AS "balance", "shop"."people"."seen" AS "seen" FROM "shop"."people" ORDER BY 1 LIMIT 10000;
SELECT "shop"."people"."extra"::text AS "extra" FROM "shop"."people" ORDER BY "id" LIMIT 100;
SELECT "shop"."people"."phone" AS "phone" FROM "shop"."people" GROUP BY "shop"."people"."phone" ORDER BY "shop"."people"."phone" ASC LIMIT 1000;
SET TIMEZONE TO 'Asia/Shanghai';
SELECT "source"."id", "source"."name", "source"."phone", "source"."balance", "source"."branch", "source"."seen" FROM (
  SELECT "shop"."people"."id" AS "id", "shop"."people"."name" AS "name", "shop"."people"."phone" AS "phone", "shop"."people"."balance" AS "balance",
    "shop"."people"."branch" AS "branch", "shop"."people"."seen" AS "seen" FROM "shop"."people") AS "source" ORDER BY 1 LIMIT 2000;
SELECT date_trunc('day', "shop"."people"."seen") AS "seen", count(*) AS "count", sum("shop"."people"."balance") AS "sum", count(DISTINCT "shop"."people"."phone") AS "count_2"
  FROM "shop"."people" GROUP BY date_trunc('day', "shop"."people"."seen") ORDER BY 1 ASC;
SELECT "Branches - Branch"."name" AS "Branches - Branch__name", count(*) AS "count" FROM "shop"."people"
  LEFT JOIN "shop"."branches" AS "Branches - Branch" ON "shop"."people"."branch" = "Branches - Branch"."code" GROUP BY 1 ORDER BY 2 DESC, 1 ASC;

-- $1 = 13900007919
SELECT count(*) AS "count" FROM "shop"."people" WHERE "shop"."people"."phone" = $1;

-- $1 = %139%
SELECT min("phone") FROM "shop"."people" WHERE lower("shop"."people"."phone") LIKE $1;
