"""What pattern pages take from the code: it is complete, agrees with the explorer, and is the same each time."""

from __future__ import annotations

import html
import inspect
import itertools
import re
from typing import Any

import pytest

from failwell import Cache, Fallback, Retry, Saga, Timeout, backoff, explore
from failwell import events as event_kinds
from failwell.catalog import CARDS
from failwell.flow.draw.sequence import happy_path, sequence, unhappy_path
from failwell.site import drawings
from failwell.site.fragments import FragmentError, catalog, patterns, render
from failwell.site.fragments import _measures as measures
from failwell.site.fragments._subjects import STACKS, subject, subjects

PATTERNS = [slug for slug in CARDS if slug != "stack"]


def rows(markdown: str) -> list[list[str]]:
    """The cells of the tables in a text, without their heads."""
    found: list[list[str]] = []
    lines = [*markdown.split("\n"), ""]
    for line, following in itertools.pairwise(lines):
        if line.startswith("| ") and not following.startswith("|---"):
            found.append([cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")])
    return found


# --- the card --------------------------------------------------------------------------------------


def test_a_card_says_what_the_explorer_says() -> None:
    card = CARDS["retry"]
    report = explore(card.example).report(fail=0.1)
    text = render("card", "retry")
    assert f"90{measures.NB}% → {measures.share(report.success)} answered" in text
    assert f"mean +{measures.time(report.mean_latency)}" in text
    assert card.intent in text
    assert all(f"- {reason}" in text for reason in (*card.use_when, *card.avoid_when))
    assert "[Timeout](/patterns/timeout.md)" in text
    assert "[Stack](/composition.md)" in text


def test_a_card_compares_with_the_bare_operation_when_calls_fail_and_when_they_hang() -> None:
    cells = [[cell.replace(measures.NB, " ") for cell in row] for row in rows(render("card", "timeout"))]
    assert cells == [
        ["10 % fail", "without", "90 %", "0 s", "0 s", "1"],
        ["", "with it", "90 %", "0 s", "0 s", "1"],
        ["10 % hang", "without", "90 %", "forever", "forever", "1"],
        ["", "with it", "90 %", "3 s", "30 s", "1"],
    ]


def test_a_card_counts_what_a_saga_leaves_half_done() -> None:
    text = render("card", "saga").replace(measures.NB, " ")
    # Without compensations: step 2 fails after step 1 (0.9 * 0.1), or step 3 after both (0.81 * 0.1).
    assert "left half done 17.1 % →" in text


def test_a_card_of_a_cache_tells_of_the_answers_in_store() -> None:
    text = render("card", "cache").replace(measures.NB, " ")
    assert "very high with a fresh answer in store: 90 % → 100 % answered" in text


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.9, "90 %"),
        (0.999, "99.9 %"),
        (0.99999, "99.999 %"),
        (0.0246, "2.5 %"),
        (0.5, "50 %"),
    ],
)
def test_a_share_has_the_digits_that_tell_it_from_none_and_all(p: float, shown: str) -> None:
    assert measures.share(p).replace(measures.NB, " ") == shown


def test_figures_of_a_situation_leave_out_the_paths_of_others() -> None:
    cached = explore(Cache(60) >> Timeout(5))
    assert measures.figures(cached, situations={"Cache": {"fresh": 1.0}}).worst == 0
    assert measures.figures(cached).worst == 5


# --- drawings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", subjects())
@pytest.mark.parametrize("view", ["compact", "unrolled"])
def test_a_flow_is_a_drawing_its_words_and_its_files(slug: str, view: str) -> None:
    text = render("flow", slug, view)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert all(name.startswith(f"flow-{slug}-{view}") for name in ids)
    assert text.count("<svg") == text.count("<figure") == text.count("<details") == 1
    for address in re.findall(r"\]\(/(\S+?)\)", text):
        assert address in patterns.files()


def test_ids_of_two_views_never_meet_on_one_page() -> None:
    both = render("flow", "retry") + render("flow", "retry", "unrolled") + render("catalog")
    ids = re.findall(r'\bid="([^"]+)"', both)
    assert len(ids) == len(set(ids))


