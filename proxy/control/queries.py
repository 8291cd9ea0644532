"""The SQL of the control connection, for PostgreSQL 13–18.

Each text runs after SESSION, in a transaction whose search_path is empty: operators and types can then only be those
of pg_catalog, and `format_type`, `pg_get_expr` and `pg_get_viewdef` qualify every name that is not. Relations and
functions are written with their schema all the same. Nothing here needs more than CONNECT: all of it is readable to
PUBLIC.
"""

from __future__ import annotations

SESSION = """
SELECT pg_catalog.set_config('search_path', '', true)
"""

COUNT_NOW = """
SELECT pg_catalog.pg_stat_force_next_flush()
"""
"""From PostgreSQL 15 on. Without it a session is among those of pg_stat_database up to ten seconds after it has begun."""

PEOPLE = """
SELECT t."{0}"::text, (pg_catalog.to_jsonb(t) - $1::text)::text FROM "{1}"."{2}" t WHERE t."{0}" IS NOT NULL
"""
"""The table of users that the policy names: login, all other columns."""

_LASTING = "n.nspname !~ '^pg_(temp_|toast)'"
_TEMPORARY = "(SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relpersistence = 't')"
_TEMP_SCHEMAS = "(SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname ~ '^pg_(temp_|toast)')"

SERVER = """
SELECT pg_catalog.current_setting('server_version_num')::int4, pg_catalog.current_database()::text,
       pg_catalog.getdatabaseencoding()::text
"""

BACKEND = """
SELECT pg_catalog.pg_backend_pid()
"""

ORIGIN = """
SELECT (SELECT p.system_identifier::text FROM pg_catalog.pg_control_system() p), d.oid::int8
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
"""
"""Which database this is: asked where a pooler may lead elsewhere."""

SCHEMAS = f"""
SELECT n.nspname::text, n.nspowner, n.nspacl::text FROM pg_catalog.pg_namespace n WHERE {_LASTING} ORDER BY 1
"""
"""Who may use a schema decides which schemas of a search_path count: a change of that has to be a new catalog version."""

EXTENSIONS = """
SELECT e.extname::text FROM pg_catalog.pg_extension e ORDER BY 1
"""

_RELATIONS = f"""
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, pg_catalog.pg_get_userbyid(c.relowner)::text,
       coalesce(c.reloptions, '{{}}')::text[], c.relrowsecurity, c.relispartition,
       CASE WHEN c.relacl IS NOT NULL AND c.relkind <> 'i' THEN ARRAY(
         SELECT CASE a.grantee WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END
         FROM pg_catalog.aclexplode(c.relacl) a WHERE a.privilege_type = 'SELECT' ORDER BY 1) END
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 't' AND {_LASTING} AND c.oid"""

SYSTEM_RELATIONS = f"{_RELATIONS} < 16384 ORDER BY c.oid"

RELATIONS = f"{_RELATIONS} >= 16384 ORDER BY c.oid"
"""All others; the same of INDEXES and TYPES."""

