"""What changes, and what a client may see of it afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from tests.change.wire import Wire

CLASSES = """\
version: 1
notice: false
classes:
  phone: {{ level: C2, mask: {{ keep: {{ first: {first}, last: {last} }} }} }}
columns:
  shop.people.phone: phone
  shop.extra.phone: phone
rules:
  - {{ name: staff, role: change_staff, columns: [class=phone], show: {staff} }}
  - {{ name: guests, role: change_guests, columns: [class=phone], show: mask }}
"""
MASK = CLASSES.format(first=3, last=4, staff="mask")
OTHER_MASK = CLASSES.format(first=1, last=1, staff="mask")
CLEAR = CLASSES.format(first=3, last=4, staff="clear")
DENY = CLASSES.format(first=3, last=4, staff="deny")

RAW = ("13812345678", "13987654321", "15011112222")
SHOWN = {
    MASK: ("138****5678", "139****4321", "150****2222"),
    OTHER_MASK: ("1*********8", "1*********1", "1*********2"),
    CLEAR: RAW,
    DENY: (),
}
LOGIN = "change_login"
ROLES = f"""\
CREATE ROLE change_staff; CREATE ROLE change_guests; CREATE ROLE change_other;
CREATE ROLE {LOGIN} LOGIN IN ROLE change_staff, change_other;
"""
PEOPLE = """\
CREATE TABLE {table} (id int PRIMARY KEY, name text, phone char(11));
INSERT INTO {table} VALUES (1, 'a', '13812345678'), (2, 'b', '13987654321'), (3, 'c', '15011112222');
GRANT SELECT ON {table} TO PUBLIC;
"""
VIEW = "CREATE OR REPLACE VIEW shop.contacts AS SELECT id, phone FROM shop.people; GRANT SELECT ON shop.contacts TO PUBLIC;\n"
WORLD = (
    f"DROP SCHEMA IF EXISTS shop CASCADE; DROP SCHEMA IF EXISTS other CASCADE; CREATE SCHEMA shop; CREATE SCHEMA other;\n"
    f"REVOKE change_staff FROM {LOGIN}; GRANT change_staff TO {LOGIN}; REVOKE change_guests FROM {LOGIN};\n"
    "GRANT USAGE ON SCHEMA shop, other TO PUBLIC;\n"
    + PEOPLE.format(table="shop.people")
    + PEOPLE.format(table="shop.extra")
    + "CREATE TABLE other.people (id int, name text, phone text); INSERT INTO other.people VALUES (1, 'a', 'other');\n"
    + "GRANT SELECT ON other.people TO PUBLIC;\n"
    + VIEW
)
QUERIES = {
    "columns": "SELECT id, phone FROM shop.people ORDER BY id",
    "star": "SELECT * FROM shop.people ORDER BY id",
    "computed": "SELECT upper(phone) AS phone, name FROM shop.people ORDER BY id",
    "view": "SELECT * FROM shop.contacts ORDER BY id",
    "path": "SELECT phone FROM people ORDER BY id",
    "other": "SELECT id, name FROM shop.people ORDER BY id",
}


@dataclass(frozen=True, slots=True)
class Change:
    """From policy `before` to policy `after`, or by `sql` of a superuser, or by `own` statement of the session itself."""

    name: str
    before: str = MASK
    after: str = ""
    sql: str = ""
    own: str = ""
    locks: bool = False
    """It waits for transactions that have the table open."""
    shown: tuple[str, ...] | None = None
    """Phones that may be seen afterwards, where that does not follow from the policies."""

    @property
    def visible(self) -> frozenset[str]:
        return frozenset(self.shown if self.shown is not None else SHOWN[self.after or self.before])

    @property
    def gone(self) -> frozenset[str]:
        """Phones that only the decision of before has shown."""
        return frozenset(RAW).union(*SHOWN.values()) - self.visible


CHANGES = (
    Change("mask to clear", MASK, CLEAR),
    Change("clear to mask", CLEAR, MASK),
    Change("mask to another mask", MASK, OTHER_MASK),
    Change("clear to refused", CLEAR, DENY),
    Change("mask to refused", MASK, DENY),
    Change("refused to mask", DENY, MASK),
    Change("refused to clear", DENY, CLEAR),
    Change("role revoked", CLEAR, sql=f"REVOKE change_staff FROM {LOGIN}", shown=SHOWN[MASK]),
    Change("column added", sql="ALTER TABLE shop.people ADD COLUMN more text", locks=True),
    Change("column dropped", sql="ALTER TABLE shop.people DROP COLUMN name", locks=True),
    Change("masked column dropped", sql="ALTER TABLE shop.people DROP COLUMN phone CASCADE", locks=True),
    Change("column renamed", sql="ALTER TABLE shop.people RENAME name TO label", locks=True),
    Change("type changed", sql="ALTER TABLE shop.people ALTER name TYPE varchar(20)", locks=True),
    Change("table replaced", sql="DROP TABLE shop.people CASCADE; " + PEOPLE.format(table="shop.people") + VIEW, locks=True),
    Change("table swapped", sql="ALTER TABLE shop.people RENAME TO old; ALTER TABLE shop.extra RENAME TO people", locks=True),
    Change("view replaced", locks=True,
           sql="CREATE OR REPLACE VIEW shop.contacts AS SELECT id, reverse(phone)::char(11) AS phone FROM shop.people",
           shown=(*SHOWN[MASK], "8765****831", "1234****931", "2222****051")),
    Change("view over another table", locks=True, shown=(*SHOWN[MASK], "other"),
           sql="CREATE OR REPLACE VIEW shop.contacts AS SELECT id, phone::char(11) FROM other.people"),
    Change("nothing but ANALYZE", sql="ANALYZE shop.people"),
    Change("search_path", own="SET search_path = other, shop", shown=(*SHOWN[MASK], "other")),
    Change("SET ROLE", own="SET ROLE change_other"),
    Change("clear, search_path", CLEAR, own="SET search_path = other, shop", shown=(*RAW, "other")),
)  # fmt: skip
"""`refused` before: what cannot be prepared is not held."""


def connect(port: int) -> Wire:
    return Wire(port, LOGIN, search_path="shop")
