"""The configuration file: what it means, and what each mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.admission import Ceilings, Rate
from proxy.config import Listen, available_cpus, load_config
from proxy.errors import ConfigError
from proxy.session.effects import Pooling
from proxy.sockets import TcpSettings
from proxy.supervise import control_target
from proxy.tls import ClientMode, ServerMode

MINIMAL = """\
upstream: { host: db.example }
control: { user: pgveil_control }
policy: [policy.yaml]
audit: { directory: audit }
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("policy.yaml", "cert.pem", "key.pem", "ca.pem"):
        (tmp_path / name).write_text("x")
    (tmp_path / "secret").write_text("päss wörd\n", encoding="utf-8")
    return tmp_path


def write(home: Path, text: str) -> Path:
    path = home / "pgveil.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults(home: Path) -> None:
    config = load_config(write(home, MINIMAL), {})
    assert config.listen == Listen("127.0.0.1", 6432)
    assert (config.upstream.host, config.upstream.port) == ("db.example", 5432)
    assert config.upstream.tls.mode is ServerMode.PREFER
    assert config.tls is None
    assert config.http is None
    assert config.policy == (home / "policy.yaml",)
    assert config.audit.directory == home / "audit"
    assert config.audit.mode == "before-result"
    assert config.control.password is None
    assert config.server_database("anything") == "anything"


def test_everything(home: Path) -> None:
    config = load_config(
        write(
            home,
            """\
listen: { host: 0.0.0.0, port: 5432 }
upstream: { host: /var/run/postgresql, port: 5433, connect_timeout: 3s, tls: { mode: verify-full, ca: ca.pem } }
control: { user: c, password_file: secret, database: bank, interval: 5s, max_stale: 30s }
tls: { cert: cert.pem, key: key.pem, mode: allow }
policy: policy.yaml
audit: { directory: /var/log/pgveil, key_file: audit.key, mode: strict, text: none }
http: { port: 9000 }
limits: { connections: 20, login_timeout: 10s, idle_timeout: 1h, drain_timeout: 0s, connections_per_user: 3, failed_logins: 5/m }
tcp: { keepalive: 30s, user_timeout: 90s }
databases: { bank: bank_prod, crm: }
""",
        ),
        {},
    )
    assert config.listen == Listen("0.0.0.0", 5432)
    assert config.upstream.tls.ca == home / "ca.pem"
    assert config.control.password == "päss wörd"
    assert config.tls is not None
    assert config.tls.mode is ClientMode.ALLOW
    assert config.audit.key_file == home / "audit.key"
    assert config.http == Listen("127.0.0.1", 9000)
    assert (config.limits.connections, config.limits.idle_timeout, config.limits.drain_timeout) == (20, 3600.0, 0.0)
    assert config.limits.ceilings == Ceilings(connections=20, per_user=3, failures=Rate(5, 60.0))
    assert config.tcp == TcpSettings(keepalive=30.0, user_timeout=90.0)
    assert [config.server_database(n) for n in ("bank", "crm", "other")] == ["bank_prod", "crm", None]


def test_variables_in_passwords_only(home: Path) -> None:
    text = MINIMAL.replace("user: pgveil_control", 'user: "${NAME}", password: "a${PW}b"')
    config = load_config(write(home, text), {"PW": "secret", "NAME": "root"})
    assert config.control.password == "asecretb"
    assert config.control.user == "${NAME}"


def test_password_from_a_variable(home: Path) -> None:
    text = MINIMAL.replace("user: pgveil_control", "user: c, password_env: PW")
    assert load_config(write(home, text), {"PW": "x y"}).control.password == "x y"


def test_passwords_are_not_shown(home: Path) -> None:
    text = MINIMAL.replace("user: pgveil_control", "user: c, password: hunter2")
    assert "hunter2" not in repr(load_config(write(home, text), {}))


def test_a_pooler(home: Path) -> None:
    text = MINIMAL.replace("host: db.example", "host: pooler, pooling: transaction").replace(
        "user: pgveil_control", "user: c, host: db.example, port: 5433, tls: { mode: require }"
    )
    config = load_config(write(home, text), {})
    assert config.upstream.pooling is Pooling.TRANSACTION
    assert (config.control.host, config.control.port) == ("db.example", 5433)
    assert config.control.tls is not None
    target = control_target(config)
    assert (target.host, target.port, target.mode, target.identify) == ("db.example", 5433, ServerMode.REQUIRE, True)
    plain = control_target(load_config(write(home, MINIMAL), {}))
    assert (plain.host, plain.identify) == ("db.example", False)


