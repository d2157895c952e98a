"""One path as a Mermaid sequence diagram: who calls whom, what comes back, and at what virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from failwell.events import (
    Attempt,
    CacheHit,
    CacheStored,
    Called,
    Cancelled,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Compensated,
    Compensating,
    CompensationFailed,
    CredentialRefreshed,
    CredentialRefreshFailed,
    CredentialRefreshing,
    ErrorNoted,
    Event,
    FeatureDegraded,
    FeatureRestored,
    FellBack,
    GaveUp,
    HealthChanged,
    Hedged,
    ItemStarted,
    ItemSucceeded,
    Progressed,
    Queued,
    Rejected,
    Routed,
    Slept,
    StaleServed,
    StepCompleted,
    StepStarted,
    StoreFailed,
    TimedOut,
    Waiting,
)
from failwell.flow.path import Choice, Path
from failwell.flow.story import lacking, says_it_again, seconds
from failwell.policy import Operation, labels

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration

__all__ = ["happy_path", "sequence", "unhappy_path"]

_SETTINGS = '%%{init: {"sequence": {"mirrorActors": false}}}%%'  # nobody is told twice
_SILENT = (
    Compensated,
    CompensationFailed,
    ItemSucceeded,
    Progressed,
    StepCompleted,
    CredentialRefreshed,
    CredentialRefreshFailed,
)
_ANSWERS = (CacheHit, FeatureDegraded, HealthChanged, StaleServed)


def happy_path(exploration: Exploration) -> Path:
    """A path that returns, and shows what the policy is for if one does.

    Of the paths on which nothing hangs: the likeliest that recovers, else the likeliest.

    Args:
        exploration: What was explored.

    Raises:
        LookupError: If no path returns.
    """
    good = [path for path in exploration.paths if path.ends and path.error is None]
    if not good:
        raise LookupError(f"no path of {exploration.title} returns")

    def telling(path: Path) -> tuple[bool, bool, bool, float]:
        outruns = _outruns(path)
        return outruns or not _hangs(path), outruns, _recovers(path), path.probability(0.1, 0.1)

    return max(good, key=telling)


def unhappy_path(exploration: Exploration) -> Path:
    """A path that raises (or never ends), after the policy did all it can.

    Of the paths on which nothing hangs, or else of all: the one on which most is tried, and of several
    such the likeliest.

    Args:
        exploration: What was explored.

    Raises:
        LookupError: If every path returns.
    """
    bad = [path for path in exploration.paths if path.error is not None or not path.ends]
    if not bad:
        raise LookupError(f"every path of {exploration.title} returns")
    timed_out = any(isinstance(event, TimedOut) for path in bad for event in path.events)

    def telling(path: Path) -> tuple[bool, bool, int, float]:
        cut = any(isinstance(event, TimedOut) for event in path.events)
        return path.ends, cut if timed_out else not _hangs(path), _tried(path), path.probability(0.1, 0.1)

    return max(bad, key=telling)


def _hangs(path: Path) -> bool:
    return any(choice.kind == "operation" and choice.option == "hang" for choice in path.choices)


def _outruns(path: Path) -> bool:
    """Whether an operation that was asked once more answered before one that hung, and nothing else ended that."""
    late = any(isinstance(event, Hedged) and event.seconds for event in path.events)
    return late and not any(isinstance(event, TimedOut) for event in path.events)


def _recovers(path: Path) -> bool:
    return any(event.role in ("recovery", "compensation") for event in path.events)


def _tried(path: Path) -> int:
    return sum(event.role in ("recovery", "compensation") for event in path.events)


def sequence(exploration: Exploration, path: Path) -> str:
    """One path as the text of a Mermaid ``sequenceDiagram``.

    Args:
        exploration: Where the path comes from; it names the layers.
        path: The path.
    """
    return _Telling(exploration, path).text()


class _Telling:
    """Follows a path and writes down who speaks to whom.

    ``active`` is the chain of those who wait for an answer: the caller, then layers from the outermost in.
    """

    def __init__(self, exploration: Exploration, path: Path) -> None:
        self.chain = labels(exploration.layers)
        self.inner = exploration.name
        self.whole = "" if self.chain else exploration.name  # code without layers speaks for itself
        self.path = path
        self.names: list[str] = ["caller"]
        self.active: list[str] = ["caller"]
        self.lines: list[str] = []
        self.now = 0.0
        self.lead = ""
        self.failing = ""  # the error that is on its way out, by its type
        self.racing: list[tuple[str, str]] = []  # layer, and whom it still waits for beside those who come later
        self.queues = False  # it is not known since when nobody waits any more
        ends_in_operation = bool(exploration.layers) and isinstance(exploration.layers[-1], Operation)
        for name in [*self.chain, *([] if ends_in_operation else [self.inner])]:
            self._id(name)

    def text(self) -> str:
        """The whole diagram."""
        trace = self.path.trace
        before: Choice | Event | None = None
        for place, item in enumerate(trace):
            said = isinstance(item, Event) and says_it_again(item, before)
            before = item
            if isinstance(item, Event):
                if not said:
                    self._event(item, trace[place + 1 :])
            elif item.kind == "operation":
                self._called(item, trace[place + 1 :])
            elif item.kind == "situation":
                self._up_to(item.layer)
                self._note(item.layer, f"{item.subject}: {item.option}" if item.subject != item.layer else item.option)
            elif item.kind == "decision":
                self._up_to(item.layer)
                self._note(item.layer, f"{item.subject}? {item.option}")
        self._end()
        people = [f"participant {self._id(name)} as {_plain(name)}" for name in self.names]
        return "\n".join([_SETTINGS, "sequenceDiagram", *(f"    {line}" for line in [*people, *self.lines]), ""])

    # -- what happens --

    def _event(self, event: Event, rest: Sequence[Choice | Event]) -> None:
        self.now = event.time
        layer = event.layer or self.whole
        error = getattr(event, "error", None)
        if isinstance(event, TimedOut):
            self._cut(event)
            self.failing = self._error_in(rest)
            return
        if isinstance(event, _SILENT):
            return
        if isinstance(error, BaseException):
            self.failing = type(error).__name__
        if isinstance(event, Cancelled):
            self._say(layer, "-x", event.operation, f"stop after {seconds(event.seconds)}")
            return
        if isinstance(event, Hedged):
            self._ask_once_more(event)
            return
        self._up_to(layer)
        if isinstance(event, Called):
            self.lead = f"call {event.number}"
        elif isinstance(event, Attempt):
            self.lead = f"attempt {event.number}"
        elif isinstance(event, FellBack) and self._goes_on_inside(rest):
            self.lead = f"fallback {event.order}"
        elif isinstance(event, ItemStarted):
            self.lead = f"item {event.index + 1}"
        elif isinstance(event, StepStarted):
            self.lead = f"step {event.order}"
        elif isinstance(event, Compensating):
            self.lead = f"undo {event.step}"
        elif isinstance(event, CredentialRefreshing):
            self.lead = f"refresh ({event.reason})"
        else:
            self._note(layer, _words(event))
            self.queues = isinstance(event, Queued)
            if isinstance(event, Waiting):
                self.now += event.delay
            elif isinstance(event, Rejected):
                self.failing = self._error_in(rest) or "rejected"
            elif isinstance(event, (*_ANSWERS, FellBack)):
                self.failing = ""

    def _goes_on_inside(self, rest: Sequence[Choice | Event]) -> bool:
        """Whether the layer that has just spoken calls something next; otherwise it answers by itself."""
        return bool(rest) and (isinstance(rest[0], Choice) or rest[0].layer not in self.active[:-1])

    def _called(self, choice: Choice, rest: Sequence[Choice | Event]) -> None:
        if choice.layer or self.whole:
            self._up_to(choice.layer or self.whole)
        elif choice.subject == self.inner:
            for name in self.chain:
                if name not in self.active:
                    self._enter(name)
        asker, asked = self.active[-1], choice.subject
        if self.queues and choice.option != "hang":  # what comes back takes no time, so what follows knows the time
            self.now = next((item.time for item in rest if isinstance(item, Event)), self.path.elapsed)
            self.queues = False
        self._say(asker, "->>", asked, f"{self.lead or 'call'}{'' if self.queues else f' at {seconds(self.now)}'}")
        self.lead = ""
        self.failing = ""
        if choice.option == "hang":
            self._note(asked, "no answer")
            if not self.whole:  # which may ask others meanwhile
                self.active.append(asked)
        elif choice.option == "ok":
            self._say(asked, "-->>", asker, "ok")
        else:
            self.failing = choice.option if choice.option != "fail" else self._failure(asked, rest)
            self._say(asked, "--x", asker, self.failing)

    def _ask_once_more(self, event: Hedged) -> None:
        """A layer does not wait any longer with its next attempt; what is under way goes on beside it."""
        if self.failing:
            self._up_to(event.layer)
        elif event.layer in self.active:
            place = self.active.index(event.layer) + 1
            self.racing += [(event.layer, name) for name in self.active[place : place + 1]]
            del self.active[place:]
        self.lead = f"hedge {event.number - 1}"

    def _cut(self, event: TimedOut) -> None:
        """A layer gives up on what is under way inside it."""
        self._up_to(event.layer, deepest_only=True)
        while self.active[-1] != event.layer:
            stopped = self.active.pop()
            if self.active[-1] == event.layer:
                self._say(event.layer, "-x", stopped, f"stop after {seconds(event.seconds)}")
        self._note(event.layer, f"timed out at {seconds(event.time)}")

    def _end(self) -> None:
        path = self.path
        if not path.ends:
            self._note("caller", "waits for ever")
            return
        self.failing = "" if path.error is None else type(path.error).__name__
        self._up_to("caller", "degraded answer" if path.degraded else "answer")
        self._note("caller", f"{'failed' if path.error is not None else 'answered'} after {seconds(path.elapsed)}")

    def _failure(self, operation: str, rest: Sequence[Choice | Event]) -> str:
        """The name of the error that an operation has just raised, if anybody speaks of it."""
        error: BaseException | None
        for item in rest:
            error = getattr(item, "error", None)
            if isinstance(error, BaseException) and str(error) == f"{operation} failed":
                return type(error).__name__
            if isinstance(item, Choice) and item.subject == operation:
                return "fails"
        error = self.path.error
        while error is not None and str(error) != f"{operation} failed":
            error = error.__cause__
        return "fails" if error is None else type(error).__name__

    def _error_in(self, rest: Sequence[Choice | Event]) -> str:
        """The name of the error that a layer has just raised: the next one that speaks of it knows."""
        for item in rest:
            error = getattr(item, "error", None)
            if isinstance(error, BaseException):
                return type(error).__name__
            if isinstance(item, Choice):
                return ""
        return type(self.path.error).__name__ if self.path.error is not None else ""

    # -- who speaks --

    def _enter(self, name: str) -> None:
        """The innermost of those who wait calls a layer."""
        self._say(self.active[-1], "->>", name, self.lead or "call")
        self.lead = ""
        self.active.append(name)

    def _up_to(self, name: str, answer: str = "answer", *, deepest_only: bool = False) -> None:
        """Until a layer has its say: the layers inside it return, or those around it are entered."""
        if name not in self.active:
            outer = self.chain[: self.chain.index(name)] if name in self.chain else []
            for layer in [*outer, name]:
                if layer not in self.active:
                    self._enter(layer)
        while not deepest_only and self.active[-1] != name:
            inside = self.active.pop()
            for layer, loser in self.racing:
                if layer == inside:
                    self._say(layer, "-x", loser, "stop")
            self.racing = [one for one in self.racing if one[0] != inside]
            self._say(inside, "--x" if self.failing else "-->>", self.active[-1], self.failing or answer)

    def _say(self, one: str, arrow: str, other: str, words: str) -> None:
        self.lines.append(f"{self._id(one)}{arrow}{self._id(other)}: {_plain(words)}")

    def _note(self, name: str, words: str) -> None:
        self.lines.append(f"Note over {self._id(name)}: {_plain(words)}")

    def _id(self, name: str) -> str:
        if name not in self.names:
            self.names.append(name)
        return f"p{self.names.index(name)}"


def _words(event: Event) -> str:
    match event:
        case Waiting():
            low, high = event.between
            spread = f" of {low:g} to {seconds(high)}" if low != high else ""
            return f"wait {seconds(event.delay)}{spread}"
        case GaveUp():
            return f"give up: {event.reason}"
        case Slept():
            return f"wait {seconds(event.seconds)}"
        case Rejected():
            again = "" if event.retry_after is None else f", come back in {seconds(event.retry_after)}"
            return f"rejected: {event.reason}{again}"
        case Queued():
            return "wait for a turn" + (f", {seconds(event.seconds)} at most" if event.seconds != float("inf") else "")
        case CircuitOpened():
            failed = f" after {event.failures} failure{'s' * (event.failures != 1)}" if event.failures else ""
            return f"open for {seconds(event.seconds)}{failed}"
        case CircuitHalfOpened():
            return "let a probe through"
        case CircuitClosed():
            return "close the circuit"
        case Routed():
            return f"take route {event.route}"
        case FellBack():
            return f"fall back to {event.alternative}"
        case CacheStored():
            return f"store {'degraded ' * event.degraded}for {seconds(event.ttl)}"
        case StaleServed():
            return "serve the stale answer"
        case StoreFailed():
            return "store failed"
        case ErrorNoted():
            return f"note the error: {event.where}"
        case FeatureDegraded():
            return lacking(event)
        case FeatureRestored():
            return f"{event.feature} is back"
        case HealthChanged():
            return f"now {event.status}"
        case _:
            return "".join(f" {c.lower()}" if c.isupper() else c for c in type(event).__name__).strip()


_SPECIAL = {"#": "#35;", ";": "#59;", "<": "#lt;", ">": "#gt;", ":": "#58;", "\n": " ", "%": "#37;"}


def _plain(text: str) -> str:
    """Text that means nothing else to Mermaid."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)
