"""psql scripts are read as psql reads them."""

from __future__ import annotations

from tests.regress.judge import reason
from tests.regress.script import Command, Script, Sql


def read(text: str, *, standard: bool = True, **variables: str) -> list[str]:
    script = Script(text, variables, lambda: standard)
    out = []
    while (item := script.next()) is not None:
        out.append(item.text if isinstance(item, Sql) else f"\\{item.name} {item.arguments}".strip())
    return out


def test_semicolons_inside_other_things_do_not_end_a_statement() -> None:
    texts = [
        "select 'a;b', \"c;d\", $$e;f$$, $x$g;$$;h$x$;",
        "select 1 /* ; /* ; */ ; */ -- ;\n, 2;",
        "create rule r as on insert to t do (delete from t; select 1);",
        "create function f() returns int language sql begin atomic select case when true then 1 end; select 2; end;",
        r"select E'it\';s', U&'x;';",
    ]
    assert read("\n".join(texts)) == texts


def test_backslashes_follow_the_setting() -> None:
    assert read(r"select '\'; select 2;") == [r"select '\';", "select 2;"]
    assert read(r"select '\'; select 2';", standard=False) == [r"select '\'; select 2';"]


def test_variables_are_filled_in_outside_quotes_only() -> None:
    assert read("select :n, :'n', :\"n\", ':n', x::int, a[1:2], :{?n}, :unknown;", n="it's") == [
        "select it's, 'it''s', \"it's\", ':n', x::int, a[1:2], TRUE, :unknown;"
    ]


def test_backslash_commands() -> None:
    assert read("\\set x 1\nselect 1 \\gset p_\nselect 1\\; select 2;\n\\d t \\\\ select 3;") == [
        "\\set x 1",
        "select 1",
        "select 1; select 2;",
        "\\d t",
        "select 3;",
    ]


def test_copy_data_is_taken_from_the_script() -> None:
    script = Script("copy t from stdin;\n1;\n2\n\\.\nselect 1;", {}, lambda: True)
    first = script.next()
    assert isinstance(first, Sql)
    assert script.data_follows()
    assert script.copy_data() == ["1;", "2"]
    second = script.next()
    assert isinstance(second, Sql)
    assert second.text == "select 1;"
    assert script.next() is None


def test_copy_that_failed_has_no_data_when_sql_follows() -> None:
    script = Script("copy t from stdin;\nselect 1;\ncopy t from stdin;\n1\n\\.\n", {}, lambda: True)
    script.next()
    assert not script.data_follows()


def test_conditions_are_commands() -> None:
    assert Script("\\if :{?x}\n", {}, lambda: True).next() == Command("if", ":{?x}", 1)


def test_reasons_are_counted_without_names() -> None:
    assert reason("pgveil: function public.f may not be used here") == "function X may not be used here"
    assert reason("pgveil: a function could read it") == "a function could read it"