ATTRIBUTES = """
SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated <> '',
       l.collisdeterministic IS FALSE
FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

INHERITS = """
SELECT h.inhrelid, h.inhparent FROM pg_catalog.pg_inherits h ORDER BY h.inhrelid, h.inhseqno
"""

_INDEXES = f"""
SELECT i.indexrelid, i.indrelid, i.indisprimary, i.indisunique OR i.indisexclusion, i.indnkeyatts, i.indkey::int2[]
FROM pg_catalog.pg_index i
WHERE (i.indisunique OR i.indisexclusion) AND i.indrelid NOT IN {_TEMPORARY} AND i.indrelid"""

SYSTEM_INDEXES = f"{_INDEXES} < 16384 ORDER BY i.indexrelid"

INDEXES = f"{_INDEXES} >= 16384 ORDER BY i.indexrelid"

FOREIGN_KEYS = f"""
SELECT c.conrelid, c.conkey::int2[], c.confrelid, c.confkey::int2[] FROM pg_catalog.pg_constraint c
WHERE c.contype = 'f' AND c.conrelid NOT IN {_TEMPORARY}
ORDER BY c.oid
"""


def _columns_of(table: str, catalog: str, part: str, of: str = "0") -> str:
    """An array of the columns of a table that a part of another object depends on."""
    return (
        "ARRAY(SELECT d.refobjsubid::int2 FROM pg_catalog.pg_depend d "
        f"WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = {table} AND d.refobjsubid > 0 "
        f"AND d.classid = 'pg_catalog.{catalog}'::regclass AND d.objid = {part} AND d.objsubid = {of} ORDER BY 1)"
    )


CHECKED_TOGETHER = f"""
SELECT i.indrelid, i.indkey::int2[] || {_columns_of("i.indrelid", "pg_class", "i.indexrelid")}
FROM pg_catalog.pg_index i
WHERE (i.indisunique OR i.indisexclusion OR i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
  AND i.indrelid >= 16384 AND i.indrelid NOT IN {_TEMPORARY}
UNION
SELECT k.conrelid, k.conkey::int2[] FROM pg_catalog.pg_constraint k
WHERE k.contype = 'c' AND k.conrelid <> 0 AND k.conkey IS NOT NULL AND k.conrelid NOT IN {_TEMPORARY}
UNION
SELECT p.polrelid, {_columns_of("p.polrelid", "pg_policy", "p.oid")}
FROM pg_catalog.pg_policy p
UNION
SELECT a.attrelid, a.attnum || {_columns_of("a.attrelid", "pg_attrdef", "x.oid")}
                            || {_columns_of("a.attrelid", "pg_class", "a.attrelid", "a.attnum")}
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_attrdef x ON x.adrelid = a.attrelid AND x.adnum = a.attnum
WHERE a.attgenerated <> '' AND a.attrelid NOT IN {_TEMPORARY}
ORDER BY 1, 2
"""
"""Columns that one constraint, index, policy or generation expression looks at."""

STORAGE = """
SELECT i.indrelid, i.indexrelid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid WHERE c.relispartition
UNION ALL
SELECT c.oid, c.reltoastrelid FROM pg_catalog.pg_class c WHERE c.relispartition AND c.reltoastrelid <> 0
ORDER BY 1, 2
"""

PARTITIONED = """
SELECT p.partrelid, p.partattrs::int2[] FROM pg_catalog.pg_partitioned_table p ORDER BY 1
"""

RULES = """
SELECT DISTINCT r.ev_class FROM pg_catalog.pg_rewrite r WHERE r.ev_type <> '1' ORDER BY 1
"""

VIEW_RULES = f"""
SELECT r.ev_class, r.oid, r.xmin::text FROM pg_catalog.pg_rewrite r
WHERE r.ev_type = '1' AND r.rulename = '_RETURN' AND r.ev_class NOT IN {_TEMPORARY}
ORDER BY 1
"""

VIEW_TEXTS = """
SELECT c.oid, pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::oid[]) ORDER BY 1
"""

VIEW_SOURCES = """
SELECT DISTINCT r.ev_class, d.refobjid
FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d
  ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
WHERE r.ev_class = ANY ($1::oid[]) AND d.refclassid = 'pg_catalog.pg_class'::regclass
"""

DEFINITIONS = """
SELECT 'pg_attrdef', d.oid, d.adrelid, n.nspname::text, c.relname::text,
       pg_catalog.quote_ident(a.attname) || ' ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid),
       CASE WHEN a.attgenerated <> '' THEN d.adnum END, pg_catalog.pg_get_expr(d.adbin, d.adrelid)
FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_class c ON c.oid = d.adrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE d.adrelid = ANY ($1::oid[])
UNION ALL
SELECT 'pg_index', i.indexrelid, i.indrelid, n.nspname::text, c.relname::text, pg_catalog.concat_ws(
         ' ', pg_catalog.pg_get_expr(i.indexprs, i.indrelid), pg_catalog.pg_get_expr(i.indpred, i.indrelid)), NULL, NULL
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = ANY ($1::oid[]) AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
UNION ALL
SELECT 'pg_constraint', k.oid, k.conrelid, n.nspname::text, k.conname::text,
       pg_catalog.pg_get_expr(k.conbin, k.conrelid), NULL, NULL
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
WHERE k.conrelid = ANY ($1::oid[]) AND k.contype = 'c'
"""

STATISTICS_DEFINITIONS = """
SELECT 'pg_statistic_ext', s.oid, s.stxrelid, n.nspname::text, s.stxname::text,
       pg_catalog.pg_get_expr(s.stxexprs, s.stxrelid), NULL, NULL
FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
WHERE s.stxrelid = ANY ($1::oid[]) AND s.stxexprs IS NOT NULL
"""
"""From PostgreSQL 14 on; before, extended statistics have no expressions."""

_OWN_FUNCTIONS = """pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.oid >= 16384 AND n.nspname !~ '^pg_(temp_|toast)' AND l.lanname NOT IN ('c', 'internal') AND NOT EXISTS (
  SELECT FROM pg_catalog.pg_depend d
  WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')"""

TREES = f"""
SELECT 'pg_rewrite', r.oid, r.ev_class, n.nspname::text, r.rulename::text, pg_catalog.concat(r.ev_qual::text, r.ev_action::text)
FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE r.oid >= 16384 AND r.rulename <> '_RETURN' AND {_LASTING}
UNION ALL
SELECT 'pg_trigger', t.oid, t.tgrelid, n.nspname::text, t.tgname::text, t.tgqual::text
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgqual IS NOT NULL AND {_LASTING}
UNION ALL
SELECT 'pg_policy', p.oid, p.polrelid, n.nspname::text, p.polname::text, pg_catalog.concat(p.polqual::text, p.polwithcheck::text)
FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 'pg_class', c.oid, c.oid, n.nspname::text, c.relname::text, c.relpartbound::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpartbound IS NOT NULL AND {_LASTING}
UNION ALL
SELECT 'pg_partitioned_table', p.partrelid, p.partrelid, n.nspname::text, c.relname::text, p.partexprs::text
FROM pg_catalog.pg_partitioned_table p JOIN pg_catalog.pg_class c ON c.oid = p.partrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE p.partexprs IS NOT NULL
UNION ALL
SELECT 'pg_type', t.oid, 0::oid, n.nspname::text, t.typname::text, t.typdefaultbin::text
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.oid >= 16384 AND t.typdefaultbin IS NOT NULL AND {_LASTING}
UNION ALL
SELECT 'pg_proc_arguments', p.oid, 0::oid, n.nspname::text, p.proname || '_' || p.oid, p.proargdefaults::text
FROM {_OWN_FUNCTIONS} AND p.proargdefaults IS NOT NULL
ORDER BY 1, 2
"""
"""Definitions as parse trees: reading these waits for no lock, other than having the server print them. A view's is its text."""

SQL_BODIES = f"""
SELECT 'pg_proc', p.oid, 0::oid, n.nspname::text, p.proname || '_' || p.oid, p.prosqlbody::text
FROM {_OWN_FUNCTIONS} AND p.prosqlbody IS NOT NULL
ORDER BY 2
"""
"""From PostgreSQL 14 on."""

PUBLICATION_FILTERS = """
SELECT 'pg_publication_rel', p.oid, p.prrelid, n.nspname::text, c.relname::text, p.prqual::text
FROM pg_catalog.pg_publication_rel p JOIN pg_catalog.pg_class c ON c.oid = p.prrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE p.prqual IS NOT NULL
ORDER BY 2
"""
"""From PostgreSQL 15 on."""

BODIES = f"""
SELECT p.oid, n.nspname::text, p.proname || '_' || p.oid, p.prosrc FROM {_OWN_FUNCTIONS} ORDER BY 1
"""

TRIGGERS = f"""
SELECT t.oid, t.tgrelid, n.nspname::text, t.tgname::text, t.tgqual IS NOT NULL, pg_catalog.encode(t.tgargs, 'escape')
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE (t.tgqual IS NOT NULL OR t.tgnargs > 0) AND NOT t.tgisinternal AND {_LASTING}
ORDER BY 1
"""

SETS_OFF = f"""
SELECT t.tgrelid, t.tgfoid FROM pg_catalog.pg_trigger t
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgrelid NOT IN {_TEMPORARY}
UNION
SELECT x.relation, d.refobjid
FROM (SELECT 'pg_catalog.pg_attrdef'::regclass, a.oid, a.adrelid FROM pg_catalog.pg_attrdef a
      UNION ALL
      SELECT 'pg_catalog.pg_constraint'::regclass, k.oid, k.conrelid FROM pg_catalog.pg_constraint k WHERE k.conrelid <> 0
      UNION ALL
      SELECT 'pg_catalog.pg_class'::regclass, i.indexrelid, i.indrelid FROM pg_catalog.pg_index i) x (catalog, object, relation)
     JOIN pg_catalog.pg_depend d ON d.classid = x.catalog AND d.objid = x.object
WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass AND d.refobjid >= 16384 AND x.relation NOT IN {_TEMPORARY}
ORDER BY 1, 2
"""
"""Functions that may run when a row is written."""

DOMAIN_CHECKS = """
SELECT k.oid, k.contypid, pg_catalog.pg_get_expr(k.conbin, 0), ARRAY(
         SELECT CASE d.refclassid WHEN 'pg_catalog.pg_proc'::regclass THEN d.refobjid ELSE o.oprcode::oid END
         FROM pg_catalog.pg_depend d LEFT JOIN pg_catalog.pg_operator o
           ON d.refclassid = 'pg_catalog.pg_operator'::regclass AND o.oid = d.refobjid
         WHERE d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = k.oid
           AND d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass) ORDER BY 1),
       n.nspname::text, k.conname::text
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
WHERE k.contypid <> 0 AND k.contype = 'c' ORDER BY 1
"""

COMMENTS = """
SELECT d.objoid, d.classoid = 'pg_catalog.pg_class'::regclass, d.description
FROM pg_catalog.pg_description d WHERE d.objoid >= 16384 ORDER BY d.objoid, d.classoid, d.objsubid
"""

_TYPES = f"""
SELECT t.oid, n.nspname::text, t.typname::text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname),
       t.typtype::text, t.typcategory::text, t.typelem, t.typarray, t.typbasetype,
       t.typtypmod, t.typnotnull, t.typrelid, {_LASTING}
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.oid"""

SYSTEM_TYPES = f"{_TYPES} < 16384 ORDER BY t.oid"

TYPES = f"{_TYPES} >= 16384 ORDER BY t.oid"

FORMATTED_TYPES = """
SELECT p.t, p.m, pg_catalog.format_type(p.t, p.m)
FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::int4[])) p (t, m)
"""

_FUNCTIONS = f"""
SELECT p.oid, n.nspname::text, p.proname::text, p.prokind::text, p.provolatile::text, (
         SELECT e.extname::text FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
         WHERE p.oid >= 16384 AND d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
           AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'),
       l.lanname::text, p.prosecdef, p.proconfig::text[],
       CASE WHEN p.oid >= 16384 AND l.lanname <> 'c' THEN p.prosrc END,
       CASE WHEN p.oid >= 16384 THEN p.prorettype || p.proargtypes::oid[] || coalesce(p.proallargtypes, '{{}}') END,
       CASE WHEN p.prokind = 'a' AND p.oid >= 16384 THEN (
         SELECT ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn,
                      a.aggmfinalfn]::oid[]
         FROM pg_catalog.pg_aggregate a WHERE a.aggfnoid = p.oid) END,
       p.pronargs, p.pronargdefaults, p.provariadic <> 0,
       CASE WHEN p.oid >= 16384 AND p.pronargdefaults > 0 THEN pg_catalog.pg_get_expr(p.proargdefaults, 0) END
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE {_LASTING} AND p.oid"""

SYSTEM_FUNCTIONS = f"{_FUNCTIONS} < 16384 ORDER BY p.oid"

FUNCTIONS = f"{_FUNCTIONS} >= 16384 ORDER BY p.oid"

STANDARD_BODIES = """
SELECT p.oid, pg_catalog.pg_get_function_sqlbody(p.oid)
FROM pg_catalog.pg_proc p WHERE p.oid = ANY ($1::oid[]) AND p.prosqlbody IS NOT NULL ORDER BY 1
"""
"""From PostgreSQL 14 on; before, there is no such thing."""

OPERATORS = f"""
SELECT n.nspname::text, o.oprname::text, o.oprcode::oid, ARRAY[o.oprleft, o.oprright, o.oprresult]
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE n.nspname <> 'pg_catalog' AND {_LASTING}
ORDER BY o.oid
"""

CASTS = """
SELECT k.castsource, k.casttarget, k.castfunc, k.castcontext::text
FROM pg_catalog.pg_cast k WHERE k.oid >= 16384 AND k.castfunc <> 0 ORDER BY k.oid
"""

ROLES = """
SELECT r.oid, r.rolname::text, r.rolsuper, r.rolreplication, r.rolcanlogin, r.rolbypassrls
FROM pg_catalog.pg_roles r ORDER BY r.oid
"""

MEMBERSHIPS = """
SELECT m.member, m.roleid FROM pg_catalog.pg_auth_members m
UNION
SELECT d.datdba, r.oid FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
WHERE d.datname = pg_catalog.current_database() AND r.rolname = 'pg_database_owner'
ORDER BY 1, 2
"""

SEARCH_PATHS = """
SELECT pg_catalog.pg_get_userbyid(s.setrole)::text, s.setrole = 0, d.datname::text,
       pg_catalog.substr(c.setting, pg_catalog.length('search_path=') + 1)
FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
     CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) c (setting)
WHERE c.setting LIKE 'search\\_path=%' AND (s.setdatabase = 0 OR d.datname = pg_catalog.current_database())
ORDER BY 1, 2, 3
"""

_STAMPED = (
    ("pg_namespace", "oid", ""),
    ("pg_class", "oid", "x.relpersistence <> 't' AND x.relkind <> 't' AND x.oid < 16384"),
    ("pg_class", "oid", "x.relpersistence <> 't' AND x.relkind <> 't' AND x.oid >= 16384"),
    ("pg_attribute", "attrelid, attnum", "x.attnum > 0 AND x.attrelid < 16384"),
    ("pg_attribute", "attrelid, attnum", f"x.attnum > 0 AND x.attrelid >= 16384 AND x.attrelid NOT IN {_TEMPORARY}"),
    ("pg_type", "oid", "x.oid < 16384"),
    ("pg_type", "oid", f"x.oid >= 16384 AND x.typnamespace NOT IN {_TEMP_SCHEMAS}"),
    ("pg_proc", "oid", "x.oid < 16384"),
    ("pg_proc", "oid", f"x.oid >= 16384 AND x.pronamespace NOT IN {_TEMP_SCHEMAS}"),
    ("pg_language", "oid", ""),
    ("pg_inherits", "inhrelid, inhparent", f"x.inhrelid NOT IN {_TEMPORARY}"),
    ("pg_partitioned_table", "partrelid", ""),
    ("pg_rewrite", "oid", f"x.ev_class NOT IN {_TEMPORARY}"),
    ("pg_constraint", "oid", f"x.connamespace NOT IN {_TEMP_SCHEMAS}"),
    ("pg_attrdef", "oid", f"x.adrelid NOT IN {_TEMPORARY}"),
    ("pg_index", "indexrelid", "x.indrelid < 16384"),
    ("pg_index", "indexrelid", f"x.indrelid >= 16384 AND x.indrelid NOT IN {_TEMPORARY}"),
    ("pg_statistic_ext", "oid", ""),
    ("pg_policy", "oid", ""),
    ("pg_publication_rel", "oid", ""),
    ("pg_trigger", "oid", f"x.tgrelid NOT IN {_TEMPORARY}"),
    ("pg_description", "objoid, classoid, objsubid", f"x.objoid >= 16384 AND x.objoid NOT IN {_TEMPORARY}"),
    ("pg_operator", "oid", ""),
    ("pg_cast", "oid", ""),
    ("pg_extension", "oid", ""),
    (
        "pg_depend",
        "classid, objid",
        "x.refclassid = 'pg_catalog.pg_extension'::regclass AND x.deptype = 'e' AND x.objid >= 16384",
    ),
)


def _row_hash(table: str, key: str, where: str) -> str:
    """Sum of a 64-bit hash of (key, xmin) over the rows: any committed insert, update or delete changes it."""
    seed = " # ".join(f"(x.{column.strip()}::int8 << {32 >> i})" for i, column in enumerate(key.split(",")))
    return (
        f"(SELECT coalesce(pg_catalog.sum(pg_catalog.hashtextextended(x.xmin::text, {seed})), 0)::text "
        f"FROM pg_catalog.{table} x{' WHERE ' + where if where else ''})"
    )


STAMP_PARTS = tuple(f"builtin {table}" if "< 16384" in where else table for table, _, where in _STAMPED)
"""What the parts of CATALOG_STAMP are about, in its order: builtin rows, which hardly ever change, have parts of their own."""

CATALOG_STAMP = "pg_catalog.concat_ws(','," + ",\n".join(_row_hash(*table) for table in _STAMPED) + ")"

ROLES_STAMP = """pg_catalog.concat_ws(',',
  (SELECT pg_catalog.sum(pg_catalog.hashtextextended(
     pg_catalog.concat_ws(':', r.oid, r.rolname, r.rolsuper, r.rolreplication, r.rolcanlogin, r.rolbypassrls), 0))::text
   FROM pg_catalog.pg_roles r),
  (SELECT pg_catalog.sum(pg_catalog.hashtextextended(
     m.member::text || ':' || m.roleid::text || ':' || m.xmin::text, 0))::text
   FROM pg_catalog.pg_auth_members m),
  (SELECT pg_catalog.sum(pg_catalog.hashtextextended(
     s.setrole::text || ':' || s.setdatabase::text || ':' || s.xmin::text, 0))::text
   FROM pg_catalog.pg_db_role_setting s),
  (SELECT d.datdba::text FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))"""

DATABASES = "SELECT d.datname::text FROM pg_catalog.pg_database d WHERE d.datallowconn ORDER BY d.datname"

SNAPSHOT = "SELECT CAST(pg_catalog.pg_current_snapshot() AS pg_catalog.text)"
"""As long as it stays the same, no transaction has ended, and nothing can have changed. Far cheaper than STAMP."""

STAMP = f"SELECT pg_catalog.pg_current_snapshot()::text, {CATALOG_STAMP}, {ROLES_STAMP}"
"""The snapshot it was taken in, and what changes whenever the catalog or the roles do."""
