"""The configuration file: read, checked, and turned into plain values. `docs/configuration.md` is its manual.

Every complaint names file, line, key and what was expected (`policies.document`). Relative paths count from the
directory of the file. `${NAME}` is replaced from the environment in password fields only, so that no other value can
change with the environment unseen.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from policies.document import DocumentError, Entry, Section, read_document
from policies.standards import PREFIX as STANDARD_PREFIX
from policies.standards import STANDARDS
from proxy.admission import Ceilings, Rate
from proxy.anchors.settings import AnchorTarget, FileTarget, HttpTarget, PostgresTarget, S3Target
from proxy.configkeys import (
    ADDRESS,
    ANCHOR,
    ANCHOR_HTTP,
    ANCHOR_POSTGRES,
    ANCHOR_S3,
    AUDIT,
    AUDIT_FAILURES,
    AUDIT_MODES,
    AUDIT_TEXTS,
    AUDIT_VALUES,
    CLIENT_TLS,
    COMPLETENESS,
    CONTROL,
    DISCOVERY,
    LIMITS,
    MAX_WORKERS,
    PASSWORD,
    SECTIONS,
    SERVER_TLS,
    SINK,
    SINK_POSTGRES,
    SINK_SYSLOG,
    SUPERVISION,
    TCP,
    UPSTREAM,
)
from proxy.errors import ConfigError
from proxy.session.effects import Pooling
from proxy.sinks.settings import FORMATS as SINK_FORMATS
from proxy.sinks.settings import SCHEMES as SINK_SCHEMES
from proxy.sinks.settings import Sink, SyslogSink, TableSink
from proxy.sockets import TcpSettings
from proxy.supervision.settings import Supervision, parse_supervision
from proxy.tls import ClientMode, ClientTls, ServerMode, ServerTls

_RATE = re.compile(r"([1-9][0-9]{0,5})/(s|m|h)")
_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SINK_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Listen:
    host: str = "127.0.0.1"
    port: int = 6432


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    host: str
    port: int = 5432
    connect_timeout: float = 10.0
    tls: ServerTls = field(default_factory=ServerTls)
    pooling: Pooling = Pooling.AUTO


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """The login that reads catalogs and roles. It needs CONNECT on each database and no privilege on any table."""

    user: str
    password: str | None = field(default=None, repr=False)
    database: str = "postgres"
    host: str | None = None
    """Where the server itself is, when `upstream` is a pooler."""
    port: int = 5432
    tls: ServerTls | None = None
    """As `upstream.tls` when there is none."""
    interval: float = 1.0
    max_stale: float = 30.0


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """The login of `pgveil discover`, which reads tables. Nothing else uses it."""

    user: str
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AuditSettings:
    directory: Path
    key_file: Path
    """Made at the first start when it is not there."""
    mode: str = "before-result"
    text: str = "redacted"
    values: bool = True
    """With keyed digests of constants and parameters."""
    segment_time: float = 3600.0
    """Seconds after which a segment with records in it ends; 0: never."""
    witness: float = 60.0
    """Seconds between statements about other workers' heads, and between anchors."""
    keep: float | None = None
    """Seconds for which segments are kept; None: for ever."""
    on_failure: str = "stop"
    anchors: tuple[AnchorTarget, ...] = ()
    sinks: tuple[Sink, ...] = ()
    """Where the auditor sends copies of the records."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """What shows that nobody went round the proxy (`pgveil audit complete`)."""

    interval: float = 300.0
    """Seconds between two looks at what the server has counted; 0: none."""
    direct_roles: tuple[str, ...] = ()
    """Those that may connect to the server themselves."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one process. 0: none."""

    ceilings: Ceilings = field(default_factory=Ceilings)
    login_timeout: float = 60.0
    idle_timeout: float = 0.0
    """Seconds a session may stay idle outside a transaction."""
    write_timeout: float = 0.0
    """Seconds a client may take nothing of what waits for it."""
    drain_timeout: float = 30.0
    hang_timeout: float = 30.0
    """Seconds a worker may say nothing to its parent."""

    @property
    def connections(self) -> int:
        return self.ceilings.connections


