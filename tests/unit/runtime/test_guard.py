import logging

import pytest

from augserve.runtime.guard import STRIKES, SUSPENSION_S, Guard


class Bench:
    """A guard with a clock and a record of its fallbacks."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.counted: list[str] = []
        self.calls = 0
        self.guard = Guard(lambda: self.now_s, self.counted.append)

    def fail(self) -> str:
        self.calls += 1
        raise RuntimeError("broken")

    def succeed(self) -> str:
        self.calls += 1
        return "decided"


def test_a_raising_decision_falls_back_and_is_counted() -> None:
    bench = Bench()
    assert bench.guard.call("order", bench.fail, fallback="own way") == "own way"
    assert bench.counted == ["order"]


def test_three_failures_in_a_row_suspend_a_decision_for_a_while() -> None:
    bench = Bench()
    for _ in range(STRIKES + 2):
        assert bench.guard.call("order", bench.fail, fallback=None) is None
    assert bench.calls == STRIKES
    assert len(bench.counted) == STRIKES + 2
    bench.now_s = SUSPENSION_S
    assert bench.guard.call("order", bench.succeed, fallback=None) == "decided"
    assert bench.guard.call("order", bench.succeed, fallback=None) == "decided"


def test_a_failure_after_the_suspension_suspends_again() -> None:
    bench = Bench()
    for _ in range(STRIKES):
        bench.guard.call("order", bench.fail, fallback=None)
    bench.now_s = SUSPENSION_S
    bench.guard.call("order", bench.fail, fallback=None)
    bench.guard.call("order", bench.succeed, fallback=None)
    assert bench.calls == STRIKES + 1


def test_a_success_clears_the_failures_before_it() -> None:
    bench = Bench()
    for _ in range(STRIKES):
        bench.guard.call("order", bench.fail, fallback=None)
        bench.guard.call("order", bench.succeed, fallback=None)
    assert bench.calls == 2 * STRIKES


def test_setting_the_clock_back_does_not_prolong_a_suspension() -> None:
    bench = Bench()
    for _ in range(STRIKES):
        bench.guard.call("order", bench.fail, fallback=None)
    bench.now_s -= 3600.0
    assert bench.guard.call("order", bench.succeed, fallback=None) == "decided"


def test_a_failing_counter_raises_nothing() -> None:
    def broken(reason: str) -> None:
        raise OSError(f"no space left for {reason}")

    bench = Bench()
    guard = Guard(lambda: 0.0, broken)
    for _ in range(STRIKES + 1):
        assert guard.call("order", bench.fail, fallback="own way") == "own way"
    assert bench.calls == STRIKES


def test_an_attempt_reports_its_success() -> None:
    bench = Bench()
    assert bench.guard.attempt("order", bench.succeed)
    assert not bench.guard.attempt("order", bench.fail)
    assert bench.counted == ["order"]


def test_one_reason_does_not_suspend_another() -> None:
    bench = Bench()
    for _ in range(STRIKES):
        bench.guard.call("recorder", bench.fail, fallback=None)
    assert bench.guard.call("order", bench.succeed, fallback=None) == "decided"


def test_each_reason_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            bench.guard.call("order", bench.fail, fallback=None)
        bench.guard.call("budget", bench.fail, fallback=None)
    assert len(caplog.records) == 2