def test_every_offered_file_has_a_content() -> None:
    files = patterns.files()
    assert len(files) == len(subjects()) * 2 * len(patterns.FORMATS)
    assert all(files.values())
    assert "digraph" in files["diagrams/retry.dot"].decode()
    assert callable(drawings.on_files)


def test_an_unknown_view_or_slug_is_one_sentence() -> None:
    with pytest.raises(FragmentError, match="a view is 'compact' or 'unrolled', not 'sideways'"):
        render("flow", "retry", "sideways")
    with pytest.raises(FragmentError, match="there is no 'retri'; there are retry, "):
        render("flow", "retri")


# --- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", subjects())
def test_every_path_is_listed_and_lights_up_parts_that_the_drawing_has(slug: str) -> None:
    one = subject(slug)
    listed = render("paths", slug)
    stories = [str(path).replace(" -> ", " → ") for path in explore(*one[1:3], outcomes=one.outcomes).paths]
    told = [html.unescape(story) for story in re.findall(r'aria-pressed="false">(.*?)<br>', listed)]
    assert sorted(told) == sorted(stories)
    drawn = set(re.findall(r'\bid="([^"]+)"', render("flow", slug)))
    lit = {name for names in re.findall(r'data-lights="([^"]+)"', listed) for name in names.split()}
    assert lit <= drawn


def test_a_path_shows_its_odds_and_its_time() -> None:
    listed = render("paths", "retry").replace(measures.NB, " ")
    assert "<small>90 % of all calls at 10 % failures</small>" in listed
    assert '<span class="fw-recovery" style="flex-grow:2">wait 2 s</span>' in listed
    assert "only if something hangs" in listed
    assert 'class="fw-error" style="flex-grow:30">no answer 30 s' in render("paths", "timeout").replace(
        measures.NB, " "
    )


# --- sequence diagrams -----------------------------------------------------------------------------


def fallback_feed(symbol: str) -> None: ...
def second_feed(symbol: str) -> None: ...


def told(policy: Any, choose: Any = happy_path) -> list[str]:
    """The messages of a diagram, with names for its participants."""
    explored = explore(policy)
    lines = sequence(explored, choose(explored)).split("\n")
    names = dict(re.findall(r"participant (p\d+) as (.+)", "\n".join(lines)))
    messages = [line.strip() for line in lines if ":" in line and "%%" not in line]
    return [re.sub(r"(?<![A-Za-wyz])p\d+(?!\d)", lambda m: names[m[0]], line).replace("#58;", ":") for line in messages]


def test_a_retry_that_works_out_shows_the_wait_between_its_attempts() -> None:
    assert told(Retry(backoff=backoff.Exponential())) == [
        "caller->>Retry: call",
        "Retry->>operation: attempt 1 at 0 s",
        "operation--xRetry: ConnectionError",
        "Note over Retry: wait 1 s",
        "Retry->>operation: attempt 2 at 1 s",
        "operation-->>Retry: ok",
        "Retry-->>caller: answer",
        "Note over caller: answered after 1 s",
    ]


def test_a_jittered_wait_shows_its_range() -> None:
    assert "Note over Retry: wait 1 s of 0 to 1 s" in told(Retry())


def test_layers_are_entered_from_the_outside_and_left_from_the_inside() -> None:
    assert told(Timeout(9) >> Retry(2, backoff.Fixed(1)) >> Timeout(3)) == [
        "caller->>Timeout: call",
        "Timeout->>Retry: call",
        "Retry->>Timeout 2: attempt 1",
        "Timeout 2->>operation: call at 0 s",
        "operation--xTimeout 2: ConnectionError",
        "Timeout 2--xRetry: ConnectionError",
        "Note over Retry: wait 1 s",
        "Retry->>Timeout 2: attempt 2",
        "Timeout 2->>operation: call at 1 s",
        "operation-->>Timeout 2: ok",
        "Timeout 2-->>Retry: answer",
        "Retry-->>Timeout: answer",
        "Timeout-->>caller: answer",
        "Note over caller: answered after 1 s",
    ]


def test_a_timeout_stops_what_is_inside_it() -> None:
    assert told(Timeout(30), unhappy_path) == [
        "caller->>Timeout: call",
        "Timeout->>operation: call at 0 s",
        "Note over operation: no answer",
        "Timeout-xoperation: stop after 30 s",
        "Note over Timeout: timed out at 30 s",
        "Timeout--xcaller: TimeoutExceeded",
        "Note over caller: failed after 30 s",
    ]