@dataclass(frozen=True, slots=True)
class Config:
    path: Path
    listen: Listen
    upstream: UpstreamSettings
    control: ControlSettings
    policy: tuple[Path, ...]
    audit: AuditSettings
    tls: ClientTls | None = None
    http: Listen | None = None
    limits: Limits = field(default_factory=Limits)
    tcp: TcpSettings = field(default_factory=TcpSettings)
    completeness: Completeness = field(default_factory=Completeness)
    workers: int = 1
    """Processes that share the port."""
    discovery: DiscoverySettings | None = None
    supervision: Supervision | None = None
    databases: Mapping[str, str] | None = None
    """Database name at the client -> at the server, and nothing else is let in; None: every name, unchanged."""

    def server_database(self, name: str) -> str | None:
        """What the server calls the client's database; None when this proxy does not serve it."""
        return name if self.databases is None else self.databases.get(name)


def load_config(path: Path, environment: Mapping[str, str] = os.environ, *, for_discovery: bool = False) -> Config:
    """Read and check a configuration file. Raises ConfigError with one line for a person.

    The password of discovery is looked up for discovery only: the proxy needs neither its file nor its variable.
    """
    try:
        return _Reader(path, environment, for_discovery).config()
    except DocumentError as error:
        raise ConfigError(str(error)) from None


