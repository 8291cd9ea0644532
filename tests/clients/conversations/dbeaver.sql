-- DBeaver (pgjdbc): connecting, opening the tree of databases and schemas, a schema, a table, its data.
-- protocol: extended

SET extra_float_digits = 3;
SET application_name = 'DBeaver 24.3.0 - Main <shop>';
SELECT current_database();
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE;
SHOW search_path;
SELECT current_schema(), session_user;
SELECT version();
SELECT db.datname FROM pg_catalog.pg_database db WHERE datistemplate;

-- $1 = shop
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datname = $1;
SELECT * FROM pg_catalog.pg_settings WHERE name = 'standard_conforming_strings';
SELECT reltype FROM pg_catalog.pg_class WHERE 1 <> 1 LIMIT 1;
SELECT typcategory FROM pg_catalog.pg_type WHERE 1 <> 1 LIMIT 1;
SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = 'pg_namespace'::regclass
  ORDER BY nspname;
SELECT n.nspname = ANY (current_schemas(true)), n.nspname, t.typname
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = 25;
SELECT t.oid, t.*, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_type_name, d.description
  FROM pg_catalog.pg_type t
  LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem
  LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
  LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid = d.objoid
  WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C')
  ORDER BY t.oid;
SELECT * FROM pg_catalog.pg_enum ORDER BY enumtypid, enumsortorder;
SELECT db.datname FROM pg_catalog.pg_database db WHERE NOT datistemplate AND datallowconn ORDER BY 1;
SELECT a.oid, a.*, pd.description FROM pg_catalog.pg_roles a LEFT JOIN pg_catalog.pg_shdescription pd ON a.oid = pd.objoid
  WHERE a.rolname !~ '^pg_' ORDER BY a.rolname;
SELECT am.oid, am.* FROM pg_catalog.pg_am am ORDER BY am.oid;
SELECT c.contoencoding AS encid, pg_catalog.pg_encoding_to_char(c.contoencoding) AS encname
  FROM pg_catalog.pg_conversion c GROUP BY c.contoencoding ORDER BY 2;
SELECT c.oid, c.* FROM pg_catalog.pg_collation c WHERE c.collname < 'C' ORDER BY c.oid;
SELECT l.oid, l.* FROM pg_catalog.pg_language l ORDER BY l.oid;
SELECT t.oid, t.* FROM pg_catalog.pg_tablespace t ORDER BY t.oid;
SELECT name, default_version, installed_version, comment FROM pg_catalog.pg_available_extensions ORDER BY name;
SELECT l.oid, l.*, p.pronamespace AS handler_schema_id FROM pg_catalog.pg_foreign_data_wrapper l
  LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid = l.fdwhandler ORDER BY l.fdwname;

-- $1 = oid:schema shop
SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS partition_expr,
  pg_catalog.pg_get_partkeydef(c.oid) AS partition_key
  FROM pg_catalog.pg_class c
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass
  WHERE c.relnamespace = $1 AND c.relkind NOT IN ('i', 'I', 'c') ORDER BY c.relname;

-- $1 = oid:schema shop
SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dsc.description, dep.objid
  FROM pg_catalog.pg_attribute a
  INNER JOIN pg_catalog.pg_class c ON a.attrelid = c.oid
  LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum
  LEFT OUTER JOIN pg_catalog.pg_description dsc ON c.oid = dsc.objoid AND a.attnum = dsc.objsubid
  LEFT OUTER JOIN pg_depend dep ON dep.refobjid = a.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = a.attnum AND dep.classid = dep.refclassid
  WHERE NOT a.attisdropped AND c.relkind NOT IN ('i', 'I', 'c') AND c.relnamespace = $1 ORDER BY c.relname, a.attnum;

-- $1 = oid:table shop.people
SELECT c.oid, c.*, t.relname AS tabrelname, rt.relnamespace AS refnamespace, d.description,
  CASE WHEN c.contype = 'c' THEN pg_catalog.pg_get_constraintdef(c.oid) END AS consrc_copy
  FROM pg_catalog.pg_constraint c
  INNER JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
  LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid = c.confrelid
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_constraint'::regclass
  WHERE c.conrelid = $1 ORDER BY c.oid;

-- $1 = oid:table shop.people
SELECT i.*, i.indkey AS keys, c.relname, c.relnamespace, c.relam, c.reltablespace, tc.relname AS tabrelname, dsc.description,
  pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS pred_expr, pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) AS expr,
  pg_catalog.pg_relation_size(i.indexrelid) AS index_rel_size, pg_catalog.pg_stat_get_numscans(i.indexrelid) >= 0 AS scanned
  FROM pg_catalog.pg_index i
  INNER JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  INNER JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid
  LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid = dsc.objoid
  WHERE i.indrelid = $1 ORDER BY tabrelname, c.relname;

-- $1 = oid:table shop.orders
SELECT i.*, c.relnamespace FROM pg_catalog.pg_inherits i, pg_catalog.pg_class c WHERE i.inhparent = $1 AND c.oid = i.inhrelid ORDER BY inhrelid;

-- $1 = oid:schema shop
SELECT p.oid AS poid, p.*, pg_catalog.pg_get_expr(p.proargdefaults, 0) AS arg_defaults, d.description
  FROM pg_catalog.pg_proc p LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = p.oid
  WHERE p.pronamespace = $1 ORDER BY p.proname;

-- $1 = oid:table shop.people
SELECT x.oid, x.*, p.pronamespace AS func_schema_id, d.description, pg_catalog.pg_get_triggerdef(x.oid, true) AS definition
  FROM pg_catalog.pg_trigger x LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid = x.tgfoid
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = x.oid AND d.objsubid = 0
  WHERE x.tgrelid = $1 AND NOT x.tgisinternal ORDER BY x.oid;

-- $1 = oid:table shop.contacts
SELECT pg_catalog.pg_get_viewdef($1, true);

-- $1 = oid:table shop.secrets
SELECT pol.*, pg_catalog.pg_get_expr(pol.polqual, pol.polrelid) AS using_expression FROM pg_catalog.pg_policy pol WHERE pol.polrelid = $1;

-- $1 = shop  $2 = ticket
SELECT * FROM pg_catalog.pg_sequences WHERE schemaname = $1 AND sequencename = $2;

-- $1 = oid:table shop.people
SELECT pg_catalog.pg_total_relation_size($1) > 0 AS total_rel_size, pg_catalog.pg_relation_size($1) > 0 AS rel_size;
SELECT x.id, x.name, x.phone, x.mood, x.home, x.tags, x.balance, x.branch, x.seen, x.photo, x.extra FROM shop.people x ORDER BY x.id LIMIT 200;
SELECT count(*) FROM shop.people x;
SELECT * FROM shop.people x WHERE x.phone LIKE '139%' ORDER BY x.phone LIMIT 5;
EXPLAIN (FORMAT XML, COSTS OFF) SELECT x.no FROM shop.orders x;
SELECT id, phone FROM shop.contacts ORDER BY 1;
