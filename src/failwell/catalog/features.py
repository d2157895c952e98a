"""Everything that Failwell does, in its own terms: where it is, and the test that shows it.

A test checks that what a row names can be imported, that its page is there, and that its test is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["FEATURES", "Feature"]


class Feature(NamedTuple):
    """One thing that Failwell does.

    Attributes:
        does: What it is, in a few words.
        where: The name to import, with the parameter that it is about in brackets, or a command.
        page: Its page, below ``docs``.
        test: The test that shows it: room, file and function.
    """

    does: str
    where: str
    page: str
    test: str


def _of(pattern: str, *rows: tuple[str, str, str], room: str = "patterns") -> tuple[Feature, ...]:
    """Rows of one pattern, whose page and tests are those of its name."""
    return tuple(
        Feature(does, where, f"patterns/{pattern}.md", f"{room}/test_{pattern}.py::test_{test}")
        for does, where, test in rows
    )


def _in(page: str, tests: str, *rows: tuple[str, str, str]) -> tuple[Feature, ...]:
    """Rows of one page and one file of tests."""
    return tuple(Feature(does, where, page, f"{tests}::test_{test}") for does, where, test in rows)


FEATURES: Mapping[str, tuple[Feature, ...]] = {
    "Try again": (
        *_of(
            "retry",
            ("Retry what fails for a moment", "failwell.Retry", "a_transient_error_is_tried_again_after_the_backoff"),
            (
                "A number of attempts, the first included",
                "failwell.Retry(max_attempts)",
                "max_attempts_counts_calls_and_nothing_waits_after_the_last",
            ),
            ("Only some errors: types or a predicate", "failwell.Retry(on)", "on_takes_a_type_a_tuple_or_a_predicate"),
            (
                "Retry an answer that is no good",
                "failwell.Retry(retry_result)",
                "a_rejected_result_is_tried_again_and_the_last_one_is_returned",
            ),
            (
                "A limit of time for all attempts",
                "failwell.Retry(max_elapsed)",
                "no_attempt_starts_after_max_elapsed_and_the_wait_is_clipped_to_it",
            ),
            (
                "Wait as long as the server asks for",
                "failwell.Retry(respect_retry_after)",
                "retry_after_beats_the_backoff_and_nonsense_does_not",
            ),
            ("Be told of each retry, and when it gives up", "failwell.Retry(on_retry)", "callbacks_get_the_event"),
            (
                "The original error, with one note of what was tried",
                "failwell.Retry",
                "the_original_error_is_raised_with_one_note",
            ),
            (
                "Tunings for frequent calls, critical calls and items of a batch",
                "failwell.Retry.high_frequency",
                "presets_can_be_changed",
            ),
            (
                "Plain code and async code alike, also as a decorator",
                "failwell.Retry",
                "the_first_answer_is_returned_and_nothing_waits",
            ),
        ),
        *_in(
            "patterns/retry.md",
            "kernel/test_backoff.py",
            (
                "Fixed, linear, exponential, Fibonacci and decorrelated waits",
                "failwell.backoff.Fibonacci",
                "delay_is_the_upper_bound_of_each_wait",
            ),
            (
                "A longest wait that holds whatever the jitter",
                "failwell.backoff.Exponential(max)",
                "caps_hold_after_jitter_and_after_thousands_of_attempts",
            ),
            (
                "Jitter: full, equal, or a share up and down",
                "failwell.backoff.Exponential(jitter)",
                "jitter_spreads_a_wait",
            ),
        ),
        *_of(
            "retry_budget",
            (
                "Keep the retries of a whole process a fraction of its calls",
                "failwell.RetryBudget",
                "at_each_retry_those_of_the_last_ttl_are_within_what_its_calls_and_the_minimum_allow",
            ),
        ),
        *_of(
            "credential_refresh",
            (
                "Refresh a credential before it expires",
                "failwell.Credential(margin)",
                "a_lifetime_counts_from_when_it_was_asked_for_and_ends_by_the_margin_early",
            ),
            (
                "Refresh it once more when it was refused",
                "failwell.CredentialRefresh",
                "one_that_is_refused_is_refreshed_and_used_once_more",
            ),
            ("One refresh for all who need it", "failwell.CredentialRefresh", "a_hundred_callers_cause_one_refresh"),
        ),
        *_of(
            "batch",
            (
                "Process many items, each with its own retry",
                "failwell.Batch(retry)",
                "each_item_gets_the_whole_policy_for_itself",
            ),
            (
                "Know which items failed, with error and attempts",
                "failwell.BatchFailure",
                "results_and_failures_stand_in_the_order_of_the_items",
            ),
            ("Portions and progress", "failwell.Batch(batch_size)", "callbacks_hear_of_each_item_and_each_portion"),
            ("Several items at once", "failwell.Batch(max_concurrent)", "as_many_are_under_way_at_once_as_may_be"),
        ),
    ),
    "Stop waiting": (
        *_of(
            "timeout",
            ("End what takes too long", "failwell.Timeout", "an_operation_that_hangs_is_ended_after_its_time"),
            (
                "Raise, or answer with a default",
                "failwell.Timeout(default)",
                "a_default_answers_instead_and_counts_as_degraded",
            ),
            ("Limit plain functions as well", "failwell.Timeout", "the_running_function_runs_to_its_end"),
        ),
        *_of(
            "deadline",
            (
                "One budget of time for everything inside",
                "failwell.Deadline",
                "an_operation_that_hangs_is_ended_at_the_deadline",
            ),
            ("Know what is left", "failwell.time_left", "what_is_left_is_known_inside_and_nowhere_else"),
            (
                "Take on the deadline of a request",
                "failwell.Deadline.until",
                "until_counts_from_a_moment_and_not_from_the_call",
            ),
        ),
        *_of(
            "hedge",
            (
                "Ask again beside a slow attempt; the first answer wins",
                "failwell.Hedge",
                "a_late_answer_is_asked_for_once_more_and_the_first_one_wins",
            ),
        ),
    ),
    "Stop calling": (
        *_of(
            "circuit_breaker",
            (
                "Stop calling what is down",
                "failwell.CircuitBreaker",
                "it_opens_after_failures_in_a_row_and_then_makes_no_call",
            ),
            (
                "Find out with single calls whether it is back",
                "failwell.CircuitBreaker(recovery_timeout)",
                "it_lets_one_call_through_when_its_time_is_over_and_closes_if_that_succeeds",
            ),
            (
                "Several successes before it closes",
                "failwell.CircuitBreaker(success_threshold)",
                "as_many_probes_must_succeed_as_asked_for",
            ),
            (
                "Failures within the last calls, or within a time",
                "failwell.CircuitBreaker(window)",
                "in_a_window_of_time_old_failures_are_forgotten",
            ),
            (
                "A share of failures",
                "failwell.CircuitBreaker(failure_rate)",
                "in_a_window_of_calls_the_share_of_failures_opens_it",
            ),
            (
                "Slow answers count",
                "failwell.CircuitBreaker(slow_call)",
                "a_slow_answer_counts_as_a_failure_and_is_returned",
            ),
            (
                "Only some errors count",
                "failwell.CircuitBreaker(on)",
                "an_error_that_is_none_of_its_business_counts_neither_way",
            ),
            (
                "Be told when it opens, probes and closes",
                "failwell.CircuitBreaker(on_open)",
                "callbacks_get_the_events_and_one_that_fails_changes_nothing",
            ),
            (
                "Ask for its state, failures and history",
                "failwell.CircuitBreaker.history",
                "what_makes_no_sense_is_refused_and_changes_nothing",
            ),
            (
                "Open, close, reset and half-open it by hand",
                "failwell.CircuitBreaker.half_open",
                "changes_by_hand_are_reported_but_call_nobody_back",
            ),
            (
                "Hold it open, or switch it off",
                "failwell.CircuitBreaker.force_open",
                "one_that_is_forced_open_stays_so_until_somebody_says_otherwise",
            ),
            (
                "Refusals say when to come back",
                "failwell.errors.CircuitOpenError",
                "who_comes_back_when_told_to_is_let_through",
            ),
            (
                "Tunings for high traffic and for critical services",
                "failwell.CircuitBreaker.high_traffic",
                "tunings_with_a_name_can_be_changed",
            ),
        ),
        *_of(
            "recovery",
            (
                "Decide yourself how a circuit comes back",
                "failwell.RecoveryPattern",
                "a_recovery_of_ones_own_is_told_what_happens_and_decides",
            ),
            (
                "Longer breaks after each failed probe, with jitter",
                "failwell.ExponentialRecovery",
                "each_probe_that_fails_makes_the_break_longer_up_to_a_limit",
            ),
            (
                "A maximum number of probes",
                "failwell.ExponentialRecovery(max_probes)",
                "after_so_many_probes_it_stays_open_until_it_is_reset",
            ),
            ("Features come back by their priority", "failwell.PartialRecovery", "features_come_back_in_their_order"),
            (
                "The admitted share follows success, latency and load",
                "failwell.AdaptiveRecovery",
                "the_share_settles_where_the_service_can_do_some_of_the_calls",
            ),
            (
                "Load of the processor or of memory as an input",
                "failwell.AdaptiveRecovery(load)",
                "the_load_of_the_host_comes_from_psutil",
            ),
        ),
        *_of(
            "rate_limiter",
            (
                "So many calls in a time, and no more",
                "failwell.RateLimiter",
                "no_window_sees_more_starts_than_allowed_whatever_the_numbers",
            ),
            ("Bursts", "failwell.RateLimiter(burst)", "a_burst_is_let_through_at_once_and_fills_up_again_slowly"),
            (
                "Wait for a turn, in the order of arrival",
                "failwell.RateLimiter(max_wait)",
                "who_waits_is_served_in_the_order_of_arrival",
            ),
        ),
        *_of(
            "bulkhead",
            (
                "So many calls at once",
                "failwell.Bulkhead",
                "as_many_calls_as_allowed_are_under_way_and_the_next_is_refused",
            ),
            (
                "A queue with a longest wait",
                "failwell.Bulkhead(queue_timeout)",
                "a_wait_in_the_queue_is_reported_and_so_is_one_that_was_too_long",
            ),
            (
                "Threads of its own for blocking work",
                "failwell.Bulkhead(threads)",
                "plain_functions_run_in_so_many_threads_of_its_own",
            ),
            (
                "Know how many are active, queued and rejected",
                "failwell.Bulkhead.active",
                "metrics_say_what_is_the_case_now",
            ),
        ),
        *_of(
            "adaptive_limit",
            (
                "Find out how many calls at once the other side bears",
                "failwell.AdaptiveLimit",
                "it_settles_near_what_the_server_bears_and_follows_when_that_changes",
            ),
        ),
        *_of(
            "load_shedder",
            (
                "Leave out the least important calls first",
                "failwell.LoadShedder",
                "the_least_important_calls_are_shed_first_and_the_most_important_last",
            ),
        ),
    ),
    "Answer anyway": (
        *_of(
            "fallback",
            ("Alternatives in their order", "failwell.Fallback", "alternatives_are_asked_in_order_until_one_answers"),
            (
                "Alternatives get the arguments, or the error",
                "failwell.Fallback",
                "an_alternative_that_asks_for_the_error_gets_the_one_before_it",
            ),
            ("A value instead", "failwell.Fallback.value", "a_value_answers_any_arguments_with_the_same_object"),
            ("Another service instead", "failwell.Fallback.url", "another_service_is_asked_by_url"),
            (
                "Know that an answer is not the real one",
                "failwell.Outcome",
                "an_alternative_gets_the_same_arguments_and_marks_the_answer",
            ),
        ),
        *_of(
            "cache",
            (
                "Answer again from memory for a time",
                "failwell.Cache",
                "an_answer_is_given_again_until_its_time_is_over",
            ),
            (
                "An old answer when the operation fails",
                "failwell.Cache(stale_if_error)",
                "when_the_operation_fails_an_older_answer_stands_in",
            ),
            (
                "Always ask, and remember only for failures",
                "failwell.Cache",
                "without_a_ttl_it_is_always_asked_and_answers_only_for_a_failure",
            ),
            ("One call for many who ask at once", "failwell.Cache(single_flight)", "a_hundred_tasks_cause_one_call"),
        ),
        *_of(
            "router",
            (
                "Choose among operations by the arguments",
                "failwell.Router",
                "each_call_goes_to_the_route_that_is_selected_and_to_no_other",
            ),
            ("A route for what fits none", "failwell.Router(default)", "an_unknown_route_falls_to_the_default"),
        ),
        *_of(
            "validate",
            (
                "Check arguments and answers",
                "failwell.Validate",
                "only_valid_calls_are_made_and_only_valid_answers_come_back",
            ),
            (
                "Ask somebody else for an answer that is not valid",
                "failwell.Validate(output)",
                "a_fallback_answers_for_what_is_not_valid",
            ),
        ),
        *_of(
            "safe_call",
            (
                "Call once, with a default for failures",
                "failwell.safe_call",
                "an_error_of_every_day_is_answered_with_the_default",
            ),
            (
                "The failure is logged, with its traceback",
                "failwell.safe_call",
                "what_is_answered_is_logged_with_its_traceback",
            ),
            ("Mistakes in the program are not hidden", "failwell.safe_call", "a_mistake_in_the_program_is_not_hidden"),
        ),
        *_of(
            "degrade",
            (
                "Give the features that work, and say which are missing",
                "failwell.Degrade",
                "every_feature_is_answered_or_stood_in_for_or_missing_and_the_most_important_is_asked_first",
            ),
            (
                "The last good answer of a feature",
                "failwell.Feature(last_good)",
                "the_last_good_answer_stands_in_until_it_is_too_old",
            ),
            ("Reading only", "failwell.Degrade.read_only", "what_writes_is_refused_while_only_reading_is_possible"),
            (
                "Reading only, for as long as a circuit is open",
                "failwell.Degrade",
                "a_circuit_breaker_makes_reading_only_automatic",
            ),
            (
                "Switch features off, or all below a priority",
                "failwell.Degrade",
                "below_a_level_only_required_features_are_asked",
            ),
        ),
    ),
    "Undo": (
        *_of(
            "saga",
            ("Undo completed steps in reverse order", "failwell.Saga", "completed_steps_are_undone_in_reverse_order"),
            (
                "Pairs of action and compensation, or steps with names",
                "failwell.Step",
                "steps_run_in_order_and_leave_their_results_in_the_state",
            ),
            ("Compensations get the saved state", "failwell.Step", "a_compensation_gets_the_state"),
            (
                "Compensations are all tried, whatever happens",
                "failwell.Saga",
                "every_compensation_is_tried_whatever_the_others_do",
            ),
            (
                "Steps and compensations with a retry",
                "failwell.Step(retry)",
                "a_step_may_be_tried_again_forward_and_back",
            ),
            ("A limit of time for a saga", "failwell.Saga(timeout)", "before_each_step_the_time_is_looked_at"),
            ("Steps one by one, in a block", "failwell.Saga", "steps_can_be_run_one_by_one"),
            (
                "Be told when undoing starts and is complete",
                "failwell.Saga(on_compensation_start)",
                "callbacks_get_the_events",
            ),
        ),
    ),
    "Combine": (
        *_in(
            "composition.md",
            "patterns/test_stack.py",
            (
                "Stack patterns; what stands outside is written first",
                "failwell.Stack",
                "the_outermost_layer_is_written_first",
            ),
            ("The order decides what happens", "failwell.Stack", "the_order_decides_what_happens"),
            ("Stacks as decorators", "failwell.Stack", "two_decorators_are_one_stack"),
        ),
        *_in(
            "examples/llm_service.md",
            "examples/test_llm_service.py",
            (
                "A language model service with all layers",
                "failwell.examples.llm_service",
                "in_order_the_same_day_is_answered",
            ),
        ),
        *_in(
            "examples/api_client.md",
            "examples/test_api_client.py",
            (
                "A client of an unreliable API, on a real server",
                "failwell.examples.api_client",
                "retry_after_in_seconds_is_honoured",
            ),
        ),
        *_in(
            "examples/token_client.md",
            "examples/test_token_client.py",
            (
                "A client whose tokens expire and are revoked, on a real server",
                "failwell.examples.token_client",
                "twenty_callers_who_are_refused_cause_one_request_for_a_token_and_are_answered",
            ),
        ),
        *_in(
            "patterns/workflow.md",
            "examples/test_order_service.py",
            (
                "An order service from a TOML file, on real servers",
                "failwell.examples.order_service",
                "an_order_that_cannot_be_shipped_is_undone_the_last_step_first",
            ),
        ),
        *_of(
            "workflow",
            (
                "A whole recovery from a mapping or a TOML file",
                "failwell.Workflow.from_config",
                "a_file_says_what_a_mapping_says",
            ),
            ("A primary strategy and further ones", "failwell.Workflow(primary_strategy)", "every_layer_has_its_place"),
            (
                "Retry first, then the open circuit, then the fallback",
                "failwell.Workflow",
                "first_attempts_then_the_open_circuit_then_the_fallback",
            ),
            (
                "A limit of time for everything",
                "failwell.Workflow(global_timeout)",
                "the_global_timeout_ends_attempts_and_waits",
            ),
            (
                "A limit of attempts for everything",
                "failwell.Workflow(max_total_attempts)",
                "attempts_that_the_function_makes_itself_count_too",
            ),
            (
                "Errors that are transient or permanent here",
                "failwell.Workflow(transient_errors)",
                "errors_that_are_said_to_be_transient_are_tried_again_and_permanent_ones_are_not",
            ),
            (
                "A fallback value, function or service, also on timeouts",
                "failwell.Workflow(fallback)",
                "a_fallback_answers_timeouts_unless_told_not_to",
            ),
            (
                "A fallback for some errors, also where the work was undone",
                "failwell.Workflow(fallback)",
                "a_fallback_for_some_errors_looks_at_what_was_behind_an_undoing_or_a_limit",
            ),
            (
                "The address of a fallback service from the environment",
                "failwell.Workflow(fallback)",
                "variables_of_an_address_may_come_from_elsewhere",
            ),
            (
                "The last good answer when the operation fails",
                "failwell.Workflow(cache)",
                "the_last_good_answer_is_given_only_when_the_operation_fails",
            ),
            (
                "A plain list of compensations with the saved state",
                "failwell.Workflow(compensation)",
                "compensations_run_in_reverse_with_the_saved_state",
            ),
            (
                "Compensations that are added while the work goes on",
                "failwell.saved_state",
                "actions_may_be_added_while_the_work_goes_on",
            ),
            (
                "A limit of time for work that would have to be undone",
                "failwell.Workflow(compensation)",
                "work_that_takes_too_long_is_undone",
            ),
            (
                "Be told when a workflow undoes what was done",
                "failwell.Workflow(compensation)",
                "the_start_and_the_end_of_undoing_are_told_once",
            ),
            (
                "Counts of attempts, successes, fallbacks and compensations",
                "failwell.Workflow.get_metrics",
                "what_is_counted_is_the_truth",
            ),
            (
                "Alerts after so many errors",
                "failwell.Workflow(alert_threshold)",
                "an_alert_comes_after_so_many_errors_and_again_after_so_many_more",
            ),
            (
                "Be told of errors, also of those that are answered",
                "failwell.Workflow(on_error)",
                "an_error_is_reported_even_if_it_is_answered",
            ),
            (
                "Callbacks get what they have parameters for",
                "failwell.Workflow(on_error)",
                "callbacks_get_what_they_have_parameters_for",
            ),
            (
                "One circuit for several workflows",
                "failwell.Workflow(circuit_breaker)",
                "a_pattern_that_is_made_already_may_stand_for_its_table",
            ),
            ("Health with the share of errors", "failwell.Workflow.health", "health_follows_the_latest_executions"),
            ("Ready-made workflows", "failwell.Workflow.retrying", "the_usual_workflows_have_names_of_their_own"),
            (
                "Mistakes in a configuration are named with the key",
                "failwell.errors.ConfigurationError",
                "a_misspelt_key_is_named_with_the_nearest_one",
            ),
            (
                "What contradicts something else or has no effect is named, too",
                "failwell.errors.ConfigurationError",
                "what_contradicts_or_has_no_effect_is_named",
            ),
        ),
        *_of(
            "error_classification",
            ("Tell what may pass from what will not", "failwell.errors.classify", "only_what_may_pass_is_tried_again"),
            (
                "Errors of well-known libraries are recognised",
                "failwell.errors.classify",
                "a_refused_connection_may_pass_in_every_library",
            ),
            (
                "A table of errors and the pattern to try first",
                "failwell.errors",
                "the_pattern_of_each_line_handles_the_error_of_that_line",
            ),
        ),
        *_in(
            "patterns/error_classification.md",
            "kernel/test_errors.py",
            ("Register errors of your own", "failwell.errors.register", "types_of_the_users_own_can_be_registered"),
        ),
        *_of(
            "error_context",
            (
                "Errors say where they happened",
                "failwell.InContext",
                "an_error_is_raised_as_it_is_with_one_note_and_one_event",
            ),
            (
                "One id for all that is done for a request",
                "failwell.InContext(correlation_id)",
                "contexts_inside_belong_to_the_same_request_and_the_next_request_is_another",
            ),
            (
                "A block of code as a context",
                "failwell.errors.context",
                "a_block_is_a_context_too_and_takes_the_id_of_the_one_around",
            ),
            (
                "The context of an error, long after",
                "failwell.errors.context_of",
                "a_record_about_an_error_says_where_that_happened_also_outside_of_the_context",
            ),
            ("Log records with the context", "failwell.ContextFilter", "a_log_record_says_where_it_was_written"),
            (
                "No secrets in what is told",
                "failwell.InContext",
                "no_secret_gets_into_notes_events_words_or_log_records",
            ),
        ),
        *_of(
            "health_check",
            (
                "Say how a dependency is, with one probe for all who ask",
                "failwell.HealthCheck",
                "many_tasks_share_one_probe",
            ),
            (
                "No flapping",
                "failwell.HealthCheck(failure_threshold)",
                "the_status_changes_only_after_so_many_probes_in_a_row",
            ),
            (
                "Probes in the background",
                "failwell.HealthCheck.running",
                "a_check_runs_in_the_background_for_as_long_as_a_block",
            ),
            ("A slow answer is a degraded one", "failwell.HealthCheck", "a_slow_answer_is_a_degraded_one"),
            (
                "A report over everything that is registered",
                "failwell.health",
                "a_report_is_as_bad_as_the_worst_that_is_critical",
            ),
        ),
    ),
    "Watch": (
        *_in(
            "api/events.md",
            "kernel/test_events.py",
            (
                "Listen to everything that patterns do",
                "failwell.subscribe",
                "a_subscriber_hears_every_thread_and_task_until_it_unsubscribes",
            ),
            ("Listen in one block", "failwell.listening", "who_listens_in_a_block_hears_its_tasks_and_threads_only"),
            (
                "How one call went: value, error, events, time, degraded or not",
                "failwell.Outcome",
                "an_outcome_tells_how_a_call_ended",
            ),
        ),
    ),
    "See": (
        *_in(
            "explorer/index.md",
            "flow/test_explore.py",
            ("Every path that a stack can take", "failwell.explore", "the_paths_partition_everything_that_can_happen"),
        ),
        *_in(
            "explorer/views.md",
            "flow/test_draw_formats.py",
            ("Flow diagrams as SVG, PNG, DOT, Mermaid and text", "failwell draw", "svg_holds_every_box_and_arrow_once"),
            (
                "A saga that undoes the last step first, on the whiteboard",
                "failwell draw",
                "the_whiteboard_of_saga_undoes_the_last_step_first",
            ),
        ),
        *_in(
            "explorer/views.md",
            "flow/test_draw_theme.py",
            (
                "Shapes and colours that say what a box is",
                "failwell draw",
                "every_role_has_a_shape_and_a_word_of_its_own",
            ),
        ),
        *_in(
            "explorer/views.md",
            "flow/test_states.py",
            ("State machines", "failwell draw --view states", "the_breaker_is_the_textbook_picture"),
        ),
        *_in(
            "explorer/views.md",
            "flow/test_sequence.py",
            ("Who calls whom", "failwell draw --view sequence", "every_call_is_answered_or_stopped"),
        ),
        *_in(
            "explorer/views.md",
            "flow/test_timeline.py",
            ("What takes how long", "failwell draw --view timeline", "calls_waits_limits_and_the_end_are_bars_in_time"),
        ),
        *_in(
            "patterns/workflow.md",
            "cli/test_workflow_files.py",
            (
                "Drawings of a TOML file, without what the environment holds",
                "failwell draw",
                "one_table_of_a_file_is_drawn_without_what_the_environment_holds",
            ),
            ("What a TOML file does, in words and numbers", "failwell explain", "a_file_is_explained"),
        ),
        *_in(
            "explorer/whiteboards.md",
            "flow/test_excalidraw.py",
            ("Whiteboards with sticky notes to edit", "failwell draw", "sticky_notes_hold_the_code_and_the_times"),
        ),
        *_in(
            "explorer/whiteboards.md",
            "flow/test_canvas.py",
            ("Boards for note-taking programs", "failwell draw", "notes_hold_the_code_and_the_times"),
        ),
        *_in(
            "explorer/report.md",
            "flow/test_report.py",
            (
                "Exact odds of success, worst cases and expected calls",
                "failwell.explore",
                "retry_succeeds_unless_every_attempt_fails",
            ),
        ),
        *_in(
            "explorer/lint.md",
            "flow/test_lint.py",
            ("Find mistakes in a stack", "failwell explain", "there_is_an_example_of_each_rule_and_no_other"),
        ),
        *_in(
            "explorer/trace.md",
            "flow/test_trace.py",
            ("Find a real call among the paths", "failwell draw --trace", "a_real_call_finds_the_path_that_it_took"),
        ),
        *_in(
            "explorer/foreign.md",
            "flow/test_foreign.py",
            (
                "Explore code that uses other libraries",
                "failwell.explore",
                "a_retry_of_tenacity_tells_its_attempts_and_waits",
            ),
        ),
    ),
    "Test": (
        *_in(
            "testing.md",
            "testing/test_scripted.py",
            (
                "Operations that fail as told, and remember their calls",
                "failwell.testing.failing",
                "each_call_does_what_the_next_entry_says_and_the_last_one_holds",
            ),
            ("Operations that hang", "failwell.testing.HANG", "a_hang_ends_when_it_is_cut"),
            (
                "How many calls were under way at once",
                "failwell.testing.failing",
                "how_many_were_under_way_at_once_is_known",
            ),
        ),
        *_in(
            "testing.md",
            "testing/test_plugin.py",
            ("Tests in virtual time", "failwell.testing.plugin", "async_and_plain_tests_run_in_virtual_time"),
        ),
        *_in(
            "testing.md",
            "testing/test_chaos.py",
            (
                "Failures, delays and hangs injected into real calls",
                "failwell.testing.fault",
                "a_failure_is_raised_and_the_call_is_not_made",
            ),
            (
                "Faults in a client that is there already",
                "failwell.testing.fault",
                "a_real_dependency_can_be_made_to_fail_where_it_is",
            ),
            (
                "Start and stop faults while all runs",
                "failwell.testing.Fault.stop",
                "it_can_be_started_and_stopped_at_any_time",
            ),
        ),
        *_in(
            "testing.md",
            "kernel/test_switch.py",
            (
                "Switch all policies off",
                "failwell.testing.disabled",
                "functions_that_were_decorated_before_are_disabled_too_and_work_again_afterwards",
            ),
            (
                "Switch them off for a whole process, by the environment",
                "failwell.testing.disabled",
                "the_environment_switches_a_whole_process_off_and_the_log_says_so",
            ),
        ),
        *_in(
            "explorer/tests.md",
            "flow/test_testfile.py",
            ("Tests that are generated from the paths", "failwell tests", "a_change_of_behaviour_fails_some_test"),
        ),
    ),
}
"""What the catalog is about and what is done with it -> its features."""
