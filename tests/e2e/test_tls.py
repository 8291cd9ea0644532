"""TLS on both sides, with libpq's own checks: what is required is enforced, what is verified is verified."""

from __future__ import annotations

import os
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from proxy.wire import codec
from tests.support.certificates import Authority
from tests.support.dialogue import Client
from tests.support.postgres import TestServer
from tests.support.proxy import CONTROL, POLICY, ProxyProcess, until

PHONES = "SELECT phone FROM shop.people"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[TestServer]:
    """A server with TLS: its certificate is for localhost."""
    with TestServer() as server:
        assert isinstance(server, TestServer)
        owner = server.data_dir.stat()
        for source, name in zip(authority.issue("localhost"), ("server.crt", "server.key"), strict=True):
            target = server.data_dir / name
            target.write_bytes(source.read_bytes())
            target.chmod(0o600)
            os.chown(target, owner.st_uid, owner.st_gid)
        server.execute_sql(
            "postgres",
            f"CREATE ROLE {CONTROL} LOGIN PASSWORD 'control'; CREATE ROLE tls_user LOGIN PASSWORD 'pw';"
            "CREATE SCHEMA shop; CREATE TABLE shop.people (phone text); INSERT INTO shop.people VALUES ('13812345678');"
            "GRANT USAGE ON SCHEMA shop TO PUBLIC; GRANT SELECT ON shop.people TO PUBLIC",
        )
        server.execute_sql("postgres", "ALTER SYSTEM SET ssl = on")
        server.execute_sql("postgres", "SELECT pg_reload_conf()")
        until(lambda: server.execute_sql("postgres", "SHOW ssl") == "on", "TLS at the server")
        yield server


