"""Where the regression files come from: Debian's source package of PostgreSQL 15, fetched by apt. Nothing of it is kept here."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

PACKAGE = "postgresql-15"
_SOURCES = """\
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
_WANTED = ("/src/test/regress/", "/src/test/isolation/")


def fetch(into: Path) -> Path:
    """Download and unpack the regression files below `into`; return the directory `src/test/regress`.

    `src/test/isolation` is unpacked beside it. Uses apt with a source list of its own: the machine's is not touched.
    """
    unpacked = sorted(into.glob("postgresql-*/src/test/isolation/../regress"))
    if unpacked:
        return unpacked[-1].resolve()
    archives = sorted(into.glob("postgresql-*.orig.tar.*"))
    archive = archives[-1] if archives else _download(into)
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if any(part in m.name for part in _WANTED)]
        tar.extractall(into, members=members, filter="data")
    return sorted(into.glob("postgresql-*/src/test/regress"))[-1]


def _download(into: Path) -> Path:
    for name in ("lists/partial", "parts", "none"):
        (into / name).mkdir(parents=True, exist_ok=True)
    (into / "parts" / "source.sources").write_text(_SOURCES)
    options = [f"Dir::Etc::sourceparts={into}/parts", f"Dir::Etc::sourcelist={into}/none/none", f"Dir::State::lists={into}/lists"]
    apt = ["apt-get", "-q"] + [word for option in (*options, "APT::Sandbox::User=root") for word in ("-o", option)]
    subprocess.run([*apt, "update"], cwd=into, check=True)
    subprocess.run([*apt, "source", "--download-only", PACKAGE], cwd=into, check=True)
    (archive,) = into.glob("postgresql-*.orig.tar.*")
    return archive