MISTAKES = {
    "unknown section": (
        MINIMAL + "lissen: { port: 1 }\n",
        "5:1: key 'lissen': found an unknown key (did you mean 'listen'?), expected one of "
        "listen, upstream, control, tls, policy, audit, completeness, http, limits, tcp, databases, workers, supervision, "
        "discovery",
    ),
    "missing section": (
        MINIMAL.replace("audit: { directory: audit }\n", ""),
        "1:1: found no key 'audit', expected 'audit' here",
    ),
    "unknown key": (
        MINIMAL.replace("host: db.example", "host: db.example, prot: 1"),
        "1:31: key 'upstream.prot': found an unknown key (did you mean 'port'?), expected one of "
        "host, port, connect_timeout, tls, pooling",
    ),
    "pooling": (
        MINIMAL.replace("host: db.example", "host: db.example, pooling: statement"),
        "1:40: key 'upstream.pooling': found 'statement', expected one of auto, none, session, transaction",
    ),
    "control host alone": (
        MINIMAL.replace("user: pgveil_control", "user: c, host: h"),
        "2:21: key 'control.host': found an address of the control connection's own, expected upstream.pooling: none, session or "
        "transaction",
    ),
    "control port alone": (
        MINIMAL.replace("user: pgveil_control", "user: c, port: 1"),
        "2:21: key 'control.port': found control.port alone, expected 'host' next to it",
    ),
    "port": (
        MINIMAL + "listen: { port: 70000 }\n",
        "5:17: key 'listen.port': found the number '70000', expected a whole number from 0 to 65535",
    ),
    "tls mode": (
        MINIMAL.replace("host: db.example", "host: x, tls: { mode: verify_full }"),
        "1:35: key 'upstream.tls.mode': found 'verify_full', expected one of "
        "disable, prefer, require, verify-ca, verify-full (did you mean 'verify-full'?)",
    ),
    "no such file": (
        MINIMAL.replace("[policy.yaml]", "[nothing.yaml]"),
        "3:10: key 'policy[0]': there is no file {home}/nothing.yaml, expected a policy file",
    ),
    "variable": (
        MINIMAL.replace("user: pgveil_control", 'user: c, password: "${NOPE}"'),
        "2:31: key 'control.password': the environment variable NOPE is not set, expected a variable that holds the password",
    ),
    "two passwords": (
        MINIMAL.replace("user: pgveil_control", "user: c, password: x, password_file: secret"),
        "2:34: key 'control.password_file': found a second way to give the password, expected only 'password'",
    ),
    "stale": (
        MINIMAL.replace("user: pgveil_control", "user: c, interval: 60s, max_stale: 30s"),
        "2:36: key 'control.max_stale': found 30 s, expected max_stale above the interval (60 s)",
    ),
    "duration": (
        MINIMAL + "limits: { login_timeout: soon }\n",
        "5:26: key 'limits.login_timeout': found 'soon', expected a duration such as 500ms, 30s, 5m, 2h or 1d",
    ),
    "zero": (
        MINIMAL + "limits: { login_timeout: 0s }\n",
        "5:26: key 'limits.login_timeout': found '0s', expected a duration above zero",
    ),
    "rate": (
        MINIMAL + "limits: { connection_rate: 20 }\n",
        "5:28: key 'limits.connection_rate': found the number '20', expected a number per second, minute or hour, such as 20/s, "
        "100/m or 1000/h",
    ),
    "client certificates": (
        MINIMAL + "tls: { cert: cert.pem, key: key.pem, client_ca: ca.pem, mode: allow }\n",
        "5:57: key 'tls.mode': found 'allow' with client_ca, which plain connections would evade, expected mode: require",
    ),
    "audit mode": (
        MINIMAL.replace("directory: audit", "directory: audit, mode: off"),
        "4:34: key 'audit.mode': found the boolean 'off', expected one of strict, before-result, async",
    ),
    "no databases": (
        MINIMAL + "databases: []\n",
        "5:12: key 'databases': found a list, expected at least one database",
    ),
    "a list at the top": ("- x\n", "1:1: found a list, expected a mapping (key: value)"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(home: Path, name: str) -> None:
    text, expected = MISTAKES[name]
    path = write(home, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert str(caught.value) == f"{path}:" + expected.replace("{home}", str(home))


def test_no_file(home: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(home / "none.yaml", {})
    assert str(caught.value) == f"{home}/none.yaml:1:1: cannot be read: No such file or directory"


@pytest.mark.parametrize(("written", "count"), [("3", 3), ("1", 1), ("auto", available_cpus())])
def test_workers(home: Path, written: str, count: int) -> None:
    assert load_config(write(home, MINIMAL + f"workers: {written}\n"), {}).workers == count


@pytest.mark.parametrize("written", ["0", "300", "many", "[2]", "1.5"])
def test_bad_workers(home: Path, written: str) -> None:
    with pytest.raises(ConfigError, match=r"pgveil.yaml:5:10: key 'workers'.* from 1 to 256, or auto"):
        load_config(write(home, MINIMAL + f"workers: {written}\n"), {})


def test_every_worker_has_an_http_port(home: Path) -> None:
    assert load_config(write(home, MINIMAL + "http: { port: 65534 }\nworkers: 2\n"), {}).workers == 2
    with pytest.raises(ConfigError, match="a port with 2 more above it"):
        load_config(write(home, MINIMAL + "http: { port: 65534 }\nworkers: 3\n"), {})
