"""A service on language models, as it is often drawn, and the same layers in the order that answers best.

``python -m failwell.examples.llm_service`` lets both live through one bad day and tells what each call went through.
The models are stand-ins, and time is virtual: no request leaves the machine and nobody waits.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from failwell import Cache, Fallback, Outcome, RateLimiter, Retry, Router, Stack, Timeout, Validate, virtual
from failwell.backoff import Exponential
from failwell.errors import ValidationFailed, transient
from failwell.examples.story import quietly, table, tell

# --- the models -----------------------------------------------------------------------------------


async def gpt4_mini(prompt: str) -> str:
    """A small model in the cloud: quick and cheap."""
    return await BAD_DAY.ask("gpt4_mini", 1.0, prompt)


async def gpt4(prompt: str) -> str:
    """A large model in the cloud: slow and good."""
    return await BAD_DAY.ask("gpt4", 4.0, prompt)


async def local_llm(prompt: str) -> str:
    """A small model on this machine: poorer answers, but no network."""
    return await BAD_DAY.ask("local_llm", 2.0, prompt)


async def cached_fallback(prompt: str) -> str:
    """A text that was written for the worst of days."""
    return "Our assistant is out. Here is how to reach a person."


def is_prompt(prompt: str) -> bool:
    """Whether there is a question, and not a book."""
    return 0 < len(prompt.strip()) <= 4000


def is_answer(answer: str) -> bool:
    """Whether a model said anything at all."""
    return bool(answer.strip())


def fast_or_quality(prompt: str) -> str:
    """The route of a prompt: a long one gets the large model."""
    return "fast" if len(prompt) < 40 else "quality"


# --- the service ----------------------------------------------------------------------------------

cloud_llm = Router({"fast": gpt4_mini, "quality": gpt4}, fast_or_quality, name="cloud_llm")

as_drawn = (
    Validate(is_prompt)
    >> RateLimiter(10)
    >> Cache(3600, degraded="store")  # outside the fallback, and it stores whatever comes
    >> Timeout(30)
    >> Retry(3, Exponential(1.0))
    >> Validate(output=is_answer)
    >> Fallback(local_llm, cached_fallback)  # answers the first failure: nothing is left for the retry to do
)

llm_service = as_drawn >> cloud_llm


def worth_another_try(error: Exception) -> bool:
    """A model that says nothing may say something when it is asked again."""
    return transient(error) or isinstance(error, ValidationFailed)


in_order = (
    Validate(is_prompt)
    >> RateLimiter(10)
    >> Cache(3600)  # keeps the answers of the cloud only
    >> Timeout(30)
    >> Fallback(Timeout(5) >> Validate(output=is_answer) >> local_llm, cached_fallback)
    >> Retry(3, Exponential(1.0), on=worth_another_try)
    >> Timeout(6)  # innermost: a hang costs one attempt, not the call
    >> Validate(output=is_answer)
)

llm_service_in_order = in_order >> cloud_llm


# --- one bad day ----------------------------------------------------------------------------------


class Day:
    """Stand-ins for models: each has a list of what its calls meet, and is fine when that is used up."""

    def __init__(self) -> None:
        self.meets: dict[str, list[str]] = {}
        self.asked: list[str] = []

    def begin(self, meets: Mapping[str, Iterable[str]]) -> None:
        """Start a day.

        Args:
            meets: Model -> what its calls meet, in order: ``"reset"``, ``"hang"``, ``"nonsense"`` or ``"fine"``.
        """
        self.meets = {model: list(what) for model, what in meets.items()}
        self.asked = []

    async def ask(self, model: str, seconds: float, prompt: str) -> str:
        """Ask a model.

        Args:
            model: Its name.
            seconds: How long it thinks.
            prompt: What to ask.

        Raises:
            ConnectionError: If it is the turn of a reset.
        """
        self.asked.append(model)
        coming = self.meets.get(model) or ["fine"]
        what = coming.pop(0)
        if what == "reset":
            raise ConnectionError("connection reset")
        await asyncio.sleep(3600 if what == "hang" else seconds)
        return "" if what == "nonsense" else f"{model} on {prompt!r}"


BAD_DAY = Day()
MEETS = {"gpt4_mini": ["reset"], "gpt4": ["hang", "nonsense"]}
LONG = "Compare the treaties of Westphalia and Versailles."
PROMPTS = ("What is a saga?", "What is a saga?", LONG, "And what did Woodrow Wilson have to say about that?", "")


class Call(NamedTuple):
    """What became of one call, and which models were asked for it."""

    prompt: str
    outcome: Outcome[str]
    asked: tuple[str, ...]


async def live_through(layers: Stack) -> list[Call]:
    """Ask every prompt, ten minutes apart.

    Args:
        layers: What protects the models.
    """
    BAD_DAY.begin(MEETS)
    calls: list[Call] = []
    for prompt in PROMPTS:
        before = len(BAD_DAY.asked)
        outcome = await layers.outcome(cloud_llm, prompt)
        calls.append(Call(prompt, outcome, tuple(BAD_DAY.asked[before:])))
        await asyncio.sleep(600)
    return calls


def show(title: str, layers: Stack) -> None:
    """Print the layers, the story of each call, and all of them as a table.

    Args:
        title: What stands above.
        layers: What protects the models.
    """
    print(f"== {title} ==", *layers.layers, cloud_llm, sep="\n  >> ")
    calls = virtual.run(live_through(layers))
    for call in calls:
        print(f"\n{call.prompt[:20]!r}", *tell(call.outcome), sep="\n  ")
    rows = [(repr(c.prompt[:20]), len(c.asked), f"{c.outcome.elapsed:.1f}", ended(c.outcome)) for c in calls]
    print("", *table(("prompt", "models asked", "seconds", "ended"), rows), "", sep="\n")


def ended(outcome: Outcome[str]) -> str:
    """How a call ended, in one word.

    Args:
        outcome: What came of it.
    """
    return "degraded" if outcome.degraded else "answered" if outcome.ok else "failed"


def main() -> int:
    """Run it all; the exit status."""
    show("as it is drawn", as_drawn)
    show("in an order that answers", in_order)
    return 0


if __name__ == "__main__":
    sys.exit(quietly(main))