class _Reader:
    def __init__(self, path: Path, environment: Mapping[str, str], for_discovery: bool) -> None:
        self.for_discovery = for_discovery
        self.path = path
        self.base = path.resolve().parent
        self.environment = environment

    def config(self) -> Config:
        top = read_document(self.path).mapping(allowed=SECTIONS)
        for needed in ("upstream", "control", "policy", "audit"):
            top.require(needed)
        sinks = top.require("audit").mapping(AUDIT).get("sinks")
        if sinks is not None and "supervision" not in top:
            raise sinks.error("found sinks, and no auditor that feeds them", "a section 'supervision' ({} is enough)")
        workers = self.workers(top)
        return Config(
            path=self.path,
            listen=self.listen(top, Listen()),
            upstream=(upstream := self.upstream(top.require("upstream").mapping(UPSTREAM))),
            control=self.control(top.require("control"), upstream.pooling),
            policy=self.policy(top.require("policy")),
            workers=workers,
            audit=self.audit(top.require("audit").mapping(AUDIT)),
            completeness=self.completeness(top.section("completeness", COMPLETENESS)),
            tls=self.client_tls(top.section("tls", CLIENT_TLS)),
            http=self.http(top, workers),
            limits=self.limits(top.section("limits", LIMITS)),
            tcp=self.tcp(top.section("tcp", TCP)),
            databases=self.databases(top.get("databases")),
            discovery=self.discovery(top.section("discovery", DISCOVERY)),
            supervision=parse_supervision(top.section("supervision", SUPERVISION), self.base, self.environment),
        )

    def listen(self, top: Section, default: Listen) -> Listen:
        section = top.section("listen", ADDRESS)
        return default if section is None else _address(section, default)

    def http(self, top: Section, workers: int) -> Listen | None:
        section = top.section("http", ADDRESS)
        if section is None:
            return None
        address = _address(section, Listen("127.0.0.1", 9630))
        if address.port + workers - 1 > 65535:
            raise section.require("port").wrong(f"a port with {workers - 1} more above it, one for each worker")
        return address

    def workers(self, top: Section) -> int:
        entry = top.get("workers")
        if entry is None:
            return 1
        if entry.is_scalar and entry.node.value == "auto":
            return min(available_cpus(), MAX_WORKERS)
        try:
            return entry.int(1, MAX_WORKERS)
        except DocumentError:
            raise entry.wrong(f"a whole number from 1 to {MAX_WORKERS}, or auto") from None

    def upstream(self, section: Section) -> UpstreamSettings:
        defaults = UpstreamSettings("")
        return UpstreamSettings(
            host=section.require("host").string(),
            port=section.int("port", defaults.port, 1, 65535),
            connect_timeout=_positive(section, "connect_timeout", defaults.connect_timeout),
            tls=self.server_tls(section.section("tls", SERVER_TLS)),
            pooling=Pooling(section.choice("pooling", [p.value for p in Pooling], Pooling.AUTO.value)),
        )

    def server_tls(self, section: Section | None) -> ServerTls:
        if section is None:
            return ServerTls()
        mode = ServerMode(section.choice("mode", [m.value for m in ServerMode], ServerMode.PREFER.value))
        ca, cert, key = (self.optional_file(section, k, "a PEM file") for k in ("ca", "cert", "key"))
        if key is not None and cert is None:
            raise section.key_error("key", "found a key without a certificate", "'cert' next to it")
        return ServerTls(mode, ca, cert, key)

    def control(self, entry: Entry, pooling: Pooling) -> ControlSettings:
        section = entry.mapping(CONTROL)
        user = section.require("user").string()
        if pooling is Pooling.AUTO and "host" in section:
            raise section.key_error(
                "host", "found an address of the control connection's own", "upstream.pooling: none, session or transaction"
            )
        for key in ("port", "tls"):
            if key in section and "host" not in section:
                raise section.key_error(key, f"found control.{key} alone", "'host' next to it")
        _one_password(section)
        defaults = ControlSettings("")
        interval = _positive(section, "interval", defaults.interval)
        stale = _positive(section, "max_stale", max(defaults.max_stale, 3 * interval))
        if stale <= interval:
            place = "max_stale" if "max_stale" in section else "interval"
            raise section.key_error(place, f"found {stale:g} s", f"max_stale above the interval ({interval:g} s)")
        return ControlSettings(
            user=user,
            password=self.password(section),
            database=section.string("database", defaults.database),
            host=section.require("host").string() if "host" in section else None,
            port=section.int("port", defaults.port, 1, 65535),
            tls=self.server_tls(section.section("tls", SERVER_TLS)) if "tls" in section else None,
            interval=interval,
            max_stale=stale,
        )

    def discovery(self, section: Section | None) -> DiscoverySettings | None:
        if section is None:
            return None
        user = section.require("user").string()
        _one_password(section)
        return DiscoverySettings(user, self.password(section) if self.for_discovery else None)

    def policy(self, entry: Entry) -> tuple[Path, ...]:
        files = tuple(self.policy_file(e) for e in entry.items_or_one())
        if not files:
            raise entry.wrong("at least one policy file")
        return files

    def policy_file(self, entry: Entry) -> Path:
        """A file, or one of the standards that come along: `standard:jrt-0171`."""
        name = entry.string()
        if not name.startswith(STANDARD_PREFIX):
            return self.file(entry, "a policy file")
        known = STANDARDS.get(name.removeprefix(STANDARD_PREFIX))
        if known is None:
            entry.choice([STANDARD_PREFIX + n for n in STANDARDS])
            raise AssertionError(name)
        return known

    def password(self, section: Section) -> str | None:
        if "password" in section:
            written = section.require("password")
            return _VARIABLE.sub(lambda found: self.variable(written, found[1]), written.text())
        if "password_env" in section:
            entry = section.require("password_env")
            return self.variable(entry, entry.string())
        if "password_file" not in section:
            return None
        entry = section.require("password_file")
        try:
            return self.file(entry, "a file with the password").read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise entry.error("the file cannot be read", "a UTF-8 file with the password in it") from None

    def variable(self, entry: Entry, name: str) -> str:
        value = self.environment.get(name)
        if value is None:
            raise entry.error(f"the environment variable {name} is not set", "a variable that holds the password")
        return value

    def audit(self, section: Section) -> AuditSettings:
        defaults = AuditSettings(Path(), Path())
        return AuditSettings(
            directory=self.base / section.require("directory").string(),
            key_file=self.base / section.string("key_file", "audit.key"),
            mode=section.choice("mode", AUDIT_MODES, defaults.mode),
            text=section.choice("text", AUDIT_TEXTS, defaults.text),
            values=section.choice("values", AUDIT_VALUES, "digests") == "digests",
            segment_time=section.duration("segment_time", defaults.segment_time),
            witness=_positive(section, "witness", defaults.witness),
            keep=_positive(section, "keep", 0.0) if "keep" in section else None,
            on_failure=section.choice("on_failure", AUDIT_FAILURES, defaults.on_failure),
            anchors=self.anchors(section.get("anchors")),
            sinks=self.sinks(section.get("sinks")),
        )

    def sinks(self, entry: Entry | None) -> tuple[Sink, ...]:
        return () if entry is None else tuple(self.sink(name, e) for name, e in entry.mapping())

    def sink(self, name: str, entry: Entry) -> Sink:
        if not _SINK_NAME.fullmatch(name):
            raise entry.wrong("a name of letters, digits, '-' and '_' for the sink")
        section = entry.mapping(SINK)
        if len(section) != 1:
            raise entry.wrong(f"one of {', '.join(SINK)}")
        if (inner := section.section("postgres", SINK_POSTGRES)) is not None:
            _one_password(inner)
            return TableSink(
                name,
                inner.require("host").string(),
                inner.int("port", 5432, 1, 65535),
                inner.require("user").string(),
                self.password(inner),
                inner.string("database", "postgres"),
                inner.string("schema", "pgveil_audit"),
                inner.string("source", socket.gethostname()),
                self.server_tls(inner.section("tls", SERVER_TLS)),
            )
        inner = section.require("syslog").mapping(SINK_SYSLOG)
        scheme, host, port = _syslog_address(inner.require("address"))
        kinds = inner.get("kinds")
        if "ca" in inner and scheme != "tls":
            raise inner.key_error("ca", "found authorities without TLS", "an address that begins with tls://")
        return SyslogSink(
            name,
            scheme,
            host,
            port,
            inner.choice("format", SINK_FORMATS, "json"),
            inner.int("facility", 13, 0, 23),
            inner.int("max_size", 60_000, 1024, 4_000_000),
            inner.string("source", socket.gethostname()),
            self.optional_file(inner, "ca", "PEM certificates"),
            () if kinds is None else tuple(e.string() for e in kinds.items_or_one()),
        )

    def anchors(self, entry: Entry | None) -> tuple[AnchorTarget, ...]:
        return () if entry is None else tuple(self.anchor(e) for e in entry.items())

    def anchor(self, entry: Entry) -> AnchorTarget:
        section = entry.mapping(ANCHOR)
        if len(section) != 1:
            raise entry.wrong(f"one of {', '.join(ANCHOR)}")
        if "file" in section:
            return FileTarget(self.base / section.require("file").string())
        if (inner := section.section("postgres", ANCHOR_POSTGRES)) is not None:
            _one_password(inner)
            name = inner.string("table", "pgveil_anchors").split(".")
            if len(name) > 2 or not all(name):
                raise inner.require("table").wrong("table or schema.table")
            return PostgresTarget(
                inner.require("host").string(),
                inner.int("port", 5432, 1, 65535),
                inner.require("user").string(),
                self.password(inner),
                inner.string("database", "postgres"),
                tuple(name),
                self.server_tls(inner.section("tls", SERVER_TLS)),
            )
        if (inner := section.section("http", ANCHOR_HTTP)) is not None:
            url = inner.require("url")
            if urlsplit(url.string()).scheme not in ("http", "https") or not urlsplit(url.string()).hostname:
                raise url.wrong("an http or https URL")
            ca = self.optional_file(inner, "ca", "a PEM file")
            return HttpTarget(url.string(), self.optional_file(inner, "token_file", "a file with the token"), ca)
        inner = section.require("s3").mapping(ANCHOR_S3)
        return S3Target(
            bucket=inner.require("bucket").string(),
            prefix=inner.string("prefix", "pgveil"),
            region=inner.string("region", "us-east-1"),
            endpoint=inner.optional_string("endpoint"),
            access_key_id=inner.optional_string("access_key_id"),
            secret_key_file=self.optional_file(inner, "secret_key_file", "a file with the secret access key"),
        )

    def completeness(self, section: Section | None) -> Completeness:
        defaults = Completeness()
        if section is None:
            return defaults
        roles = section.get("direct_roles")
        return Completeness(
            interval=section.duration("interval", defaults.interval),
            direct_roles=tuple(e.string() for e in roles.items_or_one()) if roles is not None else (),
        )

    def client_tls(self, section: Section | None) -> ClientTls | None:
        if section is None:
            return None
        cert = self.file(section.require("cert"), "a PEM certificate")
        key = self.file(section.require("key"), "a PEM key")
        client_ca = self.optional_file(section, "client_ca", "PEM certificates")
        client_crl = self.optional_file(section, "client_crl", "PEM certificate revocation lists")
        mode = ClientMode(section.choice("mode", [m.value for m in ClientMode], ClientMode.REQUIRE.value))
        if client_crl is not None and client_ca is None:
            raise section.key_error("client_crl", "found revocation lists without authorities", "'client_ca' next to it")
        if client_ca is not None and mode is ClientMode.ALLOW:
            raise section.key_error("mode", "found 'allow' with client_ca, which plain connections would evade", "mode: require")
        return ClientTls(cert, key, client_ca, mode, client_crl)

    def limits(self, section: Section | None) -> Limits:
        defaults = Limits()
        if section is None:
            return defaults
        return Limits(
            ceilings=Ceilings(
                connections=section.int("connections", defaults.connections, 1, 1_000_000),
                per_user=section.int("connections_per_user", 0, 0, 1_000_000),
                per_address=section.int("connections_per_address", 0, 0, 1_000_000),
                per_database=section.int("connections_per_database", 0, 0, 1_000_000),
                arrivals=_rate(section, "connection_rate"),
                failures=_rate(section, "failed_logins"),
                address_failures=_rate(section, "failed_logins_per_address"),
            ),
            login_timeout=_positive(section, "login_timeout", defaults.login_timeout),
            idle_timeout=section.duration("idle_timeout", defaults.idle_timeout),
            write_timeout=section.duration("write_timeout", defaults.write_timeout),
            drain_timeout=section.duration("drain_timeout", defaults.drain_timeout),
            hang_timeout=section.duration("hang_timeout", defaults.hang_timeout),
        )

    def tcp(self, section: Section | None) -> TcpSettings:
        defaults = TcpSettings()
        if section is None:
            return defaults
        return TcpSettings(
            keepalive=_positive(section, "keepalive", defaults.keepalive),
            keepalive_interval=_positive(section, "keepalive_interval", defaults.keepalive_interval),
            keepalive_count=section.int("keepalive_count", defaults.keepalive_count, 1, 127),
            user_timeout=section.duration("user_timeout", defaults.user_timeout),
        )

    def databases(self, entry: Entry | None) -> Mapping[str, str] | None:
        if entry is None:
            return None
        if entry.is_mapping:
            found = {name: name if e.is_null else e.text() for name, e in entry.mapping()}
        else:
            found = {e.text(): e.text() for e in entry.items()}
        if not found:
            raise entry.wrong("at least one database")
        return found

    def optional_file(self, section: Section, key: str, what: str) -> Path | None:
        entry = section.get(key)
        return None if entry is None else self.file(entry, what)

    def file(self, entry: Entry, what: str) -> Path:
        path = self.base / entry.string()
        if not path.is_file():
            raise entry.error(f"there is no file {path}", what)
        return path


