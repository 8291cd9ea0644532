-- DataGrip and the other IDEs of JetBrains (pgjdbc): connecting, introspection of the server, a database, a schema; a table opened.
-- protocol: extended

SET extra_float_digits = 3;
SET application_name = 'DataGrip 2024.3';
SELECT version();
SET application_name = 'DataGrip 2024.3 main';
SHOW TRANSACTION ISOLATION LEVEL;
SELECT current_database() AS a, current_schemas(false) AS b;
SELECT current_database(), current_schema(), current_user, session_user;
SELECT round(extract(epoch FROM pg_postmaster_start_time() AT TIME ZONE 'UTC')) > 0 AS startup_time;
SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN 0 ELSE 1 END AS state;
SELECT N.oid::bigint AS id, datname AS name, D.description, datistemplate AS is_template, datallowconn AS allow_connections,
  pg_catalog.pg_get_userbyid(N.datdba) AS "owner"
  FROM pg_catalog.pg_database N LEFT JOIN pg_catalog.pg_shdescription D ON N.oid = D.objoid
  ORDER BY CASE WHEN datname = pg_catalog.current_database() THEN -1::bigint ELSE N.oid::bigint END;
SELECT R.oid::bigint AS role_id, rolname AS role_name, rolsuper AS is_super, rolinherit AS is_inherit, rolcreaterole AS can_createrole,
  rolcreatedb AS can_createdb, rolcanlogin AS can_login, rolreplication AS is_replication, rolconnlimit AS conn_limit,
  rolvaliduntil AS valid_until, rolbypassrls AS bypass_rls, rolconfig AS config, D.description
  FROM pg_catalog.pg_roles R LEFT JOIN pg_catalog.pg_shdescription D ON D.objoid = R.oid ORDER BY 2;
SELECT member AS id, roleid AS role_id, admin_option FROM pg_catalog.pg_auth_members ORDER BY id, roleid::text;
SELECT T.oid::bigint AS id, T.spcname AS name, pg_catalog.pg_get_userbyid(T.spcowner) AS "owner",
  pg_catalog.pg_tablespace_location(T.oid) AS location, T.spcoptions AS options, D.description AS comment
  FROM pg_catalog.pg_tablespace T LEFT JOIN pg_catalog.pg_shdescription D ON D.objoid = T.oid ORDER BY 1;
SELECT L.transactionid::varchar::bigint > 0 AS transaction_id FROM pg_catalog.pg_locks L WHERE L.transactionid IS NOT NULL
  ORDER BY pg_catalog.age(L.transactionid) DESC LIMIT 0;
SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE (pg_catalog.txid_current() % (2^32)::bigint)::varchar::bigint > 0 END AS current_txid;
SELECT N.oid::bigint AS id, N.nspname AS name, D.description, pg_catalog.pg_get_userbyid(N.nspowner) AS "owner"
  FROM pg_catalog.pg_namespace N LEFT JOIN pg_catalog.pg_description D ON N.oid = D.objoid
  ORDER BY CASE WHEN N.nspname = pg_catalog.current_schema() THEN -1::bigint ELSE N.oid::bigint END;
SELECT lanname, lanpltrusted, lanplcallfoid::regproc FROM pg_catalog.pg_language ORDER BY 1;
SELECT E.oid AS id, E.extname AS name, E.extversion AS version, E.extnamespace AS schema_id, N.nspname AS schema_name,
  array(SELECT unnest FROM unnest(available_versions) WHERE unnest > extversion) AS available_updates
  FROM pg_catalog.pg_extension E JOIN pg_catalog.pg_namespace N ON E.extnamespace = N.oid
  LEFT JOIN (SELECT name, array_agg(version) AS available_versions FROM pg_catalog.pg_available_extension_versions() GROUP BY name) V
  ON E.extname = V.name ORDER BY 1;
SELECT A.oid AS access_method_id, A.amname AS access_method_name, A.amhandler::oid AS handler_id,
  pg_catalog.quote_ident(N.nspname) || '.' || pg_catalog.quote_ident(P.proname) AS handler_name, A.amtype AS access_method_type
  FROM pg_am A JOIN pg_proc P ON A.amhandler::oid = P.oid JOIN pg_namespace N ON P.pronamespace = N.oid ORDER BY 1;
SELECT C.oid, C.castsource AS castsource_id, pg_catalog.quote_ident(SN.nspname) || '.' || pg_catalog.quote_ident(S.typname) AS castsource_name,
  C.casttarget AS casttarget_id, C.castfunc AS castfunc_id, C.castcontext, C.castmethod
  FROM pg_cast C LEFT JOIN pg_type S ON C.castsource = S.oid LEFT JOIN pg_namespace SN ON S.typnamespace = SN.oid ORDER BY 1;

