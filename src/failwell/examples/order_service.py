"""An order service whose recovery is a file: prices from a server that has a bad day, orders that are undone.

``python -m failwell.examples.order_service`` tells what each call went through.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from failwell.errors import PermanentError
from failwell.examples.story import quietly, tell
from failwell.workflow import Workflow, saved_state

CONFIG = Path(__file__).with_suffix(".toml")
PRICES = {"lamp": 41.5, "chair": 99.0}


class UnknownItem(PermanentError):
    """There is no such item, however often somebody asks."""


# --- what the service calls ----------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """A server on this machine: prices, and steps of an order; it fails as its script says."""

    daemon_threads = True

    def __init__(self, script: Sequence[str] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = list(script)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride] # it serves no other

    def do_GET(self) -> None:
        """Answer, fail or hang."""
        self.server.asked.append(self.path)
        doing = self.server.script.pop(0) if self.server.script else "ok"
        if doing == "hang":
            time.sleep(0.6)
        item = self.path.rpartition("/")[2]
        known = item in PRICES or not self.path.startswith("/prices/")
        status = 503 if doing == "busy" else 200 if known else 404
        body = json.dumps(PRICES.get(item) if "/prices/" in self.path else len(self.server.asked)).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the story is told elsewhere."""


@contextmanager
def serving(server: Server) -> Generator[Server]:
    """Run a server for a block.

    Args:
        server: Which.
    """
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(url: str) -> Any:
    """GET an address.

    Args:
        url: Which.
    """
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise


# --- the operations, and what undoes them: plain functions ------------------------------------------


def price(item: str) -> float:
    """What an item costs."""
    try:
        answer: float = ask(f"{os.environ['SHOP']}/prices/{item}")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise UnknownItem(item) from error
        raise
    return answer


def place_order(item: str, quantity: int) -> str:
    """Reserve, charge, ship; what was done is put down, so that it can be undone."""
    shop, state = os.environ["SHOP"], saved_state()
    state["reservation"] = ask(f"{shop}/reserve/{item}/{quantity}")
    state["payment"] = ask(f"{shop}/charge/{item}/{quantity}")
    return f"shipment {ask(f'{shop}/ship/{item}/{quantity}')}"


def release_stock(state: Mapping[str, Any]) -> None:
    """Give back what was reserved."""
    if "reservation" in state:
        ask(f"{os.environ['SHOP']}/release/{state['reservation']}")


def refund(state: Mapping[str, Any]) -> None:
    """Give back what was paid."""
    if "payment" in state:
        ask(f"{os.environ['SHOP']}/refund/{state['payment']}")


def page_somebody(count: int) -> None:
    """What the file names as on_alert."""
    print(f"    ALERT: {count} times nobody but the mirror knew a price", flush=True)


# --- the program ---------------------------------------------------------------------------------

PRICE_DAY = ("ok", "busy", "busy", "ok", "hang", "ok", "ok", *["busy"] * 6)
"""What becomes of each request for a price, in order."""
ORDER_DAY = ("ok", "ok", "ok", "ok", "ok", "busy")
"""And of each step of an order."""


def story() -> Iterator[str]:
    """What each call goes through."""
    with serving(Server(PRICE_DAY)) as shop, serving(Server()) as mirror:
        os.environ.update(SHOP=shop.url, PRICES_MIRROR=mirror.url)
        prices = Workflow.from_config(CONFIG, "workflows.prices")
        for item in ("lamp", "lamp", "lamp", "table", "chair", "chair", "chair"):
            yield f"price of a {item}"
            yield from (f"    {line}" for line in tell(prices.outcome(price, item)))
        yield f"prices: {prices.health().as_dict()}"
        yield from _counted(prices)
    with serving(Server(ORDER_DAY)) as shop:
        os.environ["SHOP"] = shop.url
        orders = Workflow.from_config(CONFIG, "workflows.orders")
        for quantity in (1, 2):
            yield f"order of {quantity}"
            yield from (f"    {line}" for line in tell(orders.outcome(place_order, "lamp", quantity)))
        yield f"the shop was asked for {', '.join(shop.asked[3:])}"
        yield f"orders: {orders.health().as_dict()}"
        yield from _counted(orders)


def _counted(workflow: Workflow) -> Iterator[str]:
    counted = {name: number for name, number in workflow.get_metrics().items() if number}
    yield f"    {counted}"


def main() -> int:
    """Tell the story."""
    for line in story():
        print(line)
    return 0


if __name__ == "__main__":
    # The file names this module as it is imported; started as a program it is another one.
    sys.exit(quietly(importlib.import_module("failwell.examples.order_service").main))
