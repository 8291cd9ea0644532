"""Compiles the wire codec, the session core and the writing of evidence with mypyc where that is possible. Everything else is
in pyproject.toml.

Possible means: mypy is among the build requirements that could be installed, and there is a C compiler with Python's
headers. Otherwise, and whenever anything about it goes wrong, the same source is installed as plain Python: an
installation never fails because of this. PGVEIL_PURE=1 asks for plain Python; editable installs always are, so that an
extension cannot outlive a change of its source.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PURE = {"__init__.py", "trace.py"}
"""Left as they are: nothing to compile, and the text form of messages, which no proxy needs."""
EVIDENCE = [
    "proxy/audit/chain.py", "proxy/audit/measure.py", "proxy/audit/record.py", "proxy/audit/sink.py", "proxy/audit/values.py",
    "proxy/audit/writer.py", "proxy/evidence.py", "proxy/tally.py",
]  # fmt: skip
"""What every statement's records go through."""
RELAY = ["proxy/committing.py", "proxy/transport.py"]
SOURCES = (
    EVIDENCE
    + RELAY
    + [
        str(path)
        for folder in ("proxy/wire", "proxy/session")
        for path in sorted(Path(folder).glob("*.py"))
        if path.name not in PURE
    ]
)

_MYPY = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports", "--disable-error-code=import-untyped"]
"""The stubs and libraries of the type check are not there when an installation builds in isolation."""


def extensions() -> list[Extension]:
    """The compiled modules, or none."""
    if os.environ.get("PGVEIL_PURE", "0") not in ("", "0"):
        return []
    try:
        from mypyc.build import mypycify

        if not _can_compile():
            raise RuntimeError("there is no C compiler with Python's headers")
        return list(mypycify([*_MYPY, *SOURCES], opt_level="3", debug_level="0", target_dir="build/mypyc"))
    except (Exception, SystemExit) as reason:  # mypyc exits when it does not like something
        _say(reason)
        return []


def _can_compile() -> bool:
    from distutils.ccompiler import new_compiler
    from distutils.errors import CompileError, DistutilsPlatformError
    from distutils.sysconfig import customize_compiler, get_python_inc

    with tempfile.TemporaryDirectory() as home:
        source = Path(home, "probe.c")
        source.write_text("#include <Python.h>\n")
        try:
            compiler = new_compiler()
            customize_compiler(compiler)
            places = {get_python_inc(), get_python_inc(plat_specific=True)}
            compiler.compile([str(source)], output_dir=home, include_dirs=sorted(places))
        except (CompileError, DistutilsPlatformError, OSError):
            return False
    return True


def _say(reason: object) -> None:
    print(f"pgveil: installing as plain Python ({type(reason).__name__}: {reason})", file=sys.stderr)


class OptionalBuild(build_ext):
    """All extensions or none: half of them would not import."""

    def run(self) -> None:
        if self.editable_mode:
            self.extensions = []
        try:
            super().run()
        except Exception as reason:
            _say(reason)
            for path in map(Path, self.get_outputs()):
                path.unlink(missing_ok=True)
            self.extensions = []


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
