"""The small HTTP side, on a port of its own: `/metrics`, `/healthz`, `/readyz`, `/targets`. Numbers and states, no data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest


class HttpSide:
    """Serves until `close`. `obstacles` names what keeps the proxy from being ready; empty means ready."""

    def __init__(self, registry: CollectorRegistry, obstacles: Callable[[], Sequence[str]], ports: Sequence[int]) -> None:
        """`ports`: where the workers of this proxy have their HTTP sides; 0 for the one that this gets."""
        self._registry = registry
        self._ports = ports
        self._obstacles = obstacles
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which matters when `port` is 0. Raises OSError when the address is taken."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self.metrics),
                web.get("/healthz", self.healthz),
                web.get("/readyz", self.readyz),
                web.get("/targets", self.targets),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self._port = int(self._runner.addresses[0][1])
        return self._port

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(self, request: web.Request) -> web.Response:
        """The process lives and its loop turns."""
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """200 when new sessions can be served, else 503 and one reason a line."""
        obstacles = self._obstacles()
        if obstacles:
            return web.Response(status=503, text="".join(f"{o}\n" for o in obstacles))
        return web.Response(text="ready\n")

    async def targets(self, request: web.Request) -> web.Response:
        """All workers, in the form of Prometheus' http_sd_configs, by the name by which we were asked."""
        host = request.url.host or "127.0.0.1"
        host = f"[{host}]" if ":" in host else host
        return web.json_response([{"targets": [f"{host}:{port or self._port}" for port in self._ports], "labels": {}}])
