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

_LASTING = "n.nspname !~ '^pg_(temp_|toast)'"
_TEMPORARY = "(SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relpersistence = 't')"
_TEMP_SCHEMAS = "(SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname ~ '^pg_(temp_|toast)')"

SERVER = """
SELECT pg_catalog.current_setting('server_version_num')::int4, pg_catalog.current_database()::text,
       pg_catalog.getdatabaseencoding()::text
"""

SCHEMAS = f"""
SELECT n.nspname::text, n.nspowner, n.nspacl::text FROM pg_catalog.pg_namespace n WHERE {_LASTING} ORDER BY 1
"""
"""Who may use a schema decides which schemas of a search_path count: a change of that has to be a new catalog version."""

EXTENSIONS = """
SELECT e.extname::text FROM pg_catalog.pg_extension e ORDER BY 1
"""

RELATIONS = f"""
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, pg_catalog.pg_get_userbyid(c.relowner)::text,
       coalesce(c.reloptions, '{{}}')::text[], c.relrowsecurity,
       CASE WHEN c.relacl IS NOT NULL AND c.relkind <> 'i' THEN ARRAY(
         SELECT CASE a.grantee WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END
         FROM pg_catalog.aclexplode(c.relacl) a WHERE a.privilege_type = 'SELECT' ORDER BY 1) END
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 't' AND {_LASTING}
ORDER BY c.oid
"""

ATTRIBUTES = """
SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated <> ''
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

INHERITS = """
SELECT h.inhrelid, h.inhparent FROM pg_catalog.pg_inherits h ORDER BY h.inhrelid, h.inhseqno
"""

INDEXES = f"""
SELECT i.indexrelid, i.indrelid, i.indisprimary, i.indisunique OR i.indisexclusion, i.indnkeyatts, i.indkey::int2[]
FROM pg_catalog.pg_index i
WHERE (i.indisunique OR i.indisexclusion) AND i.indrelid NOT IN {_TEMPORARY}
ORDER BY i.indexrelid
"""

FOREIGN_KEYS = f"""
SELECT c.conrelid, c.conkey::int2[] FROM pg_catalog.pg_constraint c
WHERE c.contype = 'f' AND c.conrelid NOT IN {_TEMPORARY}
ORDER BY c.oid
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
SELECT 'pg_attrdef', d.oid, d.adrelid, pg_catalog.pg_get_expr(d.adbin, d.adrelid)
FROM pg_catalog.pg_attrdef d WHERE d.adrelid = ANY ($1::oid[])
UNION ALL
SELECT 'pg_index', i.indexrelid, i.indrelid, pg_catalog.concat_ws(
         ' ', pg_catalog.pg_get_expr(i.indexprs, i.indrelid), pg_catalog.pg_get_expr(i.indpred, i.indrelid))
FROM pg_catalog.pg_index i
WHERE i.indrelid = ANY ($1::oid[]) AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
UNION ALL
SELECT 'pg_constraint', k.oid, k.conrelid, pg_catalog.pg_get_expr(k.conbin, k.conrelid)
FROM pg_catalog.pg_constraint k WHERE k.conrelid = ANY ($1::oid[]) AND k.contype = 'c'
"""

STATISTICS_DEFINITIONS = """
SELECT 'pg_statistic_ext', s.oid, s.stxrelid, pg_catalog.pg_get_expr(s.stxexprs, s.stxrelid)
FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = ANY ($1::oid[]) AND s.stxexprs IS NOT NULL
"""
"""From PostgreSQL 14 on; before, extended statistics have no expressions."""

DOMAIN_CHECKS = """
SELECT k.oid, k.contypid, pg_catalog.pg_get_expr(k.conbin, 0), ARRAY(
         SELECT CASE d.refclassid WHEN 'pg_catalog.pg_proc'::regclass THEN d.refobjid ELSE o.oprcode::oid END
         FROM pg_catalog.pg_depend d LEFT JOIN pg_catalog.pg_operator o
           ON d.refclassid = 'pg_catalog.pg_operator'::regclass AND o.oid = d.refobjid
         WHERE d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = k.oid
           AND d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass) ORDER BY 1)
FROM pg_catalog.pg_constraint k WHERE k.contypid <> 0 AND k.contype = 'c' ORDER BY 1
"""

COMMENTS = """
SELECT d.objoid, d.classoid = 'pg_catalog.pg_class'::regclass, d.description
FROM pg_catalog.pg_description d WHERE d.objoid >= 16384 ORDER BY d.objoid, d.classoid, d.objsubid
"""

TYPES = f"""
SELECT t.oid, n.nspname::text, t.typname::text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname),
       t.typtype::text, t.typcategory::text, t.typelem, t.typarray, t.typbasetype,
       t.typtypmod, t.typnotnull, t.typrelid, {_LASTING}
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
ORDER BY t.oid
"""

FORMATTED_TYPES = """
SELECT p.t, p.m, pg_catalog.format_type(p.t, p.m)
FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::int4[])) p (t, m)
"""

FUNCTIONS = f"""
SELECT p.oid, n.nspname::text, p.proname::text, p.prokind::text, p.provolatile::text, (
         SELECT e.extname::text FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
         WHERE p.oid >= 16384 AND d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
           AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e')
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE {_LASTING}
ORDER BY p.oid
"""

OPERATORS = f"""
SELECT n.nspname::text, o.oprname::text, o.oprcode::oid
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE n.nspname <> 'pg_catalog' AND {_LASTING}
ORDER BY o.oid
"""

CASTS = """
SELECT k.castsource, k.casttarget, k.castfunc, k.castcontext::text
FROM pg_catalog.pg_cast k WHERE k.castfunc >= 16384 ORDER BY k.oid
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
    ("pg_class", "oid", "x.relpersistence <> 't' AND x.relkind <> 't'"),
    ("pg_attribute", "attrelid, attnum", f"x.attnum > 0 AND x.attrelid NOT IN {_TEMPORARY}"),
    ("pg_type", "oid", f"x.typnamespace NOT IN {_TEMP_SCHEMAS}"),
    ("pg_proc", "oid", f"x.pronamespace NOT IN {_TEMP_SCHEMAS}"),
    ("pg_inherits", "inhrelid, inhparent", f"x.inhrelid NOT IN {_TEMPORARY}"),
    ("pg_partitioned_table", "partrelid", ""),
    ("pg_rewrite", "oid", f"x.ev_class NOT IN {_TEMPORARY}"),
    ("pg_constraint", "oid", f"x.connamespace NOT IN {_TEMP_SCHEMAS}"),
    ("pg_attrdef", "oid", f"x.adrelid NOT IN {_TEMPORARY}"),
    ("pg_index", "indexrelid", f"x.indrelid NOT IN {_TEMPORARY}"),
    ("pg_statistic_ext", "oid", ""),
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
        f"(SELECT pg_catalog.sum(pg_catalog.hashtextextended(x.xmin::text, {seed}))::text "
        f"FROM pg_catalog.{table} x{' WHERE ' + where if where else ''})"
    )


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

SNAPSHOT = "SELECT CAST(pg_catalog.pg_current_snapshot() AS pg_catalog.text)"
"""As long as it stays the same, no transaction has ended, and nothing can have changed. Far cheaper than STAMP."""

STAMP = f"SELECT pg_catalog.pg_current_snapshot()::text, {CATALOG_STAMP}, {ROLES_STAMP}"
"""The snapshot it was taken in, and what changes whenever the catalog or the roles do."""