def test_alternatives_are_asked_by_the_fallback_in_their_order() -> None:
    messages = told(Fallback(fallback_feed, second_feed), unhappy_path)
    assert [line for line in messages if "->>" in line and "-->>" not in line] == [
        "caller->>Fallback: call",
        "Fallback->>operation: call at 0 s",
        "Fallback->>fallback_feed: fallback 1 at 0 s",
        "Fallback->>second_feed: fallback 2 at 0 s",
    ]


def test_a_saga_undoes_its_steps_backwards() -> None:
    messages = told(CARDS["saga"].example, unhappy_path)
    assert [line for line in messages if "undo" in line] == [
        "Saga->>cancel_email: undo send_email at 0 s",
        "Saga->>delete_user: undo create_user at 0 s",
    ]


def test_a_cache_says_in_which_situation_it_is() -> None:
    messages = told(Cache(60, stale_if_error=600))
    assert "Note over Cache: stale" in messages
    assert "Note over Cache: serve the stale answer" in messages
    assert messages[-1] == "Note over caller: answered after 0 s"


def test_a_path_that_never_ends_says_so() -> None:
    explored = explore(Retry(2), outcomes=("ok", "hang"))
    assert "waits for ever" in sequence(explored, unhappy_path(explored))


def test_there_is_no_unhappy_path_where_every_path_returns() -> None:
    always = explore(Fallback(Fallback.value(1)), outcomes=("ok", "fail"))
    with pytest.raises(LookupError, match=r"every path of .* returns"):
        unhappy_path(always)
    with pytest.raises(LookupError, match=r"no path of .* returns"):
        happy_path(explore(Timeout(1), outcomes=("fail",)))


@pytest.mark.parametrize("slug", subjects())
def test_every_arrow_of_a_sequence_joins_participants(slug: str) -> None:
    for text in re.findall(r"```mermaid\n(.*?)```", render("sequence", slug), re.DOTALL):
        known = set(re.findall(r"participant (p\d+) as", text))
        used = re.findall(r"^ +(p\d+)(?:->>|-->>|--x|-x)(p\d+):", text, re.MULTILINE)
        noted = re.findall(r"Note over (p\d+):", text)
        assert {name for arrow in used for name in arrow} | set(noted) <= known
        assert len(used) + len(noted) + len(known) + 2 == len(text.strip().split("\n"))


# --- parameters, figures, events -------------------------------------------------------------------


@pytest.mark.parametrize("slug", PATTERNS)
def test_every_parameter_is_told_with_its_default(slug: str) -> None:
    kind = type(CARDS[slug].example)
    known = inspect.signature(kind).parameters
    listed = rows(render("parameters", slug))
    assert [row[0].split("`")[1].lstrip("*") for row in listed] == list(known)
    assert all(effect for _, _, effect in listed)


def test_another_class_of_the_module_can_be_told_too() -> None:
    listed = rows(render("parameters", "credential_refresh", "Credential"))
    assert [row[0].split("`")[1] for row in listed] == ["fetch", "lifetime", "margin"]
    with pytest.raises(FragmentError, match=r"failwell\.patterns\.credential_refresh has no Nothing"):
        render("parameters", "credential_refresh", "Nothing")


def test_the_presets_of_another_pattern_are_told_on_its_own_page_only() -> None:
    assert "critical" in render("numbers", "retry")
    assert "critical" not in render("numbers", "retry_budget")


def test_a_parameter_that_its_class_does_not_explain_is_an_error() -> None:
    class Silent:
        """Says nothing.

        Args:
            known: This one.
        """

        def __init__(self, known: int, unknown: int = 2) -> None: ...

    with pytest.raises(LookupError, match="Silent does not say what unknown does"):
        patterns.parameters_of(Silent)


