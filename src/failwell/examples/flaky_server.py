"""An HTTP server on this machine that really fails: a Starlette app under uvicorn, on a free loopback port.

What a path does is a list of behaviours, one per request; the last one stays.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn import Config, Server

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["FlakyServer"]

Behaviour: TypeAlias = "Callable[[Request, asyncio.Transport], Awaitable[Response]]"


async def answer(request: Request, connection: asyncio.Transport) -> Response:
    """The answer that everybody hopes for."""
    return JSONResponse({"EUR/USD": 1.09})


async def slow(request: Request, connection: asyncio.Transport) -> Response:
    """The same, after 0.2 s."""
    await asyncio.sleep(0.2)
    return await answer(request, connection)


async def hang(request: Request, connection: asyncio.Transport) -> Response:
    """Nothing, until the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response()


async def reset(request: Request, connection: asyncio.Transport) -> Response:
    """No answer but an RST packet: a socket that is closed while it lingers for 0 s sends one."""
    connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.abort()
    return await hang(request, connection)


async def cut(request: Request, connection: asyncio.Transport) -> Response:
    """Half of the promised body, and the end of the connection."""

    async def half() -> AsyncIterator[bytes]:
        yield b'{"EUR/U'
        connection.close()
        await hang(request, connection)

    return StreamingResponse(half(), headers={"Content-Length": "16"}, media_type="application/json")


async def garbled(request: Request, connection: asyncio.Transport) -> Response:
    """A complete answer that says it is JSON, and is not."""
    return Response("<html>Almost there</html>", media_type="application/json")


async def busy(request: Request, connection: asyncio.Transport) -> Response:
    """503, come back in a second."""
    return JSONResponse({"error": "busy"}, 503, {"Retry-After": "1"})


async def busy_until(request: Request, connection: asyncio.Transport) -> Response:
    """503, come back at a date (HTTP dates are whole seconds)."""
    return JSONResponse({"error": "busy"}, 503, {"Retry-After": formatdate(math.ceil(time.time() + 0.3), usegmt=True)})


async def missing(request: Request, connection: asyncio.Transport) -> Response:
    """404: asking again will not help."""
    return JSONResponse({"error": "no such thing"}, 404)


BEHAVIOURS: Mapping[str, Sequence[Behaviour]] = {
    "/steady": [answer],
    "/slow": [slow],
    "/resets": [reset, reset, answer],
    "/busy": [busy, answer],
    "/busy-until": [busy_until, answer],
    "/hangs": [hang, answer],
    "/cut": [cut, answer],
    "/garbled": [garbled, answer],
    "/broken": [reset],
    "/missing": [missing],
}


class FlakyServer:
    """Serves until the block ends, on its own thread and event loop.

    Args:
        behaviours: Path -> what each request to it meets, in order; the last one stays.

    Attributes:
        url: Where it listens.
        requests: Path -> the monotonic times at which it was asked for.
    """

    def __init__(self, behaviours: Mapping[str, Sequence[Behaviour]] = BEHAVIOURS) -> None:
        self.requests: dict[str, list[float]] = defaultdict(list)
        self._behaviours = behaviours
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self._socket.getsockname())
        app = Starlette(routes=[Route("/{path:path}", self._serve)])
        options: dict[str, Any] = {"http": "h11", "ws": "none", "lifespan": "off", "log_config": None}
        self._server = Server(Config(app, loop="asyncio", access_log=False, log_level="critical", **options))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="flaky server")

    async def _serve(self, request: Request) -> Response:
        seen = self.requests[request.url.path]
        seen.append(time.monotonic())
        script = self._behaviours.get(request.url.path, [missing])
        connections = cast("set[H11Protocol]", self._server.server_state.connections)
        [own] = [one.transport for one in connections if one.client == request.client]
        return await script[min(len(seen), len(script)) - 1](request, own)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._server.server_state.connections)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the port and every idle connection; from then on, connecting is refused. Stopping twice is fine."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def __exit__(self, *ignored: object) -> None:
        self.stop()
