"""Imports point one way. What this test forbids is listed in the design: a package below never knows one above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARSERS = {"sqlglot", "sqlglotc", "postgast", "pgparse"}
NETWORK = {"socket", "ssl", "asyncio", "uvloop", "aiohttp", "asyncpg", "selectors", "http", "urllib.request", "urllib3"}

LAYERS = ["wire", "session", "transport", "server", "cli"]
"""In proxy, bottom to top."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in ("policies", "rewrite", "proxy"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name, ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(tree: ast.Module, module: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            base = node.module or ""
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


IMPORTS = [(name, target) for name, tree in modules() for target in imported(tree, name)]


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_finds_the_packages() -> None:
    names = {name.split(".")[0] for name, _ in IMPORTS}
    assert names == {"policies", "rewrite", "proxy"}


def test_policies_know_nothing_above() -> None:
    bad = [(a, b) for a, b in IMPORTS if within(a, "policies") and (within(b, "rewrite") or within(b, "proxy"))]
    assert bad == []


def test_rewrite_does_not_know_the_proxy() -> None:
    assert [(a, b) for a, b in IMPORTS if within(a, "rewrite") and within(b, "proxy")] == []


def test_only_rewrite_names_the_parsers() -> None:
    assert [(a, b) for a, b in IMPORTS if not within(a, "rewrite") and b.split(".")[0] in PARSERS] == []


@pytest.mark.parametrize("package", ["policies", "rewrite", "proxy.wire", "proxy.session"])
def test_pure_packages_open_no_sockets(package: str) -> None:
    assert [(a, b) for a, b in IMPORTS if within(a, package) and any(within(b, n) for n in NETWORK)] == []


@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_proxy_layers(number: int) -> None:
    above = [f"proxy.{layer}" for layer in LAYERS[number + 1 :]]
    here = f"proxy.{LAYERS[number]}"
    assert [(a, b) for a, b in IMPORTS if within(a, here) and any(within(b, up) for up in above)] == []


@pytest.mark.parametrize("package", ["proxy.wire", "proxy.session"])
def test_sans_io_layers_do_not_know_the_edge(package: str) -> None:
    allowed = {"proxy.wire", "proxy.session"}
    bad = [
        (a, b)
        for a, b in IMPORTS
        if within(a, package) and within(b, "proxy") and b != "proxy" and not any(within(b, ok) for ok in allowed)
    ]
    assert bad == []
