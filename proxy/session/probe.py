"""The question that pgveil asks on the session's own connection when it must know how names resolve right now.

Search path, temporary relations (views with their definitions, read under that very path), client_encoding and
standard_conforming_strings can change in ways that no text shows (a function with SET, ROLLBACK, set_config). They are
read at the very place in the stream where the answer is needed. The question names everything in full, runs as a named
statement and portal, and closes both: the client's unnamed ones stay as they are. It begins with a Close as well, because
a question that was cancelled has left its statement behind. The
answer is in hexadecimal digits: client_encoding may be among what has changed, and there are encodings that have none of
ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.attributes import PREFIX
from proxy.session.expect import BIND, CLOSE, EXECUTE, PARSE, SYNC, Expected
from proxy.wire import codec
from rewrite.catalog import Function
from rewrite.plan import Resolution, TempView

_TRANSACTION: Final = "(SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text::pg_catalog.int8 AS id OFFSET 0) t"


def _written(row: str) -> str:
    """SQL: the open transaction `t`, or one of its subtransactions, has written this row of a catalog."""
    xmin = f"{row}.xmin"
    return (
        f"CASE WHEN pg_catalog.age({xmin}) OPERATOR(pg_catalog.=) 0 THEN true "
        f"WHEN pg_catalog.age({xmin}) OPERATOR(pg_catalog.<) 0 AND pg_catalog.age({xmin}) OPERATOR(pg_catalog.>) -100000 "
        f"AND {xmin}::pg_catalog.text::pg_catalog.int8 OPERATOR(pg_catalog.>) (t.id OPERATOR(pg_catalog.&) 4294967295) "
        "THEN pg_catalog.pg_xact_status((t.id OPERATOR(pg_catalog.-) (t.id OPERATOR(pg_catalog.&) 4294967295) "
        f"OPERATOR(pg_catalog.+) {xmin}::pg_catalog.text::pg_catalog.int8)::pg_catalog.text::pg_catalog.xid8) "
        "OPERATOR(pg_catalog.=) 'in progress'::pg_catalog.text ELSE false END"
    )


NAME: Final = b"pgveil.probe"
_TEMPORARY: Final = (
    "pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid "
    "AND c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()"
)
"""SQL: the relation `c` is in the temporary schema. Where there is none the server looks at no relation."""
_NAMES: Final = (
    "SELECT pg_catalog.encode(pg_catalog.convert_to(pg_catalog.json_build_object("
    "'path', pg_catalog.current_schemas(true), 'setting', pg_catalog.current_setting('search_path'), "
    "'temp', (SELECT pg_catalog.json_object_agg(c.relname, c.oid::pg_catalog.text) FROM pg_catalog.pg_class c "
    f"WHERE {_TEMPORARY} "
    "AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r','p','v','m','f','S','i','I','c']::pg_catalog.\"char\"[])), "
    "'temp_schema', (SELECT n.nspname FROM pg_catalog.pg_namespace n "
    "WHERE n.oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()), "
)
_DONE: Final = (
    "'fresh', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(n.nspname, c.relname, c.oid::pg_catalog.text, c.relkind)) "
    f"FROM {_TRANSACTION}, pg_catalog.pg_class c, pg_catalog.pg_namespace n WHERE t.id IS NOT NULL "
    "AND n.oid OPERATOR(pg_catalog.=) c.relnamespace AND c.relpersistence OPERATOR(pg_catalog.<>) 't'::pg_catalog.\"char\" "
    "AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r','p','S','i','I','v','m','f']::pg_catalog.\"char\"[]) "
    f"AND {_written('c')}), "
    "'altered', (SELECT pg_catalog.json_agg(DISTINCT a.attrelid::pg_catalog.int8) "
    f"FROM {_TRANSACTION}, pg_catalog.pg_locks l, pg_catalog.pg_attribute a WHERE t.id IS NOT NULL "
    "AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() "
    "AND l.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock'::pg_catalog.text "
    f"AND a.attrelid OPERATOR(pg_catalog.=) l.relation AND {_written('a')}), "
    "'functions', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(p.oid::pg_catalog.text, n.nspname, p.proname, "
    "p.prokind, p.provolatile, (SELECT e.extname FROM pg_catalog.pg_depend d, pg_catalog.pg_extension e "
    "WHERE d.objid OPERATOR(pg_catalog.=) p.oid AND e.oid OPERATOR(pg_catalog.=) d.refobjid "
    "AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass "
    "AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass "
    "AND d.deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog.\"char\"), l.lanname, p.prosecdef, "
    "pg_catalog.to_json(p.proconfig), p.prosrc, "
    "pg_catalog.to_json((p.prorettype OPERATOR(pg_catalog.||) p.proargtypes::pg_catalog.oid[]) OPERATOR(pg_catalog.||) "
    "COALESCE(p.proallargtypes, '{}')), p.pronargs, p.pronargdefaults, "
    "p.provariadic OPERATOR(pg_catalog.<>) 0::pg_catalog.oid)) "
    f"FROM {_TRANSACTION}, pg_catalog.pg_proc p, pg_catalog.pg_namespace n, pg_catalog.pg_language l WHERE t.id IS NOT NULL "
    "AND n.oid OPERATOR(pg_catalog.=) p.pronamespace AND l.oid OPERATOR(pg_catalog.=) p.prolang "
    f"AND {_written('p')}), "
    "'made', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(n.nspname, y.typname)) "
    f"FROM {_TRANSACTION}, pg_catalog.pg_type y, pg_catalog.pg_namespace n WHERE t.id IS NOT NULL "
    "AND n.oid OPERATOR(pg_catalog.=) y.typnamespace "
    "AND y.typtype OPERATOR(pg_catalog.=) ANY (ARRAY['c','d','e','r','m']::pg_catalog.\"char\"[]) "
    f"AND {_written('y')}), "
    "'views', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(c.relname, pg_catalog.pg_get_viewdef(c.oid), "
    "(SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a "
    "WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped), "
    "pg_catalog.pg_get_userbyid(c.relowner) OPERATOR(pg_catalog.=) CURRENT_USER) ORDER BY c.relname) "
    f"FROM pg_catalog.pg_class c WHERE {_TEMPORARY} "
    "AND c.relkind OPERATOR(pg_catalog.=) 'v'::pg_catalog.\"char\"), "
    "'kin', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(h.inhrelid::pg_catalog.int8, h.inhparent::pg_catalog.int8)) "
    "FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) h.inhrelid "
    f"WHERE {_TEMPORARY}), "
    "'held', (SELECT pg_catalog.json_agg(k.name) FROM pg_catalog.pg_cursors k "
    "WHERE k.creation_time OPERATOR(pg_catalog.<) pg_catalog.transaction_timestamp()), "
)
"""What the session has done: in the open transaction, in the temporary schema, and the cursors that it holds."""
_READING: Final = (
    "'process', pg_catalog.pg_backend_pid(), "
    "'encoding', pg_catalog.current_setting('client_encoding'), "
    "'strings', pg_catalog.current_setting('standard_conforming_strings')"
    ")::pg_catalog.text, 'UTF8'), 'hex')"
)
TEXT: Final = _NAMES + _DONE + _READING
MAX_ANSWER: Final = 2 * 1024 * 1024

_ORIGIN: Final = (
    "'origin', pg_catalog.json_build_array("
    "(SELECT p.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() p), "
    "(SELECT d.oid::pg_catalog.text FROM pg_catalog.pg_database d "
    "WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())), "
    "'user', pg_catalog.json_build_array(SESSION_USER, CURRENT_USER), "
    "'nulls', pg_catalog.current_setting('transform_null_equals'), "
    "'types', pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid "
    "AND (EXISTS (SELECT 1 FROM pg_catalog.pg_type y WHERE y.typnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() "
    "AND y.typrelid OPERATOR(pg_catalog.=) 0::pg_catalog.oid AND y.typelem OPERATOR(pg_catalog.=) 0::pg_catalog.oid) "
    "OR EXISTS (SELECT 1 FROM pg_catalog.pg_proc p WHERE p.pronamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())), "
    "'creates', pg_catalog.current_schema(), "
)
"""Behind a pooler the question is also whether this is the server whose catalog we read, and what others have left."""
POOLED_TEXT: Final = _NAMES + _DONE + _ORIGIN + _READING
FIRST_TEXT: Final = _NAMES + _ORIGIN + _READING
"""In front of the first statement of a transaction there is nothing that the session has done."""


_ASSERTED: Final = (
    "'asserted', (SELECT pg_catalog.json_object_agg(n.name, pg_catalog.current_setting("
    f"'{PREFIX}'::pg_catalog.text OPERATOR(pg_catalog.||) n.name, true)) FROM pg_catalog.unnest(ARRAY[",
    "]::pg_catalog.text[]) AS n(name)), ",
)
_ANY_ASSERTED: Final = re.compile(r"'[a-z0-9_]+'(?:, '[a-z0-9_]+')*".join(map(re.escape, _ASSERTED)))
_QUESTIONS_MAX: Final = 256
_questions: Final[dict[tuple[str, tuple[str, ...]], bytes]] = {}


def question(in_batch: bool, pooled: bool, asserted: tuple[str, ...] = (), first: bool = False) -> bytes:
    """In an open batch it is followed by Flush, otherwise by a Sync of its own. `asserted`: settings veil.<name> to ask for.
    `first`: in its transaction, behind a pooler."""
    text = FIRST_TEXT if first else POOLED_TEXT if pooled else TEXT
    known = _questions.get((text, asserted))
    if known is None:
        if len(_questions) >= _QUESTIONS_MAX:
            _questions.clear()
        known = _questions[text, asserted] = _question(text, asserted)
    return known + (codec.FLUSH if in_batch else codec.SYNC)


def _question(text: str, asserted: tuple[str, ...]) -> bytes:
    if asserted:
        text = _asking(text, asserted)
    return b"".join(
        (
            codec.encode_close(codec.Target(ord("S"), NAME)),
            codec.encode_parse(codec.Parse(NAME, text.encode())),
            codec.encode_bind(codec.Bind(NAME, NAME)),
            codec.encode_execute(codec.Execute(NAME)),
            codec.encode_close(codec.Target(ord("P"), NAME)),
            codec.encode_close(codec.Target(ord("S"), NAME)),
        )
    )


def texts() -> tuple[str, ...]:
    """Every text that the question may have, with one name where it asks for asserted attributes."""
    plain = (TEXT, POOLED_TEXT, FIRST_TEXT)
    return plain + tuple(_asking(text, ("x",)) for text in plain)


def _asking(text: str, asserted: tuple[str, ...]) -> str:
    """`asserted`: names of the policy: small letters, digits and _."""
    names = ", ".join(f"'{name}'" for name in asserted)
    return text.replace("'strings', ", f"{_ASSERTED[0]}{names}{_ASSERTED[1]}'strings', ")


def is_question(name: bytes, text: str) -> bool:
    """Another pgveil in front of this one asks."""
    return name == NAME and _ANY_ASSERTED.sub("", text, count=1) in (TEXT, POOLED_TEXT, FIRST_TEXT)


@dataclass(frozen=True, slots=True)
class Answer:
    resolution: Resolution
    temporary: Mapping[str, int]
    """OIDs of the session's temporary relations by name."""
    kin: tuple[tuple[int, int], ...]
    """Inheritance among them, child and parent."""
    fresh: tuple[tuple[str, str, int, str], ...]
    """Schema, name, OID and kind of the relations whose pg_class row the open transaction has written."""
    altered: frozenset[int]
    """OIDs of the relations whose columns the open transaction has added, changed or dropped."""
    held: frozenset[str]
    """Cursors that are older than the open transaction."""
    process: int
    """The server's process number."""
    encoding: str
    standard_strings: bool
    origin: tuple[str, int] | None = None
    """System identifier and database OID. This and what follows is asked for behind a pooler only."""
    user: tuple[str, str] = ("", "")
    """SESSION_USER and CURRENT_USER."""
    nulls: bool = False
    """transform_null_equals is on."""
    types: bool = False
    """There are types or functions in the temporary schema."""
    creates: bool = False
    """A relation would be made in the temporary schema if its name says nothing."""
    asserted: tuple[tuple[str, str], ...] = ()
    """What the session says of its person, where it was asked."""


