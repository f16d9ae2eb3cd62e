from augserve.data.tables.schema import STEPS
from augserve.runtime.recording.steps import MAX_IN_FLIGHT, StepFacts, StepLog, step_row


def facts(step: int, start_s: float) -> StepFacts:
    return StepFacts(step, start_s, 0, 1, 1, 0.5, 0, 1, 2048, 0.001)


def test_a_step_lasts_from_the_last_output_or_from_its_own_start() -> None:
    log, outputs = StepLog(), [object() for _ in range(3)]
    first, second, third = outputs  # type: Any
    log.scheduled(first, facts(1, 10.0))
    log.scheduled(second, facts(2, 10.1))
    assert log.finished(first, 11.0) == (facts(1, 10.0), 1.0)
    assert log.finished(second, 11.5) == (facts(2, 10.1), 0.5)
    log.scheduled(third, facts(3, 20.0))
    assert log.finished(third, 20.25) == (facts(3, 20.0), 0.25)


def test_a_step_that_was_not_noted_has_no_time_and_one_lost_is_passed_over() -> None:
    log, unknown, lost, known = StepLog(), object(), object(), object()  # type: StepLog, Any, Any, Any
    assert log.finished(unknown, 1.0) is None
    log.scheduled(lost, facts(1, 2.0))
    log.scheduled(known, facts(2, 3.0))
    assert log.finished(known, 4.0) == (facts(2, 3.0), 1.0)


def test_a_step_without_tokens_in_between_loses_none_that_is_in_flight() -> None:
    """vLLM schedules the next step before it hands over the output of an empty one, which nobody notes."""
    log, empty, next_one = StepLog(), object(), object()  # type: StepLog, Any, Any
    log.scheduled(next_one, facts(1, 2.0))
    assert log.finished(empty, 2.5) is None
    assert log.finished(next_one, 3.0) == (facts(1, 2.0), 0.5)


def test_no_step_takes_less_than_no_time_though_the_clock_is_set_back() -> None:
    log, output = StepLog(), object()  # type: StepLog, Any
    log.scheduled(output, facts(1, 100.0))
    assert log.finished(output, 40.0) == (facts(1, 100.0), 0.0)


def test_steps_whose_outputs_never_come_are_not_kept_for_ever() -> None:
    log, outputs = StepLog(), [object() for _ in range(MAX_IN_FLIGHT + 1)]
    for number, output in enumerate(outputs):  # type: int, Any
        log.scheduled(output, facts(number, float(number)))
    first, second, *_ = outputs  # type: Any
    assert log.finished(first, 200.0) is None
    assert log.finished(second, 201.0) == (facts(1, 1.0), 1.0)


def test_a_row_has_the_columns_of_its_table() -> None:
    assert list(step_row(facts(1, 1.0), 0.1, "live")) == STEPS.names
