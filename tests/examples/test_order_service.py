"""The order service: its file loads, draws and runs, on real servers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from failwell import Workflow, errors, explore
from failwell.examples import order_service as example
from failwell.examples.order_service import CONFIG, ORDER_DAY, PRICE_DAY, Server, place_order, price, serving
from failwell.workflow.layers import Compensate

ROOT = Path(__file__).resolve().parents[2]


def prices(monkeypatch: pytest.MonkeyPatch, shop: Server, other: Server) -> Workflow:
    monkeypatch.setenv("SHOP", shop.url)
    monkeypatch.setenv("PRICES_MIRROR", other.url)
    return Workflow.from_config(CONFIG, "workflows.prices")


def test_a_busy_or_hanging_server_is_asked_again_and_an_unknown_item_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Server(PRICE_DAY[:7])) as shop, serving(Server()) as other:
        workflow = prices(monkeypatch, shop, other)
        assert [workflow.execute(price, "lamp") for _ in range(3)] == [41.5, 41.5, 41.5]
        with pytest.raises(example.UnknownItem):
            workflow.execute(price, "table")
        assert len(shop.asked) == 7
        assert other.asked == []
        assert workflow.get_metrics()["timeouts"] == 1


def test_the_mirror_answers_an_outage_and_somebody_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Server(["busy"] * 99)) as shop, serving(Server()) as other:
        workflow = prices(monkeypatch, shop, other)
        assert [workflow.execute(price, "chair") for _ in range(3)] == [99.0, 99.0, 99.0]
        assert len(shop.asked) == 6  # then the circuit is open
        assert other.asked == ["/prices/chair"] * 3
        assert workflow.health().status == "degraded"
        assert workflow.circuit_breaker is not None
        assert workflow.circuit_breaker.label == "CircuitBreaker prices"
    assert "ALERT: 2 times" in capsys.readouterr().out


def test_an_order_that_cannot_be_shipped_is_undone_the_last_step_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Server(ORDER_DAY)) as shop:
        monkeypatch.setenv("SHOP", shop.url)
        workflow = Workflow.from_config(CONFIG, "workflows.orders")
        assert workflow.execute(place_order, "lamp", 1) == "shipment 3"
        with pytest.raises(errors.SagaError) as caught:
            workflow.execute(place_order, "lamp", 2)
        assert caught.value.compensated == ("refund", "release_stock")
        assert [path.split("/")[1] for path in shop.asked[3:]] == ["reserve", "charge", "ship", "refund", "release"]


def test_both_workflows_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICES_MIRROR", "http://127.0.0.1:9")
    orders = Workflow.from_config(CONFIG, "workflows.orders")
    assert any(isinstance(layer, Compensate) for layer in orders.layers)
    assert len(explore(orders, "place_order").graph().nodes) < 20
    readable = explore(Workflow.from_config(CONFIG, "workflows.prices"), "price")
    assert len(readable.graph().nodes) < 25


def test_the_program_tells_the_whole_story() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "failwell.examples.order_service"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "price of a table\n      0.0 s  attempt 1\n      0.0 s  failed with UnknownItem" in done.stdout
    assert re.search(r"prices: {'status': 'degraded', .*'circuit': 'open'}", done.stdout)
    assert "failed with SagaError" in done.stdout
    assert done.stdout.count("ALERT") == 2