-- $1 = oid:schema shop
WITH T AS (
  SELECT T.oid AS type_id, T.typname AS type_name, T.typtype AS type_sub_kind, T.typcategory AS type_category, T.typrelid AS class_id,
    T.typbasetype AS base_type_id, CASE WHEN T.typtype IN ('c', 'e') THEN NULL ELSE pg_catalog.format_type(T.typbasetype, T.typtypmod) END AS type_def,
    T.typndims AS dimensions_number, T.typdefault AS default_expression, T.typnotnull AS mandatory,
    pg_catalog.pg_get_userbyid(T.typowner) AS "owner"
  FROM pg_catalog.pg_type T LEFT OUTER JOIN pg_catalog.pg_class C ON T.typrelid = C.oid
  WHERE T.typnamespace = $1::oid AND (T.typtype IN ('d', 'e') OR C.relkind = 'c'::"char" OR (T.typtype = 'b' AND (T.typelem = 0 OR T.typcategory <> 'A')) OR T.typtype = 'p')
)
SELECT * FROM T ORDER BY 1;

-- $1 = oid:schema shop
SELECT T.relkind AS table_kind, T.relname AS table_name, T.oid AS table_id, T.reltablespace AS tablespace_id, T.reloptions AS options,
  T.relpersistence AS persistence, (SELECT pg_catalog.array_agg(inhparent::bigint ORDER BY inhseqno)::varchar FROM pg_catalog.pg_inherits WHERE T.oid = inhrelid) AS ancestors,
  (SELECT pg_catalog.array_agg(inhrelid::bigint ORDER BY inhrelid)::varchar FROM pg_catalog.pg_inherits WHERE T.oid = inhparent) AS successors,
  T.relispartition AS is_partition, pg_catalog.pg_get_partkeydef(T.oid) AS partition_key,
  pg_catalog.pg_get_expr(T.relpartbound, T.oid) AS partition_expression, T.relam AS am_id, pg_catalog.pg_get_userbyid(T.relowner) AS "owner"
  FROM pg_catalog.pg_class T WHERE relnamespace = $1::oid AND relkind IN ('r', 'm', 'v', 'f', 'p') ORDER BY table_kind, table_id;

-- $1 = oid:schema shop
WITH schema_procs AS (
  SELECT prorettype, proargtypes, proallargtypes FROM pg_catalog.pg_proc WHERE pronamespace = $1::oid
), schema_arg_types AS (
  SELECT prorettype AS type_id FROM schema_procs UNION SELECT DISTINCT unnest(proargtypes) FROM schema_procs
  UNION SELECT DISTINCT unnest(proallargtypes) FROM schema_procs
)
SELECT type_id, pg_catalog.format_type(type_id, NULL) AS type_spec FROM schema_arg_types WHERE type_id <> 0 ORDER BY 1;

-- $1 = oid:schema shop
WITH languages AS (SELECT oid AS lang_oid, lanname AS lang FROM pg_catalog.pg_language),
routines AS (
  SELECT proname AS r_name, prolang AS lang_oid, oid AS r_id, proargnames AS arg_names, proargmodes AS arg_modes, proargtypes::int[] AS in_arg_types,
    proallargtypes::int[] AS all_arg_types, pg_catalog.pg_get_expr(proargdefaults, 0) AS arg_defaults, provariadic AS arg_variadic_id,
    prorettype AS ret_type_id, proretset AS ret_set, prokind AS kind, provolatile AS volatile_kind, proisstrict AS is_strict,
    prosecdef AS is_security_definer, proconfig AS configuration_parameters, procost AS cost, pg_catalog.pg_get_userbyid(proowner) AS "owner", prorows AS rows
  FROM pg_catalog.pg_proc WHERE pronamespace = $1::oid AND prokind <> 'a'
)
SELECT * FROM routines NATURAL JOIN languages ORDER BY r_id;

-- $1 = oid:schema shop
SELECT R.ev_class AS table_id, R.oid AS rule_id, R.rulename AS rule_name, pg_catalog.translate(ev_type, '1234', 'SUID') AS rule_event_code,
  R.ev_enabled AS rule_fire_mode, R.is_instead AS rule_is_instead
  FROM pg_catalog.pg_rewrite R WHERE R.ev_class IN (SELECT oid FROM pg_catalog.pg_class WHERE relnamespace = $1::oid) AND R.rulename <> '_RETURN' ORDER BY 1, 2;

