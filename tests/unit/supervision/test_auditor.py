"""What the configuration makes of the auditor, and what `pgveil check` says when there is none."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client import generate_latest

from policies.load import load_policy
from proxy.audit.verify import verify_directory
from proxy.check import _unheard
from proxy.cli import cli
from proxy.config import Config, load_config
from proxy.errors import ConfigError
from proxy.supervision.auditor import Auditor

POLICY = "version: 1\nalerts: [{ name: bulk, on: rows, more_than: 5 }, { on: refused }]\n"


def config(home: Path, supervision: str) -> Config:
    (home / "policy.yaml").write_text(POLICY)
    (home / "secret").write_text("s3cret\n")
    path = home / "pgveil.yaml"
    path.write_text(
        "upstream: { host: h }\ncontrol: { user: c }\npolicy: policy.yaml\naudit: { directory: trail }\n" + supervision, "utf-8"
    )
    return load_config(path, {"SECRET": "other", "EMPTY": ""})


def test_targets(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        "supervision: { directory: own, http: { port: 0 }, targets: {"
        " a: { webhook: 'https://h/x?y=1', secret_file: secret, severity: critical, alerts: bulk*, timeout: 1s, give_up: 1h },"
        " b: { webhook: 'http://h:1/', secret_env: SECRET }, c: { alertmanager: 'http://h:9093' }, d: { command: [x, y] } } }",
    ).supervision
    assert found is not None
    a, b, c, d = found.targets
    assert (a.address, a.secret, a.severity, a.alerts, a.timeout, a.give_up) == (
        "https://h/x?y=1", b"s3cret", "critical", ("bulk*",), 1.0, 3600.0,
    )  # fmt: skip
    assert (b.secret, c.way, d.command) == (b"other", "alertmanager", ("x", "y"))
    assert (found.directory, found.http) == (tmp_path / "own", ("127.0.0.1", 0))
    assert "s3cret" not in repr(found)
    assert "h/x" not in repr(found)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{}", "found 0 ways to deliver"),
        ("{ webhook: 'http://h', command: [x] }", "found 2 ways to deliver"),
        ("{ webhook: 'ftp://h' }", "an address that begins with http"),
        ("{ webhook: 'http://' }", "an address that begins with http"),
        ("{ webhook: 'http://h:99999' }", "an address that begins with http"),
        ("{ command: [x], secret_env: SECRET }", "found with command"),
        ("{ webhook: 'http://h', secret_env: SECRET, secret_file: secret }", "a second way to give the secret"),
        ("{ webhook: 'http://h', secret_env: EMPTY }", "EMPTY is not set"),
        ("{ webhook: 'http://h', secret_file: nowhere }", "cannot be read"),
        ("{ webhook: 'http://h', timeout: 0s }", "a duration above zero"),
        ("{ webhook: 'http://h', severity: bad }", "one of info, warning, critical"),
        ("{ webhok: 'http://h' }", "did you mean 'webhook'"),
    ],
)
def test_mistakes(tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, f"supervision: {{ targets: {{ t: {target} }} }}")
    assert message in caught.value.message
    assert "s3cret" not in caught.value.message


def test_its_own_trail_verifies(tmp_path: Path) -> None:
    settings = config(tmp_path, "supervision: {}")

    async def run() -> bytes:
        auditor = Auditor(settings)
        auditor._stop.set()
        await asyncio.wait_for(auditor.run(), 30)
        return generate_latest(auditor.registry)

    metrics = asyncio.run(run()).decode()
    for name in ("lag_bytes", "lag_seconds", "records_total", "failures_total"):
        assert f'pgveil_auditor_{name}{{consumer="alerts"}} 0.0' in metrics
    key = bytes.fromhex(settings.audit.key_file.read_text())
    report = verify_directory(settings.audit.directory, key, ["auditor"])
    assert report.ok
    assert oct(os.stat(settings.audit.directory / "supervision.sqlite").st_mode & 0o777) == "0o600"


def test_check_says_when_nobody_would_raise_them(tmp_path: Path) -> None:
    policy = load_policy([config(tmp_path, "").path.with_name("policy.yaml")])
    (line,) = _unheard(config(tmp_path, ""), policy)
    assert line.startswith("alerts bulk: only the auditor can raise them")
    assert _unheard(config(tmp_path, "supervision: {}"), policy) == []


def test_it_is_sealed_with_the_workers(tmp_path: Path) -> None:
    settings = config(tmp_path, "supervision: {}")
    settings.audit.key_file.write_text("07" * 32)
    settings.audit.key_file.chmod(0o600)
    done = CliRunner().invoke(cli, ["audit", "seal", "-c", str(settings.path)])
    assert done.exit_code == 0, done.output
    settings.audit.key_file.unlink()
    assert sorted(p.name for p in settings.audit.directory.glob("*.state")) == ["auditor.state", "main.state"]
    auditor = Auditor(settings)
    asyncio.run(auditor.drives[0].consumer.close())
