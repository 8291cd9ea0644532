"""Authentication is the server's: what it asks reaches the client, the answer reaches it, and its verdict the client."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, ProxyProcess

WAYS = {"trust": "trust", "password": "password", "md5": "md5", "scram": "scram-sha-256", "reject": "reject", "ident": "ident"}
HBA = "".join(f"host all a_{name} 127.0.0.1/32 {method}\n" for name, method in WAYS.items())
HBA += "host all postgres 127.0.0.1/32 trust\nhost all a_nowhere 10.0.0.0/8 trust\n"
HBA += f"host all {CONTROL},a_nobody,a_old,a_none,a_group,a_one 127.0.0.1/32 scram-sha-256\n"
LONG = "x" * 60_000


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer({}, HBA) as running:
        assert isinstance(running, TestServer)
        roles = "".join(
            f"CREATE ROLE a_{name} LOGIN PASSWORD 'right';" for name in ("trust", "password", "scram", "ident", "nowhere")
        )
        running.execute_sql(
            "postgres",
            f"CREATE ROLE {CONTROL} LOGIN PASSWORD 'control'; {roles} SET password_encryption = md5;"
            "CREATE ROLE a_md5 LOGIN PASSWORD 'right'; CREATE ROLE a_reject LOGIN;"
            "CREATE ROLE a_old LOGIN PASSWORD 'right' VALID UNTIL '2001-01-01'; CREATE ROLE a_none LOGIN; CREATE ROLE a_group;"
            "CREATE ROLE a_one LOGIN PASSWORD 'right' CONNECTION LIMIT 0;"
            "CREATE SCHEMA shop; CREATE TABLE shop.people (phone text)",
        )
        running.execute_sql("postgres", f"SET password_encryption = 'scram-sha-256'; ALTER ROLE a_old PASSWORD '{LONG}'")
        yield running


@pytest.fixture(scope="module")
def proxy(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("auth"), server) as running:
        yield running


def outcome(port: int, user: str, password: str, **more: str) -> str:
    """What becomes of the login, in libpq's words."""
    try:
        with psycopg.connect(host="127.0.0.1", port=port, user=user, password=password, dbname="postgres", **more) as connection:
            used = connection.pgconn.used_password
            row = connection.execute("SELECT session_user").fetchone()
            return f"{row} {used}"
    except psycopg.OperationalError as error:
        return str(error).replace(f"port {port}", "port *")


@pytest.mark.parametrize("password", ["right", "wrong", "", LONG], ids=["right", "wrong", "none", "long"])
@pytest.mark.parametrize("user", [*WAYS, "nobody", "nowhere", "old", "none", "group", "one"])
def test_the_servers_verdict(server: TestServer, proxy: ProxyProcess, user: str, password: str) -> None:
    direct = outcome(server.port, f"a_{user}", password, sslmode="disable")
    assert outcome(proxy.port, f"a_{user}", password, sslmode="disable") == direct
    let_in = user == "trust" or (password == "right" and user in ("password", "md5", "scram"))
    assert ("FATAL" in direct or "no password supplied" in direct) != let_in


@pytest.mark.parametrize("wanted", ["none", "password", "md5", "scram-sha-256", "!scram-sha-256", "gss", "password,md5"])
@pytest.mark.parametrize("user", ["trust", "password", "md5", "scram"])
def test_what_the_client_insists_on(server: TestServer, proxy: ProxyProcess, user: str, wanted: str) -> None:
    direct = outcome(server.port, f"a_{user}", "right", require_auth=wanted)
    assert outcome(proxy.port, f"a_{user}", "right", require_auth=wanted) == direct


def test_channel_binding_without_tls(server: TestServer, proxy: ProxyProcess) -> None:
    direct = outcome(server.port, "a_scram", "right", channel_binding="require")
    assert outcome(proxy.port, "a_scram", "right", channel_binding="require") == direct
    assert "channel binding" in direct