def expected(in_batch: bool, alone: bool) -> list[Expected]:
    """Entries for the replies of the question. `alone`: its error is nobody else's."""
    kinds = [CLOSE, PARSE, BIND, EXECUTE, CLOSE, CLOSE]
    if not in_batch:
        kinds.append(SYNC)
    out = []
    for kind in kinds:
        e = Expected(kind)
        e.swallow = e.probe = True
        e.alone = alone
        out.append(e)
    out[-1].last = True
    return out


def _names(setting: str) -> list[str]:
    names = [n.strip() for n in setting.split(",")]
    return [n[1:-1] if n[:1] == '"' else n.lower() for n in names]


def _creates_temporary(path: tuple[str, ...], setting: str) -> bool:
    """Whether pg_temp is the first schema that the setting names, of those that are there; pg_catalog may be in front unasked."""
    names = _names(setting)
    return "pg_temp" in names and next((s for s in path if s != "pg_catalog" or s in names), None) == "pg_temp"


def _path(schemas: list[str], setting: str) -> tuple[str, ...]:
    """The effective schemas; with `pg_temp` at its place in the setting also where there is no temporary schema yet.

    The first temporary relation makes the schema, and current_schemas() leaves out what does not exist.
    """
    names = _names(setting)
    if "pg_temp" in names and "pg_temp" not in schemas:
        behind = [schemas.index(n) for n in names[names.index("pg_temp") :] if n in schemas]
        schemas.insert(min(behind, default=len(schemas)), "pg_temp")
    return tuple(schemas)


