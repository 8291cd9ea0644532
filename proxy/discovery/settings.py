"""Where discovery connects, as whom, and which policy it completes: from the configuration file, the command line, or both."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

from policies.detect.dictionary import Dictionary
from policies.document import DocumentError, parse_document, read_text
from policies.language import Policy
from policies.load import build_policy, load_policy
from policies.standards import DEFAULT, STANDARDS
from proxy.config import Config, DiscoverySettings
from proxy.control.connection import FAILURES, Target, connect
from proxy.errors import ConfigError, UpstreamUnavailable
from proxy.supervise import control_target
from proxy.tls import ServerMode, ServerTls, server_context


@dataclass(frozen=True, slots=True)
class Login:
    """What the command line says; None: left to the configuration, or to the default."""

    host: str | None = None
    port: int | None = None
    user: str | None = None
    database: str | None = None
    password_env: str | None = None
    tls: str | None = None
    ca: Path | None = None


def target_of(config: Config | None, login: Login) -> tuple[Target, str]:
    """The server and login, and the database. Raises ConfigError for what is missing."""
    section = config.discovery if config is not None else None
    user = login.user or (section.user if section is not None else None)
    if user is None:
        raise ConfigError(
            "no login to read tables with: give --user, or a section `discovery` in the configuration",
            hint="The control login needs no right to read tables, so discovery takes one of its own.",
        )
    if config is None and login.host is None:
        raise ConfigError("no server: give -c or --host")
    target = control_target(config) if config is not None else _target(login.host or "", ServerTls())
    if login.tls is not None or login.ca is not None:
        mode = ServerMode(login.tls) if login.tls is not None else ServerMode.VERIFY_FULL
        tls = ServerTls(mode, login.ca or (config.upstream.tls.ca if config is not None else None))
        target = replace(target, mode=mode, context=server_context(tls))
    target = replace(
        target,
        host=login.host or target.host,
        port=login.port or target.port,
        user=user,
        password=_password(login, section),
        command_timeout=120.0,
    )
    return target, _database(config, login)


def _target(host: str, tls: ServerTls) -> Target:
    return Target(host, 5432, "", mode=tls.mode, context=server_context(tls))


def _password(login: Login, section: DiscoverySettings | None) -> str | None:
    if login.password_env is not None:
        if login.password_env not in os.environ:
            raise ConfigError(f"the environment variable {login.password_env} is not set")
        return os.environ[login.password_env]
    if section is not None and section.password is not None and login.user in (None, section.user):
        return section.password
    return os.environ.get("PGPASSWORD")


def _database(config: Config | None, login: Login) -> str:
    if login.database is not None:
        name = config.server_database(login.database) if config is not None else login.database
        if name is None:
            raise ConfigError(f"database {login.database} is not among `databases` in {config.path if config else ''}")
        return name
    served = tuple(dict.fromkeys(config.databases.values())) if config is not None and config.databases is not None else ()
    if len(served) == 1:
        return served[0]
    raise ConfigError("name the database with --database" + (f": one of {', '.join(served)}" if served else ""))


@asynccontextmanager
async def connected(target: Target, database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the discovery login. What goes wrong is told as UpstreamUnavailable, without data."""
    try:
        connection = await connect(target, database)
        try:
            yield connection
        finally:
            await connection.close(timeout=5)
    except FAILURES as error:
        reason = getattr(error, "strerror", None) or getattr(error, "sqlstate", None) or type(error).__name__
        if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InvalidCatalogNameError):
            reason = str(error)
        raise UpstreamUnavailable(
            f"cannot read database {database} on {target.host}:{target.port} as {target.user}: {reason}"
        ) from None


def read_policy(config: Config | None, output: Path | None, standard: str | None) -> tuple[Policy | None, Dictionary]:
    """The policy whose decisions stand, the output file's included, and what proposals are written with. Raises ConfigError."""
    paths = list(config.policy) if config is not None else []
    if output is not None and output.exists() and all(not p.exists() or not p.samefile(output) for p in paths):
        paths.append(output)
    source = STANDARDS[standard or DEFAULT]
    try:
        policy = load_policy(paths) if paths else None
        made = load_policy([source])
        return policy, Dictionary(policy.classes if policy is not None else {}, made.classes, read_text(source))
    except DocumentError as error:
        raise ConfigError(str(error)) from None


def check_whole(config: Config | None, output: Path, text: str) -> None:
    """The policy as it will be with `text` in the output file loads. Raises ConfigError: then nothing is written."""
    others = [
        p for p in (config.policy if config is not None else ()) if not (p.exists() and output.exists() and p.samefile(output))
    ]
    try:
        build_policy([*(parse_document(read_text(p), str(p)) for p in others), parse_document(text, str(output))], "proposed")
    except DocumentError as error:
        raise ConfigError(f"the dictionary would not load, so it is not written: {error}") from None