def test_figures_are_told_for_the_example_for_presets_and_for_another_setting() -> None:
    listed = rows(render("numbers", "retry"))
    settings = [row[0].split("`")[1] for row in listed]
    assert settings[0] == repr(CARDS["retry"].example)
    assert {"Retry.high_frequency()", "Retry.critical()", "Retry.batch_item()"} < set(settings)
    critical = explore(Retry.critical()).report(fail=0.1)
    row = listed[settings.index("Retry.critical()")]
    assert row[1] == measures.share(critical.success)
    assert row[-1] == str(critical.most_calls["operation"])


@pytest.mark.parametrize("slug", PATTERNS)
def test_every_event_that_exploring_meets_is_listed(slug: str) -> None:
    met = {type(event).__name__ for path in explore(CARDS[slug].example).paths for event in path.events}
    listed = {row[0].split("`")[1]: row for row in rows(render("events", slug))}
    assert met <= set(listed)
    for name, row in listed.items():
        kind = getattr(event_kinds, name)
        assert f"fw-{kind.role}" in row[1]
        assert row[3]


# --- catalog, composition, delays ------------------------------------------------------------------


def test_the_catalog_has_every_card_once_with_its_drawing() -> None:
    text = render("catalog")
    for card in CARDS.values():
        assert text.count(f"### {patterns.link_to(card.slug)}") == 1
        assert text.count(f'id="catalog-{card.slug}"') == 1
        assert card.intent in text


def test_every_failure_leads_to_a_card() -> None:
    text = render("failures")
    assert all(patterns.link_to(slug) in text for slug in CARDS)


def test_orders_are_all_permutations_and_agree_with_the_explorer() -> None:
    listed = rows(render("orders", "timeout", "retry", "fallback"))
    assert len({row[0] for row in listed}) == 6
    answered = {row[0].split("`")[1]: row[1] for row in listed}
    assert answered["Timeout >> Retry >> Fallback"] < answered["Fallback >> Retry >> Timeout"]


def test_an_unknown_layer_is_one_sentence() -> None:
    with pytest.raises(FragmentError, match="there is no layer 'hedge'; there are timeout, retry, fallback, cache"):
        render("orders", "hedge", "retry")


def test_the_recommended_stack_always_answers_and_always_ends() -> None:
    for slug in ("in-order", "home"):
        found = measures.figures(explore(subject(slug).policy), 0.3, 0.3)
        assert found.answered == pytest.approx(1.0)
        assert found.worst == 30


def test_the_stack_as_it_is_drawn_never_tries_again() -> None:
    assert measures.figures(explore(subject("as-drawn").policy)).calls["operation"] == pytest.approx(1.0)


def test_the_stack_as_it_is_coded_can_wait_for_ever() -> None:
    report = explore(subject("as-coded").policy).report()
    assert report.worst_latency == float("inf")
    assert "backup_api (fallback 1) hangs" in str(report.worst_path)


def test_what_the_page_says_of_the_language_model_service_is_so() -> None:
    drawn, in_order = (
        measures.figures(explore(subject(slug).policy), 0.1, 0.01) for slug in ("llm-as-drawn", "llm-in-order")
    )
    assert in_order.degraded < drawn.degraded / 10
    assert in_order.answered > drawn.answered
    assert in_order.mean < drawn.mean


def test_waits_and_ranges_are_those_of_the_strategies() -> None:
    waits = {row[0].split("`")[1]: row[1:] for row in rows(render("backoffs"))}
    assert waits["Fibonacci(1)"][:5] == [measures.time(s) for s in (1, 1, 2, 3, 5)]
    ranges = {row[0].split("`")[1]: row[1:] for row in rows(render("jitters"))}
    assert ranges["jitter='full'"][2] == f"0–4{measures.NB}s"
    for name in ("backoffs", "jitters"):
        assert render(name).count("<svg") == 1


def test_a_path_of_the_unusual_answer_says_which_one_it_is() -> None:
    text = render("paths", "validate").replace(measures.NB, " ")
    assert "only where input valid? no" in text
    assert "only where output valid? no" in text
    assert "jittered" not in text
    assert "45 % of all calls at 10 % failures" in render("paths", "router").replace(measures.NB, " ")


def test_a_stack_around_a_router_is_told_layer_by_layer() -> None:
    told = render("stack-code", "llm-as-drawn").split("\n")
    assert told[1] == "Validate(is_prompt)"
    assert told[-2].startswith("  >> Router({'fast': gpt4_mini, 'quality': gpt4}, ")


