"""The conformance run, in one command: PostgreSQL, the bank, pgveil in front of it, the harness, a verdict.

    python -m tests.conformance.run [--conformance DIR] [--keep] [-v] [--only attacks|utility] [--id REGEX]
                                       [--pooler session|transaction]

Ends with status 0 only when no attack leaked, no everyday statement got a wrong answer, and at least MIN_UTILITY of
them got exactly the masked copy's answer. `--keep` then stays until Ctrl-C, with PostgreSQL and the proxy running, and
prints how to reach them; `--no-harness` starts everything and goes straight there. `--pooler` puts PgBouncer between the
proxy and PostgreSQL. Options not known here go to the harness.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from proxy.demo.embedded import ServerError, free_port
from proxy.demo.launch import LaunchError, ProxyProcess
from tests.conformance import cluster
from tests.conformance.policy import DEFAULT_CONFORMANCE, POLICY, generate
from tests.support.bouncer import Bouncer

MIN_UTILITY = 0.70
HERE = Path(__file__).parent


def main() -> int:
    options, passed_on = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    conformance: Path = options.conformance.resolve()
    if not (conformance / "run.py").is_file():
        print(f"no conformance set in {conformance}: give its directory with --conformance", file=sys.stderr)
        return 2
    try:
        with _home() as home:
            return _run(home, conformance, options, passed_on)
    except (cluster.ClusterError, LaunchError, ServerError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2


def _options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.run",
        epilog="Other options (--only, --id, --category, -v, --timeout ...) go to the harness.",
    )
    parser.add_argument("--conformance", type=Path, default=DEFAULT_CONFORMANCE, help="directory of the set")
    parser.add_argument("--keep", action="store_true", help="afterwards leave everything running until Ctrl-C")
    parser.add_argument("--no-harness", action="store_true", help="only start everything, until Ctrl-C")
    parser.add_argument("--port", type=int, help="port of the proxy [a free one]")
    parser.add_argument("--server-port", type=int, help="port of PostgreSQL [a free one]")
    parser.add_argument("--pooler", choices=["session", "transaction"], help="put PgBouncer between the proxy and PostgreSQL")
    parser.add_argument("--min-utility", type=float, default=MIN_UTILITY)
    parser.add_argument("--out", type=Path, help="where to write the harness's results.json")
    return parser.parse_known_args()


@contextmanager
def _home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="pgveil-conformance-"))
    home.chmod(0o755)  # root: the server's own user has to get through
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(home: Path, conformance: Path, options: argparse.Namespace, passed_on: list[str]) -> int:
    with cluster.server(home, options.server_port) as server:
        cluster.load(server, conformance)
        port, http_port = options.port or free_port(), free_port()
        with ExitStack() as stack:
            upstream, pooling = server.port, "auto"
            if options.pooler:
                upstream = stack.enter_context(Bouncer(server.port, options.pooler)).port
                pooling = options.pooler
            config = _write_config(home, conformance, upstream, port, http_port, pooling)
            proxy = stack.enter_context(ProxyProcess(config, http_port, home / "proxy.log"))
            code = 0
            if not options.no_harness:
                code = _harness(home, conformance, server.port, port, options, passed_on)
            if proxy.status is not None:
                print(f"conformance: the proxy died (status {proxy.status}):\n{proxy.log_tail()}", file=sys.stderr)
                return 1
            if options.keep or options.no_harness:
                _stay(home, server.port, port, proxy)
            return code


def _write_config(home: Path, conformance: Path, server_port: int, port: int, http_port: int, pooling: str) -> Path:
    """Configuration and policy: the committed policy, unless the set at hand has another intent."""
    text = generate(conformance)
    if text != POLICY.read_text(encoding="utf-8"):
        print("note: this set's policy intent is not that of tests/conformance/policy.yaml; using the set's own")
    policy = home / "policy.yaml"
    policy.write_text(text, encoding="utf-8")
    values = {
        "PORT": port,
        "SERVER_PORT": server_port,
        "POOLING": pooling,
        "HTTP_PORT": http_port,
        "USER": cluster.CONTROL_USER,
        "PASSWORD": cluster.CONTROL_PASSWORD,
        "POLICY": policy,
        "AUDIT": home / "audit",
    }
    filled = (HERE / "pgveil.yaml").read_text(encoding="utf-8")
    for name, value in values.items():
        filled = filled.replace(f"@{name}@", str(value))
    config = home / "pgveil.yaml"
    config.write_text(filled, encoding="utf-8")
    return config


def _harness(
    home: Path, conformance: Path, server_port: int, port: int, options: argparse.Namespace, passed_on: list[str]
) -> int:
    out = (options.out or home / "results.json").absolute()
    command = [sys.executable, "-B", str(conformance / "run.py"), *passed_on]
    command += ["--target", f"host=127.0.0.1 port={port} dbname={cluster.RAW}"]
    command += ["--raw", cluster.superuser(server_port, cluster.RAW)]
    command += ["--oracle", cluster.superuser(server_port, cluster.MASKED)]
    command += ["--min-utility", str(options.min_utility), "--out", str(out)]
    out.unlink(missing_ok=True)
    code = subprocess.run(command, cwd=home).returncode
    return _verdict(out, code, options.min_utility) if out.exists() else code or 1


def _verdict(out: Path, code: int, min_utility: float) -> int:
    """The harness's own verdict, made stricter: a wrong answer fails too. Says in one line what it comes to."""
    results = json.loads(out.read_text(encoding="utf-8"))
    summary = results["summary"]
    wrong = [r["id"] for r in results["utility"] if r["verdict"] == "wrong"]
    leaks = [r["id"] for r in results["attacks"] if r["verdict"] == "leaked" and not r.get("statistical")]
    failed = bool(code or wrong or leaks)
    for what, ids in (("leaked", leaks), ("wrong", wrong)):
        if ids:
            print(f"{what}: {' '.join(ids)}")
    print(
        f"conformance {'FAILED' if failed else 'passed'}: {len(leaks)} of {summary['attacks']} attacks leaked, "
        f"{summary['utility']:.1%} of {summary['utility_n']} everyday statements equal (at least {min_utility:.0%}), "
        f"{len(wrong)} wrong, {summary['seconds']:.0f} s",
        flush=True,
    )
    return 1 if failed else 0


def _stay(home: Path, server_port: int, port: int, proxy: ProxyProcess) -> None:
    print(
        f"""\
running until Ctrl-C:
  through pgveil  postgresql://analyst:analyst_pw@127.0.0.1:{port}/{cluster.RAW}
  directly        postgresql://postgres@127.0.0.1:{server_port}/{cluster.RAW}
  masked copy     postgresql://postgres@127.0.0.1:{server_port}/{cluster.MASKED}
  configuration   {proxy.config}
  proxy's log     {home / "proxy.log"}""",
        flush=True,
    )
    with suppress(KeyboardInterrupt):
        proxy.wait()


if __name__ == "__main__":
    sys.exit(main())
