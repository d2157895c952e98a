"""What is known about load shedder."""

from __future__ import annotations

from failwell import LoadShedder
from failwell.catalog.card import Card

__all__ = ["CARD"]


def importance(path: str) -> str:
    """How important a page is."""
    return "critical" if path == "/checkout" else "normal"


CARD = Card(
    slug="load_shedder",
    name="Load shedder",
    group="Stop calling",
    intent="When there is more to do than can be done, leave out what matters least.",
    also_known_as=("load shedding", "priority shedding", "criticality", "admission control", "overload protection"),
    use_when=(
        "calls are of different worth, and too many may come at once",
        "an overloaded service answers everybody late instead of the most important in time",
        "some callers can come back later, such as batch jobs and prefetching",
    ),
    avoid_when=(
        "all calls are worth the same: use a bulkhead",
        "it is the other side that has too much to do: use an adaptive limit",
        "callers try again at once when they are refused: give them a budget for retries first",
    ),
    error_types=("LoadShedError",),
    effort="medium",
    related=("bulkhead", "adaptive_limit", "rate_limiter", "fallback"),
    symptoms=(
        "overload",
        "traffic spike",
        "everything is slow",
        "critical requests time out",
        "background jobs slow down users",
        "cpu at 100 %",
        "503 for everybody",
        "latency under load",
    ),
    module="failwell.patterns.load_shedder",
    sources=(
        "Site Reliability Engineering, ch. 21, Handling Overload (https://sre.google/sre-book/handling-overload/)",
        "Amazon Builders' Library, Using load shedding to avoid overload "
        "(https://aws.amazon.com/builders-library/using-load-shedding-to-avoid-overload/)",
        "Stripe, Scaling your API with rate limiters (https://stripe.com/blog/rate-limiters)",
        "Envoy, Overload manager "
        "(https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/overload_manager/overload_manager)",
    ),
    operation="page",
    outcomes=("ok", "fail"),
    make=lambda: LoadShedder(100, importance),
    make_alternatives=lambda: (LoadShedder(100, importance, priorities=("users", "jobs"), reserve=0.2),),
)
