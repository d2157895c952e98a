"""An API that wants a token, and the server that issues it: a Starlette app under uvicorn, on a free loopback port.

Tokens really expire, can be revoked, and are counted. What is not answered with a token that is good is refused (401).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn import Config, Server

__all__ = ["TokenServer"]


class TokenServer:
    """Serves until the block ends, on its own thread and event loop.

    Args:
        lifetime: Seconds for which a token is good.
        takes: Seconds that it takes to issue one.

    Attributes:
        url: Where it listens.
        secret: What the client has to know to get a token.
        is_up: Whether tokens are issued; otherwise it answers 503.
        issued: How many tokens it has issued.
        answered: How many calls of the API it has answered.
        refused: How many it has refused.
    """

    def __init__(self, lifetime: float = 2.0, takes: float = 0.05) -> None:
        self.secret = secrets.token_urlsafe()
        self.lifetime = lifetime
        self.takes = takes
        self.is_up = True
        self.issued = self.answered = self.refused = 0
        self._good: dict[str, float] = {}  # token -> until when
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self._socket.getsockname())
        routes = [
            Route("/token", self._token, methods=["POST"]),
            Route("/orders/{number:int}", self._order),
            Route("/audit", self._audit),
        ]
        options: dict[str, Any] = {"http": "h11", "ws": "none", "lifespan": "off", "log_config": None}
        config = Config(Starlette(routes=routes), loop="asyncio", access_log=False, log_level="critical", **options)
        self._server = Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="token server")

    def revoke(self) -> None:
        """From now on, no token that was issued is good any more."""
        self._good.clear()

    async def _token(self, request: Request) -> Response:
        await asyncio.sleep(self.takes)
        if not self.is_up:
            return JSONResponse({"error": "temporarily_unavailable"}, 503)
        if (await request.json()).get("client_secret") != self.secret:
            return JSONResponse({"error": "invalid_client"}, 401)
        token = secrets.token_urlsafe()
        self._good[token] = time.monotonic() + self.lifetime
        self.issued += 1
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime})

    async def _order(self, request: Request) -> Response:
        """An order, for whoever has a token that is good."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if time.monotonic() >= self._good.get(token, 0.0):
            return self._refuse()
        self.answered += 1
        return JSONResponse({"order": request.path_params["number"]})

    async def _audit(self, request: Request) -> Response:
        """What no token of this client opens."""
        return self._refuse()

    def _refuse(self) -> Response:
        self.refused += 1
        return JSONResponse({"error": "invalid_token"}, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