def test_sources_are_links() -> None:
    assert render("sources", "retry").startswith("- [Marc Brooker, ")


@pytest.mark.parametrize("slug", [*PATTERNS, *STACKS])
def test_fragments_are_the_same_each_time(slug: str) -> None:
    names = (
        ("flow", "paths", "sequence") if slug in STACKS else ("card", "flow", "paths", "sequence", "numbers", "events")
    )
    for name in names:
        assert render(name, slug) == render(name, slug)
    assert isinstance(CARDS["saga"].example, Saga)


def bars(slug: str) -> list[list[str]]:
    """What the bars under the paths of an example say, each bar once."""
    found = re.findall(r'<span class="fw-timeline">(.*?)</span></button>', patterns.paths(slug))
    told = [re.sub(r"<.*?>", "|", bar).replace("\u00a0", " ").strip("|").split("||") for bar in found]
    return [bar for place, bar in enumerate(told) if bar not in told[:place]]


def test_a_bar_tells_waiting_for_a_turn_and_between_attempts_from_waiting_for_an_answer() -> None:
    assert bars("rate_limiter") == [["wait 2 s"]]
    assert bars("with-tenacity") == [
        ["wait 1 s"],
        ["wait 1 s", "wait 2 s"],
        ["no answer 5 s"],
        ["wait 1 s", "no answer 5 s"],
        ["wait 1 s", "wait 2 s", "no answer 5 s"],
    ]


def test_what_only_refuses_says_when_it_does() -> None:
    assert patterns.gain_words("circuit_breaker").endswith("but no call is made while it is `open`")
    assert patterns.gain_words("bulkhead").endswith("but no call is made while it is `stuck` or `full`")
    assert patterns.gain_words("cache").startswith("very high with a fresh answer in store")


def test_without_degrading_an_answer_needs_all_of_its_parts() -> None:
    assert patterns.gain_words("degrade").replace(measures.NB, " ") == "high: 72.9 % → 90 % answered"
    text = render("card", "degrade").replace(measures.NB, " ")
    assert "| 10 % fail | without | 72.9 % |" in text
    assert "|  | with it, required only | 90 % (90 % degraded) |" in text


def test_what_only_tells_promises_nothing() -> None:
    assert patterns.gain_words("health_check") == "none by itself: it tells, it does not mend"
    assert "with it, just probed" in render("card", "health_check")


@pytest.mark.parametrize(
    ("widths", "alone"),
    [
        ([300], [True]),
        ([300, 300], [False, False]),
        ([300, 300, 300], [False, False, True]),
        ([782.5, 300, 300], [True, False, False]),
        ([300, 782.5], [True, True]),
        ([782.5], [True]),
    ],
)
def test_no_card_stands_beside_nothing(widths: list[float], alone: list[bool]) -> None:
    assert catalog._rows([f'<svg width="{width}" height="900"/>' for width in widths]) == alone


def test_a_frame_knows_how_wide_its_drawing_is() -> None:
    framed = patterns.framed(
        '<svg xmlns="x" viewBox="0 0 814 316" width="814" height="316"><rect width="5"/></svg>', "A"
    )
    assert '<svg style="--fw-wide: 814px" xmlns="x" viewBox="0 0 814 316" width="814"' in framed
    assert framed.count("--fw-wide") == 1


@pytest.mark.parametrize(
    ("slug", "error"),
    [
        ("circuit_breaker", "CircuitOpenError"),
        ("recovery", "CircuitOpenError"),
        ("bulkhead", "BulkheadFullError"),
        ("adaptive_limit", "ConcurrencyLimitedError"),
        ("load_shedder", "LoadShedError"),
    ],
)
def test_what_can_refuse_is_shown_refusing(slug: str, error: str) -> None:
    unhappy = render("sequence", slug).partition("**When it does not**")[2]
    assert f"`{error}` after 0" in unhappy
    assert "rejected" in unhappy


def test_a_sequence_says_how_many_lanes_it_needs_room_for() -> None:
    shown = render("sequence", "retry")
    assert shown.count('<div class="fw-drawing fw-lanes" style="--fw-lanes: 3"') == shown.count("```mermaid") == 2
