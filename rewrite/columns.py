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
    stars: list[Ref] = field(default_factory=list)
    rows: bool = False
    """The whole row may be meant otherwise than by a star: by its name, by that of a join around it, by NATURAL."""
    stored: set[str] = field(default_factory=set)
    """Columns that are used elsewhere than in RETURNING of the write that reads the relation; `*` stands for all."""

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
            self.usages[site] = Usage(visible_names(site, relation))
        for level in survey.levels:
            if level.natural or any(level.joins.values()):  # a join's column aliases count all columns
                for site in self._known(level):
                    usage = self.usages[site]
                    usage.whole.add("join")
                    usage.rows = True
                    usage.stored.add("*")
        for ref in survey.refs:
            self._ref(ref)

    def _known(self, level: Level, sees: frozenset[Site] | None = None) -> list[Site]:
        """The relations of the level that can be meant; where not all of them are seen, the target of a write never is."""
        return [s for s in level.sites if s in self.usages and (sees is None or s.use is not Use.TARGET)]

    def _column(self, site: Site, name: str, ref: Ref) -> bool:
        usage = self.usages[site]
        if name in usage.names:
            real = self.relations[site].columns[usage.names.index(name)].name
            usage.columns.setdefault(real, set()).add(ref.clause)
            usage.refs.append(ref)
            if not _in_returning(site, ref):
                usage.stored.add(real)
            return True
        if name in SYSTEM_COLUMNS:
            usage.system.add(name)
            usage.refs.append(ref)
        return False

    def _whole(self, site: Site, ref: Ref, *, star: bool) -> None:
        usage = self.usages[site]
        usage.whole.add(ref.clause)
        if not star:
            usage.refs.append(ref)
        if star and ref.fields[-1] == "*":
            usage.stars.append(ref)
        else:
            usage.rows = True
        if not _in_returning(site, ref):
            usage.stored.add("*")

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
        """`excluded`, `old` and `new` are rows of the target of a write; the latter two unless something else has the name."""
        if alias not in level.rows | {"excluded"} or any(s.alias == alias for s in level.sites):
            return
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
        sees = ref.sees
        if name == "*":
            for site in self._known(ref.level, sees):
                self._whole(site, ref, star=True)
            return
        while level is not None:
            found = False
            for site in self._known(level, sees):
                if self._column(site, name, ref):
                    found = found or sees is None or site in sees
                if site.alias == name:
                    self._whole(site, ref, star=False)
            if name in level.joins:
                self._join(level, ref)
            if sees is None:
                self._target_row(level, name, "*", ref)
            if found and not level.joins:
                return
            sees = level.sees
            level = level.parent

    def _qualified(self, alias: str, name: str, ref: Ref) -> None:
        level: Level | None = ref.level
        sees = ref.sees
        while level is not None:
            sites = [s for s in self._known(level, sees) if s.alias == alias]
            for site in sites:
                if name == "*":
                    self._whole(site, ref, star=True)
                elif not self._column(site, name, ref) and name not in SYSTEM_COLUMNS:
                    self._whole(site, ref, star=False)  # alias.function: functional notation on the row
            if alias in level.joins:
                self._join(level, ref)
            if sees is None:
                self._target_row(level, alias, name, ref)
            visible = [s for s in sites if sees is None or s in sees]
            if (visible or (alias in level.others and sees is None)) and not level.joins:
                if visible and all(name in self.usages[s].names for s in sites):
                    self.certain.add(id(ref.node))
                return
            sees = level.sees
            level = level.parent

    def _schema_qualified(self, qualifier: list[str], name: str, ref: Ref) -> None:
        """`schema.table.column`: means the unaliased relation of that name."""
        level: Level | None = ref.level
        sees = ref.sees
        while level is not None:
            for site in self._known(level, sees):
                relation = self.relations[site]
                if "alias" not in site.node and (relation.schema, relation.name) == (qualifier[-2], qualifier[-1]):
                    if name == "*":
                        self._whole(site, ref, star=True)
                    elif self._column(site, name, ref):
                        self.certain.add(id(ref.node))
                    elif name not in SYSTEM_COLUMNS:
                        self._whole(site, ref, star=False)
            sees = level.sees
            level = level.parent

    def _join(self, level: Level, ref: Ref) -> None:
        """A reference through the alias of a join may mean any column of the relations in it."""
        for site in self._known(level):
            self._whole(site, ref, star=True)
            self.usages[site].rows = True


def visible_names(site: Site, relation: Relation) -> tuple[str, ...]:
    """The relation's columns, in order, under the names by which the query knows them."""
    real = tuple(c.name for c in relation.columns)
    renamed = [c["String"].get("sval", "") for c in site.node.get("alias", {}).get("colnames", ())]
    return tuple(renamed[: len(real)]) + real[len(renamed) :]


def _in_returning(site: Site, ref: Ref) -> bool:
    """Whether the reference stands in RETURNING of the write whose level the relation belongs to."""
    return ("returning", id(site.level.body)) in ref.path