def start(server: TestServer, home: Path, authority: Authority, **more: str) -> ProxyProcess:
    """A proxy with a certificate for localhost."""
    home.mkdir()
    cert, key = authority.issue("localhost")
    extra = f"tls: {{ cert: {cert}, key: {key}, mode: {more.pop('mode', 'require')}{more.pop('tls_more', '')} }}"
    return ProxyProcess(home, server, extra=extra, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def proxy(server: TestServer, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with start(server, tmp_path_factory.mktemp("tls") / "home", authority) as proxy:
        yield proxy


def connect(proxy: ProxyProcess, host: str = "localhost", **more: object) -> psycopg.Connection[tuple[object, ...]]:
    arguments: dict[str, object] = {"user": "tls_user", "password": "pw", "dbname": "postgres", "connect_timeout": 20}
    return psycopg.connect(host=host, port=proxy.port, **(arguments | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_client_modes(proxy: ProxyProcess, authority: Authority, mode: str) -> None:
    with connect(proxy, sslmode=mode, sslrootcert=str(authority.certificate)) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute(PHONES).fetchall() == [("138****5678",)]


def test_direct_tls(proxy: ProxyProcess, authority: Authority) -> None:
    if psycopg.pq.version() < 170000:
        pytest.fail("this libpq cannot start TLS directly: the test extra needs psycopg[binary] with libpq 17 or later")
    options = {"sslmode": "verify-full", "sslnegotiation": "direct", "sslrootcert": str(authority.certificate)}
    with connect(proxy, **options) as connection:
        assert connection.execute(PHONES).fetchall() == [("138****5678",)]


def test_the_wrong_name_is_noticed(proxy: ProxyProcess, authority: Authority) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        connect(proxy, host="127.0.0.1", sslmode="verify-full", sslrootcert=str(authority.certificate))


def test_plain_is_refused(proxy: ProxyProcess) -> None:
    with pytest.raises(psycopg.OperationalError, match="encrypted connections only"):
        connect(proxy, sslmode="disable")


def test_both_may_come_in(server: TestServer, authority: Authority, tmp_path: Path) -> None:
    """And a rule can tell them apart."""
    rule = "rules:\n  - { name: encrypted, tls: true, columns: '*', show: clear }\n"
    policy = POLICY.partition("rules:")[0] + rule
    with start(server, tmp_path / "home", authority, mode="allow", policy=policy) as proxy:
        for mode, secure, seen in (("disable", False, "138****5678"), ("require", True, "13812345678")):
            with connect(proxy, sslmode=mode) as connection:
                assert connection.pgconn.ssl_in_use == secure
                assert connection.execute("SELECT phone FROM shop.people").fetchone() == (seen,)


def test_client_certificates(server: TestServer, authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("client")
    (tmp_path / "other").mkdir()
    strange_cert, strange_key = Authority(tmp_path / "other", "another authority").issue("client")
    more = f", client_ca: {authority.certificate}"
    with start(server, tmp_path / "home", authority, tls_more=more) as proxy:
        with connect(proxy, sslmode="require", sslcert=str(cert), sslkey=str(key)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="alert unknown ca"):
            connect(proxy, sslmode="require", sslcert=str(strange_cert), sslkey=str(strange_key))
        proxy.wait_for("event=tls_failed .*local issuer certificate")
        with pytest.raises(psycopg.OperationalError, match="connection requires a valid client certificate"):
            connect(proxy, sslmode="require", sslcert="/nonexistent")


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_client_certificates_that_are_no_longer_good(
    server: TestServer, authority: Authority, tmp_path: Path, version: str
) -> None:
    late_cert, late_key = authority.issue("late", days=-1)
    bad_cert, bad_key = authority.issue("bad")
    good_cert, good_key = authority.issue("good")
    more = f", client_ca: {authority.certificate}, client_crl: {authority.revoke(bad_cert)}"
    both = {"sslmode": "require", "ssl_min_protocol_version": version, "ssl_max_protocol_version": version}
    with start(server, tmp_path / "home", authority, tls_more=more) as proxy:
        with pytest.raises(psycopg.OperationalError, match="alert certificate expired"):
            connect(proxy, sslcert=str(late_cert), sslkey=str(late_key), **both)
        with pytest.raises(psycopg.OperationalError, match="alert certificate revoked"):
            connect(proxy, sslcert=str(bad_cert), sslkey=str(bad_key), **both)
        with connect(proxy, sslcert=str(good_cert), sslkey=str(good_key), **both) as connection:
            assert connection.execute(PHONES).fetchall() == [("138****5678",)]


def test_certificates_are_taken_up_when_their_files_change(server: TestServer, authority: Authority, tmp_path: Path) -> None:
    """Towards clients and towards the server, without a signal; a pair that does not fit leaves the old one in force."""
    (tmp_path / "new").mkdir()
    new = Authority(tmp_path / "new", "new authority")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    for source, target in zip((*authority.issue("localhost"), new.certificate), (cert, key, ca), strict=True):
        target.write_bytes(source.read_bytes())
    extra = f"tls: {{ cert: {cert}, key: {key} }}"
    tls = f"{{ mode: verify-full, ca: {ca} }}"
    proxy = ProxyProcess(tmp_path / "home", server, extra=extra, server_tls=tls).start(ready=False)
    try:
        options = {"sslmode": "verify-full", "channel_binding": "disable"}
        with pytest.raises(psycopg.OperationalError, match="could not connect to the server behind the proxy: certificate"):
            connect(proxy, sslrootcert=str(authority.certificate), **options)
        ca.write_bytes(authority.certificate.read_bytes())
        proxy.wait_for("event=certificate_loaded side=upstream")
        until(lambda: proxy.get("/readyz")[0] == 200, "the control connections are back")
        with connect(proxy, sslrootcert=str(authority.certificate), **options) as connection:
            assert connection.execute(PHONES).fetchall() == [("138****5678",)]
        new_cert, new_key = new.issue("localhost")
        cert.write_bytes(new_cert.read_bytes())
        proxy.wait_for("event=certificate_refused side=clients")
        connect(proxy, sslrootcert=str(authority.certificate), **options).close()
        key.write_bytes(new_key.read_bytes())

        def taken_up() -> bool:
            try:
                connect(proxy, sslrootcert=str(new.certificate), **options).close()
            except psycopg.OperationalError:
                return False
            return True

        until(taken_up, "the new certificate")
    finally:
        proxy.stop()


def test_cancel_over_direct_tls(proxy: ProxyProcess, server: TestServer, authority: Authority) -> None:
    """Encrypted from the first byte on; both the session and the request have to name the protocol."""

    def context(*protocols: str) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(authority.certificate))
        made.set_alpn_protocols(protocols or ("http/1.1",))
        return made

    client = Client(proxy.port, context("http/1.1", "postgresql"))
    client.start({"user": "postgres", "database": "postgres"})
    identity = client.wait("K")[5:]
    client.wait("Z")
    client.send(codec.encode_query(b"SELECT pg_sleep(60)"))
    running = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    until(lambda: server.execute_sql("postgres", running) == "1", "the statement runs")
    request = struct.pack("!ii", 8 + len(identity), 80877102) + identity
    for protocols in ((), ("postgresql",)):
        canceller = Client(proxy.port, context(*protocols))
        canceller.send(request)
        canceller.wait_close()
        assert ["ALPN" in line for line in canceller.heard[:-1]] == ([] if protocols else [True])
        canceller.close()
    client.wait("Z")
    assert [h for h in client.heard if 'C "57014"' in h]
    client.close()


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_server_modes(server: TestServer, authority: Authority, tmp_path: Path, mode: str) -> None:
    """TLS to the server, plain to the client; the control connections use it too."""
    tls = f"{{ mode: {mode}, ca: {authority.certificate} }}"
    with ProxyProcess(tmp_path / "home", server, server_tls=tls) as proxy, connect(proxy) as connection:
        assert connection.execute(PHONES).fetchall() == [("138****5678",)]
        sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE {} ORDER BY backend_start DESC LIMIT 1"
        for one in (f"pid = {connection.info.backend_pid}", f"usename = '{CONTROL}'"):
            assert server.execute_sql("postgres", sql.format(one)) == "t"


def test_an_impostor_is_refused(server: TestServer, tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    stranger = Authority(tmp_path / "ca", "another authority")
    tls = f"{{ mode: verify-full, ca: {stranger.certificate} }}"
    proxy = ProxyProcess(tmp_path / "home", server, server_tls=tls).start(ready=False)
    try:
        assert proxy.get("/readyz")[0] == 503
        with pytest.raises(psycopg.OperationalError, match="FATAL"):
            connect(proxy)
    finally:
        proxy.stop()


def test_tls_on_both_sides_with_scram(server: TestServer, authority: Authority, tmp_path: Path) -> None:
    """Channel binding cannot hold across the proxy: it is not offered, and clients that do without it get in."""
    tls = f"{{ mode: verify-full, ca: {authority.certificate} }}"
    with start(server, tmp_path / "home", authority, server_tls=tls) as proxy:
        with connect(proxy, sslmode="require", channel_binding="disable") as connection:
            assert connection.execute(PHONES).fetchall() == [("138****5678",)]
        with pytest.raises(psycopg.OperationalError):
            connect(proxy, sslmode="require", channel_binding="require")
        with pytest.raises(psycopg.OperationalError, match="SCRAM channel binding is not possible through pgveil"):
            connect(proxy, sslmode="require")


@pytest.mark.parametrize("binding", ["prefer", "require"])
def test_channel_binding_with_the_servers_own_certificate(
    server: TestServer, authority: Authority, tmp_path: Path, binding: str
) -> None:
    """The binding is a hash of the certificate: it holds across two connections that show the same one."""
    for name in ("server.crt", "server.key"):
        (tmp_path / name).write_bytes((server.data_dir / name).read_bytes())
    tls = f"{{ mode: verify-full, ca: {authority.certificate} }}"
    extra = f"tls: {{ cert: {tmp_path / 'server.crt'}, key: {tmp_path / 'server.key'} }}"
    with (
        ProxyProcess(tmp_path / "home", server, server_tls=tls, extra=extra) as proxy,
        connect(proxy, sslmode="verify-full", sslrootcert=str(authority.certificate), channel_binding=binding) as connection,
    ):
        assert connection.execute(PHONES).fetchall() == [("138****5678",)]