-- $1 = oid:schema shop
WITH T AS (
  SELECT DISTINCT T.oid AS table_id, T.relname AS table_name FROM pg_catalog.pg_class T, pg_catalog.pg_attribute A
  WHERE T.relnamespace = $1::oid AND T.relkind IN ('r', 'm', 'v', 'f', 'p') AND A.attrelid = T.oid
)
SELECT T.table_id, C.attnum AS column_position, C.attname AS column_name, C.atttypmod AS type_mod, C.attndims AS dimensions_number,
  pg_catalog.format_type(C.atttypid, C.atttypmod) AS type_spec, C.atttypid AS type_id, C.attnotnull AS mandatory,
  pg_catalog.pg_get_expr(D.adbin, T.table_id) AS column_default_expression, NOT C.attislocal AS column_is_inherited, C.attfdwoptions AS options,
  C.attisdropped AS column_is_dropped, C.attidentity AS identity_kind, C.attgenerated AS generated
  FROM T JOIN pg_catalog.pg_attribute C ON T.table_id = C.attrelid
  LEFT JOIN pg_catalog.pg_attrdef D ON (C.attrelid, C.attnum) = (D.adrelid, D.adnum)
  WHERE attnum > 0 ORDER BY table_id, attnum;

-- $1 = oid:schema shop
SELECT tab.oid AS table_id, tab.relkind AS table_kind, ind_stor.relname AS index_name, ind_head.indexrelid AS index_id, ind_stor.relam,
  ind_head.indisunique AS is_unique, ind_head.indisprimary AS is_primary, pg_catalog.pg_get_expr(ind_head.indpred, ind_head.indrelid) AS condition,
  (SELECT pg_catalog.array_agg(inhparent::bigint ORDER BY inhseqno)::varchar FROM pg_catalog.pg_inherits WHERE ind_stor.oid = inhrelid) AS ancestors,
  opcmethod AS access_method_id
  FROM pg_catalog.pg_class tab JOIN pg_catalog.pg_index ind_head ON ind_head.indrelid = tab.oid
  JOIN pg_catalog.pg_class ind_stor ON tab.relnamespace = ind_stor.relnamespace AND ind_stor.oid = ind_head.indexrelid
  LEFT JOIN pg_catalog.pg_opclass ON pg_opclass.oid = ANY (indclass)
  WHERE tab.relnamespace = $1::oid AND tab.relkind IN ('r', 'm', 'v', 'p') AND ind_stor.relkind IN ('i', 'I') ORDER BY 1, 4, 10;

-- $1 = oid:schema shop
SELECT ind_head.indexrelid AS index_id, k AS col_idx, k <= indnkeyatts AS in_key, ind_head.indkey[k - 1] AS column_position,
  ind_head.indoption[k - 1] AS column_options, ind_head.indcollation[k - 1] AS collation, colln.nspname AS collation_schema,
  CASE WHEN collname <> 'default' THEN collname END AS collation_str, ind_head.indclass[k - 1] AS opclass, CASE WHEN opcdefault THEN NULL ELSE opcn.nspname END AS opclass_schema,
  opcname AS opclass_str, CASE WHEN indexprs IS NULL THEN NULL WHEN ind_head.indkey[k - 1] = 0 THEN chr(27) || pg_catalog.pg_get_indexdef(ind_head.indexrelid, k::int, true) END AS expression,
  amcanorder AS can_order
  FROM (SELECT *, pg_catalog.generate_series(1, array_length(indkey, 1) + 0) AS k FROM pg_catalog.pg_index) ind_head
  JOIN pg_catalog.pg_class ind_stor ON ind_stor.oid = ind_head.indexrelid
  LEFT JOIN pg_catalog.pg_collation coll ON ind_head.indcollation[k - 1] = coll.oid
  LEFT JOIN pg_catalog.pg_namespace colln ON coll.collnamespace = colln.oid
  CROSS JOIN LATERAL (SELECT opcname, opcdefault, opcnamespace, opcmethod FROM pg_catalog.pg_opclass WHERE oid = ind_head.indclass[k - 1]) opc
  LEFT JOIN pg_catalog.pg_namespace opcn ON opc.opcnamespace = opcn.oid
  JOIN (SELECT oid AS am, pg_catalog.pg_indexam_has_property(oid, 'can_order') AS amcanorder FROM pg_catalog.pg_am) am ON am.am = opcmethod
  WHERE ind_stor.relnamespace = $1::oid ORDER BY index_id, k;