def _function(row: list[Any]) -> Function:
    """A function that the open transaction has made. A SQL-standard body, which has no source text, stays unknown."""
    oid, schema, name, kind, volatility, extension, language, definer, settings, source, types = row[:11]
    most, defaults, variadic = row[11:]
    return Function(
        int(oid),
        str(schema),
        str(name),
        str(kind),
        str(volatility),
        extension,
        str(language),
        bool(definer),
        tuple(str(s) for s in settings or ()),
        str(source) if source and language != "c" else None,
        types=tuple(int(t) for t in types),
        arguments=int(most),
        defaults=int(defaults),
        variadic=bool(variadic),
    )


def read(messages: bytes) -> Answer | None:
    """The answer from the DataRow message the probe returned; None when it is not what we asked for."""
    try:
        length = int.from_bytes(messages[1:5], "big")
        if messages[:1] != b"D" or length + 1 != len(messages):
            return None
        (value,) = codec.decode_data_row(messages[5:])
        answer = json.loads(bytes.fromhex((value or b"").decode("ascii")))
        own = answer["temp_schema"]
        path = _path(["pg_temp" if name == own else str(name) for name in answer["path"]], str(answer.get("setting", "")))
        temp = {str(name): int(oid) for name, oid in (answer["temp"] or {}).items()}
        strings = answer["strings"] == "on"
        views = tuple(
            TempView(str(name), tuple(str(c) for c in columns or ()), str(sql), bool(own))
            for name, sql, columns, own in answer.get("views") or ()
        )
        kin = tuple((int(child), int(parent)) for child, parent in answer.get("kin") or ())
        resolution = Resolution(
            path,
            frozenset(temp),
            views=views,
            creates_temporary=_creates_temporary(path, str(answer.get("setting", ""))),
            temp_schema=str(own or ""),
            types=frozenset((str(s), str(n)) for s, n in answer.get("made") or ()),
            functions=tuple(_function(f) for f in answer.get("functions") or ()),
        )
        fresh = tuple((str(s), str(n), int(oid), str(kind)) for s, n, oid, kind in answer.get("fresh") or ())
        altered = frozenset(int(oid) for oid in answer.get("altered") or ())
        held = frozenset(str(name) for name in answer.get("held") or ())
        process = int(answer.get("process") or 0)
        asserted = tuple((str(k), str(v)) for k, v in sorted((answer.get("asserted") or {}).items()) if v)
        found = Answer(resolution, temp, kin, fresh, altered, held, process, str(answer["encoding"]), strings, asserted=asserted)
        if "origin" not in answer:
            return found
        (system, database), (user, role) = answer["origin"], answer["user"]
        return replace(
            found,
            origin=(str(system), int(database)),
            user=(str(user), str(role)),
            nulls=answer["nulls"] != "off",
            types=bool(answer["types"]),
            creates=own is not None and answer["creates"] == own,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
