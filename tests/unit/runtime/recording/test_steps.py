from typing import Any

from augserve.data.tables.schema import StepRow
from augserve.runtime.recording.steps import MAX_IN_FLIGHT, StepLog


def step(number: int, start_s: float) -> StepRow:
    return StepRow(number, start_s, 0, 1, 1, 0.5, 0, 1, 2048, 0.001)


def outputs(count: int) -> list[Any]:
    return [object() for _ in range(count)]


def test_a_step_lasts_from_the_last_output_or_from_its_own_start() -> None:
    log, (first, second, third) = StepLog(), outputs(3)
    log.scheduled(first, step(1, 10.0))
    log.scheduled(second, step(2, 10.1))
    assert log.finished(first, 11.0) == step(1, 10.0)._replace(step_s=1.0)
    assert log.finished(second, 11.5) == step(2, 10.1)._replace(step_s=0.5)
    log.scheduled(third, step(3, 20.0))
    assert log.finished(third, 20.25) == step(3, 20.0)._replace(step_s=0.25)


def test_an_unknown_output_finishes_no_step_and_a_lost_output_is_skipped() -> None:
    log, (unknown, lost, noted) = StepLog(), outputs(3)
    assert log.finished(unknown, 1.0) is None
    log.scheduled(lost, step(1, 2.0))
    log.scheduled(noted, step(2, 3.0))
    assert log.finished(noted, 4.0) == step(2, 3.0)._replace(step_s=1.0)


def test_the_output_of_an_empty_step_leaves_steps_in_flight() -> None:
    """vLLM schedules the next step before it returns the output of an empty one, which is not noted."""
    log, (empty, following) = StepLog(), outputs(2)
    log.scheduled(following, step(1, 2.0))
    assert log.finished(empty, 2.5) is None
    assert log.finished(following, 3.0) == step(1, 2.0)._replace(step_s=0.5)


def test_the_step_time_is_not_negative_after_the_clock_is_set_back() -> None:
    log, (output,) = StepLog(), outputs(1)
    log.scheduled(output, step(1, 100.0))
    assert log.finished(output, 40.0) == step(1, 100.0)._replace(step_s=0.0)


def test_steps_whose_outputs_are_lost_are_forgotten() -> None:
    log, lost = StepLog(), outputs(MAX_IN_FLIGHT + 1)
    for number, output in enumerate(lost):
        log.scheduled(output, step(number, float(number)))
    assert log.finished(lost[0], 200.0) is None
    assert log.finished(lost[1], 201.0) == step(1, 1.0)._replace(step_s=1.0)
