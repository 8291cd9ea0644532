"""The places where anchors are kept: each takes lines, and gives them back where it can.

Contract: `send` returns when the place has the lines for good, or raises AnchorError with a reason that holds no secret. Lines
may come twice; every place allows that. None of this touches the event loop for long: files are written by a thread of their own,
because a mount may hang.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import aiohttp
import asyncpg

from proxy.anchors.settings import AnchorTarget, FileTarget, HttpTarget, PostgresTarget, S3Target
from proxy.audit.anchor import decode_claims
from proxy.control.connection import FAILURES, Target, connect
from proxy.tls import server_context

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds for one attempt."""


class AnchorError(Exception):
    """A place does not take, or give, anchors."""


class Place(Protocol):
    async def send(self, lines: Sequence[bytes]) -> None: ...

    async def fetch(self) -> list[bytes]: ...


def place_of(target: AnchorTarget) -> Place:
    if isinstance(target, FileTarget):
        return _File(target)
    if isinstance(target, PostgresTarget):
        return _Postgres(target)
    if isinstance(target, HttpTarget):
        return _Http(target)
    return _S3(target)


class _File:
    """Appended to, one write a batch, and synced."""

    def __init__(self, target: FileTarget) -> None:
        self._path = target.path
        self._busy = False

    async def send(self, lines: Sequence[bytes]) -> None:
        await self._aside(lambda: self._append(b"".join(line + b"\n" for line in lines)))

    async def fetch(self) -> list[bytes]:
        return (await self._aside(self._path.read_bytes)).splitlines()

    def _append(self, data: bytes) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":  # the end of a write that did not get through
                data = b"\n" + data
            while data:
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        finally:
            os.close(fd)

    async def _aside(self, work: Callable[[], T]) -> T:
        """A thread that nobody waits for when the process ends: a mount that hangs would keep it for ever."""
        if self._busy:
            raise AnchorError("the last attempt still hangs")
        self._busy = True
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def answer(result: T | None, error: Exception | None) -> None:
            self._busy = False
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result, failed = None, None
            try:
                result = work()
            except OSError as error:
                failed = AnchorError(error.strerror or "the file cannot be used")
            try:
                loop.call_soon_threadsafe(answer, result, failed)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

        threading.Thread(target=run, daemon=True).start()
        return await done


class _Postgres:
    """A row for each anchor; the login needs INSERT, and SELECT to give them back."""

    def __init__(self, target: PostgresTarget) -> None:
        self._target = target
        self._table = ".".join('"' + part.replace('"', '""') + '"' for part in target.table)

    async def send(self, lines: Sequence[bytes]) -> None:
        rows = []
        for line in lines:
            worker, head = decode_claims(line)
            rows.append((worker, head.segment, head.seq, line.decode()))
        await self._with(
            lambda c: c.executemany(f"INSERT INTO {self._table} (worker, segment, seq, line) VALUES ($1, $2, $3, $4)", rows)
        )

    async def fetch(self) -> list[bytes]:
        found: list[bytes] = []

        async def read(connection: asyncpg.Connection) -> None:
            found.extend(row[0].encode() for row in await connection.fetch(f"SELECT line FROM {self._table}"))

        await self._with(read)
        return found

    async def _with(self, work: Callable[[asyncpg.Connection], object]) -> None:
        t = self._target
        try:
            server = Target(t.host, t.port, t.user, t.password, t.tls.mode, server_context(t.tls))
            connection = await connect(server, t.database)
            try:
                await work(connection)  # type: ignore[misc]
            finally:
                await connection.close(timeout=5.0)
        except FAILURES as error:
            raise AnchorError(f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}".rstrip()) from None


class _Http:
    """A POST of one anchor a line; any 2xx says that they are kept."""

    def __init__(self, target: HttpTarget) -> None:
        self._target = target

    async def send(self, lines: Sequence[bytes]) -> None:
        headers = {"Content-Type": "application/x-ndjson"}
        try:
            if self._target.token_file is not None:
                headers["Authorization"] = f"Bearer {self._target.token_file.read_text(encoding='utf-8').strip()}"
            trust = ssl.create_default_context(cafile=self._target.ca) if self._target.ca is not None else True
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session,
                session.post(
                    self._target.url, data=b"".join(line + b"\n" for line in lines), headers=headers, ssl=trust,
                    allow_redirects=False,
                ) as answer,
            ):  # fmt: skip
                if not 200 <= answer.status < 300:
                    raise AnchorError(f"answered {answer.status}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise AnchorError(type(error).__name__) from None

    async def fetch(self) -> list[bytes]:
        raise AnchorError("a web service does not give anchors back: export them there")


class _S3:
    """An object for each anchor, named after what it anchors. obstore (MIT) signs and talks; it comes with the extra `s3`."""

    def __init__(self, target: S3Target) -> None:
        self._target = target

    def _open(self) -> tuple[Any, Any]:
        """(the library, the bucket)"""
        try:
            library = importlib.import_module("obstore")
            store = importlib.import_module("obstore.store")
        except ImportError:
            raise AnchorError("obstore is not installed: pip install 'pgveil[s3]'") from None
        t = self._target
        options = {"endpoint": t.endpoint, "access_key_id": t.access_key_id}
        try:
            if t.secret_key_file is not None:
                options["secret_access_key"] = t.secret_key_file.read_text(encoding="utf-8").strip()
            plain = t.endpoint is not None and t.endpoint.startswith("http://")
            return library, store.S3Store(
                t.bucket,
                prefix=t.prefix,
                region=t.region,
                client_options={"allow_http": plain, "timeout": f"{PATIENCE:.0f}s"},
                retry_config={"max_retries": 0},
                **{name: value for name, value in options.items() if value is not None},
            )
        except Exception as error:
            raise AnchorError(type(error).__name__) from None

    async def send(self, lines: Sequence[bytes]) -> None:
        library, store = self._open()
        for line in lines:
            worker, head = decode_claims(line)
            try:
                await library.put_async(store, f"{worker}/{head.segment:010d}-{head.seq:020d}.json", line + b"\n")
            except Exception as error:  # its errors have no base of their own
                raise AnchorError(type(error).__name__) from None

    async def fetch(self) -> list[bytes]:
        library, store = self._open()
        found = []
        try:
            async for page in library.list(store):
                for entry in page:
                    got = await library.get_async(store, entry["path"])
                    found += bytes(await got.bytes_async()).splitlines()
        except Exception as error:
            raise AnchorError(type(error).__name__) from None
        return found
