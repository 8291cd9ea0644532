"""SQLAlchemy with its three drivers, and pandas on top: reflection, mapped classes, bulk inserts, streamed results."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from tests.clients.world import DATABASE, Pair, Place, missing

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # an expression index, types of our own
QUERY = sa.text("SELECT id, name, phone, balance, tags, extra, seen FROM shop.people WHERE id < :top ORDER BY id")


def url(place: Place, driver: str) -> sa.URL:
    return sa.URL.create(f"postgresql+{driver}", place.user, place.password, "127.0.0.1", place.port, DATABASE)


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "persons"
    __table_args__ = {"schema": "play"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(30), unique=True)
    notes: Mapped[list[Note]] = relationship(cascade="all, delete-orphan", order_by="Note.id")


class Note(Base):
    __tablename__ = "notes"
    __table_args__ = {"schema": "play"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    person: Mapped[int] = mapped_column(sa.ForeignKey("play.persons.id"), index=True)
    text: Mapped[str | None]


def reflect(place: Place) -> list[Any]:
    """Everything that an Inspector can tell, for all schemas, and the tables as MetaData reflects them."""
    engine = sa.create_engine(url(place, "psycopg"), poolclass=sa.NullPool)
    inspector: Any = sa.inspect(engine)
    out: list[Any] = [inspector.get_schema_names(), inspector.default_schema_name]
    for schema in ("shop", "play", "information_schema"):
        out += [inspector.get_table_names(schema), inspector.get_view_names(schema), inspector.get_sequence_names(schema)]
        out += [inspector.get_materialized_view_names(schema), inspector.get_enums(schema), inspector.get_domains(schema)]
        out += [inspector.get_foreign_table_names(schema)]
    for name in inspector.get_table_names("shop") + inspector.get_view_names("shop"):
        for what in (
            "columns",
            "pk_constraint",
            "foreign_keys",
            "indexes",
            "unique_constraints",
            "check_constraints",
            "table_comment",
        ):
            out.append((name, what, str(getattr(inspector, f"get_{what}")(name, "shop"))))
        out.append((name, inspector.has_table(name, "shop"), inspector.get_table_oid(name, "shop")))
    for what in ("columns", "indexes", "foreign_keys", "check_constraints", "table_comment", "table_options"):
        out.append(str(sorted(getattr(inspector, f"get_multi_{what}")("shop", kind=sa.engine.reflection.ObjectKind.ANY).items())))
    for view in inspector.get_view_names("shop"):
        out.append(inspector.get_view_definition(view, "shop"))
    metadata = sa.MetaData()
    metadata.reflect(engine, schema="shop", views=True)
    people = metadata.tables["shop.people"]
    with engine.connect() as connection:
        out.append([str(row) for row in connection.execute(sa.select(people.c.id, people.c.phone).order_by(people.c.id))])
    return out


def test_reflection(pair: Pair) -> None:
    pair.compare(reflect)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_mapped_classes(pair: Pair, driver: str) -> None:
    def run(place: Place) -> list[Any]:
        engine = sa.create_engine(url(place, driver))
        out: list[Any] = []
        try:
            Base.metadata.drop_all(engine)
            Base.metadata.create_all(engine)
            with Session(engine) as session:
                session.add_all(Person(name=f"n{i}", notes=[Note(text=f"t{i}"), Note(text=None)]) for i in range(600))
                session.commit()
                some = session.scalars(sa.select(Person).where(Person.name.in_(["n1", "n2"])).order_by(Person.id)).all()
                out += [(p.id, p.name, [n.text for n in p.notes]) for p in some]
                some[0].name = "n2"
                with pytest.raises(sa.exc.IntegrityError) as caught:
                    session.commit()
                out.append(getattr(caught.value.orig, "sqlstate", None) or getattr(caught.value.orig, "pgcode", None))
                session.rollback()
                with session.begin_nested():
                    session.delete(some[1])
                session.commit()
                out.append(session.scalar(sa.select(sa.func.count(Note.id))))
            with engine.connect() as connection:
                streamed = connection.execution_options(stream_results=True, yield_per=50).execute(
                    sa.select(Person.id, Person.name)
                )
                out.append([tuple(row) for row in streamed][-1])
                out.append([tuple(row) for row in connection.execute(QUERY, {"top": 9})])
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                out.append(connection.execute(sa.text("SHOW transaction_isolation")).scalar())
            Base.metadata.drop_all(engine)
        finally:
            engine.dispose()
        return out

    pair.compare(run)


def test_asyncpg_dialect(pair: Pair) -> None:
    async def scene(place: Place) -> list[Any]:
        engine = create_async_engine(url(place, "asyncpg"), connect_args={"ssl": False})
        out: list[Any] = []
        try:
            async with engine.connect() as connection:
                out.append([tuple(row) for row in await connection.execute(QUERY, {"top": 20})])
                rows = await connection.stream(sa.text("SELECT id, phone FROM shop.people ORDER BY id"))
                out.append([tuple(row) async for row in rows])
                out.append(await connection.run_sync(lambda c: str(sa.inspect(c).get_columns("people", "shop"))))
                await connection.execute(sa.text("CREATE TEMP TABLE t (a int)"))
                await connection.execute(sa.text("INSERT INTO t VALUES (:a)"), [{"a": i} for i in range(30)])
                out.append((await connection.execute(sa.text("SELECT sum(a) FROM t"))).scalar())
        finally:
            await engine.dispose()
        return out

    pair.compare(lambda place: asyncio.run(scene(place)))


def test_pandas(pair: Pair) -> None:
    try:
        import pandas
    except ImportError:
        missing("pandas")

    def run(place: Place) -> list[Any]:
        engine = sa.create_engine(url(place, "psycopg"), poolclass=sa.NullPool)
        people = pandas.read_sql("SELECT id, name, phone, balance FROM shop.people ORDER BY id", engine)
        out = [people.to_csv(), str(people.dtypes)]
        out.append(pandas.read_sql_table("branches", engine, schema="shop").sort_values("code").to_csv())
        for part in pandas.read_sql(QUERY, engine, params={"top": 30}, chunksize=7):
            out.append(part.to_csv())
        frame = pandas.DataFrame({"a": range(300), "b": [f"x{i}" for i in range(300)]})
        for method in (None, "multi"):
            frame.to_sql("frame", engine, schema="play", if_exists="replace", index=False, method=method)
            out.append(pandas.read_sql("SELECT count(*), sum(a), max(b) FROM play.frame", engine).to_csv())
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE play.frame"))
        return out

    pair.compare(run)
