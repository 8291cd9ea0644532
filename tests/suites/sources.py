"""Where the suites come from: source distributions on PyPI, or Debian's source packages. Nothing of them is kept here."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

_DEBIAN = """\
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: {release}
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


@dataclass(frozen=True, slots=True)
class PyPI:
    """A source distribution that holds the tests."""

    name: str


@dataclass(frozen=True, slots=True)
class Debian:
    """A source package, where the distribution on PyPI comes without tests."""

    name: str
    release: str


def fetch(source: PyPI | Debian, into: Path) -> Path:
    """Download and unpack below `into`, unless it is there; return the top directory."""
    unpacked = into / "tree"
    if not unpacked.exists():
        into.mkdir(parents=True, exist_ok=True)
        archive = _from_pypi(source, into) if isinstance(source, PyPI) else _from_debian(source, into)
        with tarfile.open(archive) as tar:
            tar.extractall(into / "part", filter="data")
        (into / "part").rename(unpacked)
    (top,) = unpacked.iterdir()
    return top


def version(tree: Path) -> str:
    """The version in the name of a source distribution's directory."""
    found = re.search(r"-(\d[\w.]*)\Z", tree.name)
    if found is None:
        raise ValueError(f"no version in {tree.name}")
    return found[1]


def _from_pypi(source: PyPI, into: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "download", "--no-binary", ":all:", "--no-deps", "-d", str(into), source.name], check=True)
    (archive,) = into.glob("*.tar.gz")
    return archive


def _from_debian(source: Debian, into: Path) -> Path:
    """Uses apt with a source list of its own: the machine's is not touched."""
    for name in ("lists/partial", "parts", "none"):
        (into / name).mkdir(parents=True, exist_ok=True)
    (into / "parts" / "source.sources").write_text(_DEBIAN.format(release=source.release))
    options = [f"Dir::Etc::sourceparts={into}/parts", f"Dir::Etc::sourcelist={into}/none/none", f"Dir::State::lists={into}/lists"]
    apt = ["apt-get", "-q"] + [word for option in (*options, "APT::Sandbox::User=root") for word in ("-o", option)]
    subprocess.run([*apt, "update"], cwd=into, check=True)
    subprocess.run([*apt, "source", "--download-only", source.name], cwd=into, check=True)
    (archive,) = into.glob("*.orig.tar.*")
    return archive
