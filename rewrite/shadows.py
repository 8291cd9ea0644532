"""Temporary views over masked columns, under names that code looks up.

A temporary view is stored as it was written, and masked when a statement reads it. Code is another reader: the unqualified names
in the body of a function mean whatever they mean when it runs, and temporary relations come first, also under a search_path of
the function's own. A function, or trigger, that reads `rates` would read the session's temporary view `rates` instead, unmasked.

So no such view gets a name that occurs in the body of any function. Looking at this when a function is called would be too late:
an open cursor or a deferred trigger runs code that was called before the view was made. Functions that are made while the view is
there are met by `in_the_way`, at the next statement.

Manual: ddl-schemas (the search path), sql-createview.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rewrite import system
from rewrite.catalog import Catalog, Function
from rewrite.plan import Refusal, Resolution
from rewrite.resolve import temporary_view

if TYPE_CHECKING:
    from rewrite.source import SourceBook

_LONG = 40
"""Bytes from which on a name may stand in a body in a longer form, cut by the server."""


def reader(catalog: Catalog, name: str) -> Function | None:
    """A function whose body may mean a temporary relation of that name."""
    word = re.compile(rf"(?<![\w$]){re.escape(name)}(?![\w$])" if len(name.encode()) < _LONG else re.escape(name), re.IGNORECASE)
    for function in catalog.functions.values():
        if function.oid < system.FIRST_USER_OID or function.extension is not None or function.standard_body:
            continue
        if function.language == "internal" or function.kind == "a":
            continue
        body = function.body
        if body is None or '"' in name or word.search(body) or 'u&"' in body.lower():
            return function
    return None


def refusal(catalog: Catalog, name: str) -> Refusal | None:
    """Why a temporary view over masked columns may not have the name."""
    function = reader(catalog, name)
    if function is None:
        return None
    return Refusal(
        "42501",
        f"a temporary view over masked columns may not be called {name}: function {function.schema}.{function.name} may read it",
        "give the view another name",
    )


def in_the_way(book: SourceBook, resolution: Resolution | None) -> Refusal | None:
    """Why a session with these temporary views may go on only when it has dropped one."""
    for view in resolution.views if resolution is not None else ():
        function = book.reader(view.name)
        if function is not None and resolution is not None and book.temporary(temporary_view(view), resolution) is not None:
            return Refusal(
                "42501",
                f"temporary view {view.name} leads to masked columns, and function {function.schema}.{function.name} may read it",
                f"DROP VIEW pg_temp.{view.name}, and give it another name",
            )
    return None