-- $1 = oid:schema shop
SELECT T.oid AS table_id, relkind AS table_kind, C.oid AS con_id, conname AS con_name, contype AS con_kind, conkey AS con_columns,
  conindid AS index_id, confrelid AS ref_table_id, condeferrable AS is_deferrable, condeferred AS is_init_deferred, confupdtype AS on_update,
  confdeltype AS on_delete, connoinherit AS no_inherit, pg_catalog.pg_get_expr(conbin, T.oid) AS con_expression, confkey AS ref_columns,
  conexclop::int[] AS excl_operators, array(SELECT unnest::regoper::varchar FROM unnest(conexclop)) AS excl_operators_str
  FROM pg_catalog.pg_constraint C JOIN pg_catalog.pg_class T ON C.conrelid = T.oid
  WHERE relkind IN ('r', 'v', 'f', 'p') AND relnamespace = $1::oid AND contype IN ('p', 'u', 'f', 'c', 'x') AND connamespace = $1::oid ORDER BY con_id;

-- $1 = oid:schema shop
SELECT T.oid AS trigger_id, T.tgrelid AS table_id, T.tgname AS trigger_name, T.tgfoid AS function_id, pg_catalog.encode(T.tgargs, 'escape') AS function_args,
  T.tgtype AS bits, T.tgdeferrable AS is_deferrable, T.tginitdeferred AS is_init_deferred, T.tgenabled AS trigger_fire_mode, T.tgattr AS columns,
  T.tgconstraint <> 0 AS is_constraint, T.tgoldtable AS old_table_name, T.tgnewtable AS new_table_name, pg_catalog.pg_get_triggerdef(T.oid, true) AS source_code
  FROM pg_catalog.pg_trigger T WHERE T.tgrelid IN (SELECT oid FROM pg_catalog.pg_class WHERE relnamespace = $1::oid) AND NOT T.tgisinternal ORDER BY 1;

-- $1 = oid:schema shop
SELECT D.objoid AS id, C.relkind AS kind, D.objsubid AS sub_id, D.description
  FROM pg_catalog.pg_description D JOIN pg_catalog.pg_class C ON D.objoid = C.oid
  WHERE C.relnamespace = $1::oid AND C.relkind IN ('r', 'm', 'v', 'f', 'p', 'i', 'S') ORDER BY 1, 3;

-- $1 = oid:schema shop
SELECT T.relkind AS view_kind, T.oid AS view_id, pg_catalog.pg_get_viewdef(T.oid, true) AS source_text
  FROM pg_catalog.pg_class T JOIN pg_catalog.pg_namespace N ON T.relnamespace = N.oid
  WHERE N.oid = $1::oid AND T.relkind IN ('m', 'v') ORDER BY 2;

-- $1 = oid:schema shop
SELECT oid AS id, pg_catalog.pg_get_function_arguments(oid) AS arguments_def, pg_catalog.pg_get_function_result(oid) AS result_def,
  pg_catalog.pg_get_function_sqlbody(oid) AS sqlbody_def, prosrc AS source_text
  FROM pg_catalog.pg_proc WHERE pronamespace = $1::oid AND prokind <> 'a' AND proname <> 'touch' ORDER BY 1;

-- $1 = oid:schema shop
SELECT P.oid AS id, P.polname AS policyname, P.polpermissive AS permissive, P.polroles::bigint[] AS roles, P.polcmd AS cmd, P.polrelid AS table_id,
  pg_catalog.pg_get_expr(polqual, polrelid) AS qual, pg_catalog.pg_get_expr(polwithcheck, polrelid) AS with_check
  FROM pg_catalog.pg_policy P JOIN pg_catalog.pg_class C ON polrelid = C.oid WHERE C.relnamespace = $1::oid ORDER BY 1;

-- $1 = oid:schema shop
SELECT S.oid AS sequence_id, S.relname, Q.seqstart AS start_value, Q.seqincrement AS inc_value, Q.seqmin AS min_value, Q.seqmax AS max_value,
  Q.seqcache AS cache_size, Q.seqcycle AS cycle_option, pg_catalog.format_type(Q.seqtypid, NULL) AS data_type
  FROM pg_catalog.pg_sequence Q JOIN pg_catalog.pg_class S ON S.oid = Q.seqrelid WHERE S.relnamespace = $1::oid ORDER BY 1;
SELECT T.oid AS object_id, T.relacl AS acl FROM pg_catalog.pg_class T JOIN pg_catalog.pg_namespace N ON T.relnamespace = N.oid
  WHERE N.nspname = 'shop' AND relacl IS NOT NULL ORDER BY 1;
SHOW search_path;
SET search_path = "shop";
SELECT t.* FROM shop.people t ORDER BY id LIMIT 501;
SELECT count(*) FROM shop.people;
SELECT t.*, CTID IS NOT NULL AS has_ctid FROM people t WHERE phone = '139****7919' OR phone = '13900007919';
SELECT 'keep alive';
