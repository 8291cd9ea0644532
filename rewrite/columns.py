"""Which columns of each relation a statement uses, and how: by name, on the safe side.

PostgreSQL decides what a name means with the types of everything in scope; this module does not. It answers for each relation
in the statement which of its columns *may* be meant. Names that could mean a column or a whole row count as both. A name found in
one query level hides those further out only where all of that level is visible and no join alias renames or hides a part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rewrite.catalog import Relation
from rewrite.survey import Level, Ref, Site, Survey, Use

SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})


@dataclass(slots=True)
class Usage:
    """What may be used of one relation at one place of the statement."""

    names: tuple[str, ...]
    """The relation's columns under the names the query knows them by (a column alias list renames them)."""
    columns: dict[str, set[str]] = field(default_factory=dict)
    """Real column name -> clauses."""
    whole: set[str] = field(default_factory=set)
    """Clauses in which the whole row may be used: star, whole-row reference, NATURAL JOIN."""
    system: set[str] = field(default_factory=set)
    excluded: set[str] = field(default_factory=set)
    """Columns of the row that ON CONFLICT could not insert: what the client gave, or the column's default."""
    refs: list[Ref] = field(default_factory=list)
    """References that mean (or may mean) a column of this relation, stars left out."""

    def clauses(self, column: str) -> set[str]:
        return self.columns.get(column, set()) | self.whole


class Columns:
    """The usages of all sites of a survey."""

    def __init__(self, survey: Survey, relations: Mapping[Site, Relation]) -> None:
        self.relations = relations
        self.usages: dict[Site, Usage] = {}
        self.certain: set[int] = set()
        """id() of the nodes of qualified references that can only be columns, not functions in attribute notation."""
        for site, relation in relations.items():
            real = tuple(c.name for c in relation.columns)
            renamed = [c["String"].get("sval", "") for c in site.node.get("alias", {}).get("colnames", ())]
            self.usages[site] = Usage(tuple(renamed[: len(real)]) + real[len(renamed) :])
        for level in survey.levels:
            if level.natural:
                for site in self._known(level):
                    self.usages[site].whole.add("join")
        for ref in survey.refs:
            self._ref(ref)

    def _known(self, level: Level) -> list[Site]:
        return [s for s in level.sites if s in self.usages]

    def _column(self, site: Site, name: str, ref: Ref) -> bool:
        usage = self.usages[site]
        if name in usage.names:
            real = self.relations[site].columns[usage.names.index(name)].name
            usage.columns.setdefault(real, set()).add(ref.clause)
            usage.refs.append(ref)
            return True
        if name in SYSTEM_COLUMNS:
            usage.system.add(name)
            usage.refs.append(ref)
        return False

    def _whole(self, site: Site, ref: Ref, *, star: bool) -> None:
        self.usages[site].whole.add(ref.clause)
        if not star:
            self.usages[site].refs.append(ref)

    def _ref(self, ref: Ref) -> None:
        *qualifier, name = ref.fields
        if not qualifier:
            self._unqualified(name, ref)
            return
        if len(qualifier) >= 2:
            self._schema_qualified(qualifier, name, ref)
        else:
            self._qualified(qualifier[0], name, ref)

    def _target_row(self, level: Level, alias: str, name: str, ref: Ref) -> None:
        """`excluded`, `old` and `new` are rows of the target of a write."""
        for site in self._known(level):
            if site.use is not Use.TARGET:
                continue
            if alias == "excluded" and alias in level.others:
                usage = self.usages[site]
                usage.excluded |= {name} if name in usage.names else set(usage.names)
            elif alias in level.rows and not self._column(site, name, ref):
                self._whole(site, ref, star=True)

    def _unqualified(self, name: str, ref: Ref) -> None:
        level: Level | None = ref.level
        sure = ref.sure
        if name == "*":
            for site in self._known(ref.level):
                self._whole(site, ref, star=True)
            return
        while level is not None:
            found = False
            for site in self._known(level):
                if self._column(site, name, ref):
                    found = True
                if site.alias == name:
                    self._whole(site, ref, star=False)
            if name in level.joins:
                self._join(level, ref)
            self._target_row(level, name, "*", ref)
            if found and sure and not level.joins:
                return
            sure = level.sure
            level = level.parent

    def _qualified(self, alias: str, name: str, ref: Ref) -> None:
        level: Level | None = ref.level
        sure = ref.sure
        while level is not None:
            sites = [s for s in self._known(level) if s.alias == alias]
            for site in sites:
                if name == "*":
                    self._whole(site, ref, star=True)
                elif not self._column(site, name, ref) and name not in SYSTEM_COLUMNS:
                    self._whole(site, ref, star=False)  # alias.function: functional notation on the row
            if alias in level.joins:
                self._join(level, ref)
            self._target_row(level, alias, name, ref)
            if (sites or alias in level.others) and sure and not level.joins:
                if sites and all(name in self.usages[s].names for s in sites):
                    self.certain.add(id(ref.node))
                return
            sure = level.sure
            level = level.parent

    def _schema_qualified(self, qualifier: list[str], name: str, ref: Ref) -> None:
        """`schema.table.column`: means the unaliased relation of that name."""
        level: Level | None = ref.level
        while level is not None:
            for site in self._known(level):
                relation = self.relations[site]
                if "alias" not in site.node and (relation.schema, relation.name) == (qualifier[-2], qualifier[-1]):
                    if name == "*":
                        self._whole(site, ref, star=True)
                    elif self._column(site, name, ref):
                        self.certain.add(id(ref.node))
                    elif name not in SYSTEM_COLUMNS:
                        self._whole(site, ref, star=False)
            level = level.parent

    def _join(self, level: Level, ref: Ref) -> None:
        """A reference through the alias of a join may mean any column of the relations in it."""
        for site in self._known(level):
            self._whole(site, ref, star=True)