def available_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_password(section: Section) -> None:
    given = [k for k in PASSWORD if k in section]
    if len(given) > 1:
        raise section.key_error(given[1], "found a second way to give the password", f"only '{given[0]}'")


def _address(section: Section, default: Listen) -> Listen:
    return Listen(section.string("host", default.host), section.int("port", default.port, 0, 65535))


def _syslog_address(entry: Entry) -> tuple[str, str, int]:
    """(scheme, host or path, port)."""
    text = entry.string()
    if text.startswith("unix:/"):
        return "unix", text.removeprefix("unix:"), 0
    found = urlsplit(text)
    try:
        port = found.port
    except ValueError:
        port = None
    if found.scheme not in SINK_SCHEMES or not found.hostname or port is None or found.path not in ("", "/"):
        raise entry.wrong("udp://host:514, tcp://host:601, tls://host:6514 or unix:/dev/log")
    return found.scheme, found.hostname, port


def _positive(section: Section, key: str, default: float) -> float:
    value = section.duration(key, default)
    if value <= 0:
        raise section.entries[key].wrong("a duration above zero")
    return value


def _rate(section: Section, key: str) -> Rate | None:
    """`20/s`, `100/m`, `1000/h`."""
    entry = section.get(key)
    if entry is None:
        return None
    found = _RATE.fullmatch(entry.text())
    if found is None:
        raise entry.wrong("a number per second, minute or hour, such as 20/s, 100/m or 1000/h")
    return Rate(int(found[1]), _PERIODS[found[2]])
