import pytest

from augserve.runtime.guard import REMIND_S, STRIKES, SUSPENSION_S, Guard


class Bench:
    """A guard with a clock and a record of its fallbacks."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.counted: list[str] = []
        self.calls = 0
        self.suspended: list[tuple[str, str | None]] = []
        self.took: list[tuple[str, float]] = []
        self.guard = Guard(
            lambda: self.now_s,
            self.counted.append,
            lambda reason, cause: self.suspended.append((reason, cause)),
            lambda reason, took_s: self.took.append((reason, took_s)),
        )

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


def test_the_time_of_each_success_is_told() -> None:
    bench = Bench()
    bench.guard.call("order", bench.succeed, fallback=None)
    bench.guard.call("order", bench.fail, fallback=None)
    bench.guard.call("description", bench.succeed, fallback=None)
    ((reason, took_s),) = bench.took
    assert reason == "order"
    assert 0 <= took_s < 1


def test_a_time_that_cannot_be_told_is_no_failure() -> None:
    def broken(*_: object) -> None:
        raise OSError("no space left")

    bench = Bench()
    guard = Guard(lambda: 0.0, bench.counted.append, lambda *_: None, broken)
    assert guard.call("order", bench.succeed, fallback="own way") == "decided"
    assert not bench.counted


def test_a_failing_counter_raises_nothing() -> None:
    def broken(reason: str) -> None:
        raise OSError(f"no space left for {reason}")

    bench = Bench()
    guard = Guard(lambda: 0.0, broken, lambda reason, _: broken(reason))
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


def test_each_reason_warns_at_its_first_failure(vllm_log: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    for reason in ("order", "budget", "order", "budget"):
        bench.guard.call(reason, bench.fail, fallback=None)
    assert len(vllm_log.records) == 2


def test_a_failure_long_after_another_warns_again(vllm_log: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.guard.call("order", bench.fail, fallback=None)
    for _ in range(1000):
        bench.guard.call("order", bench.succeed, fallback=None)
    bench.now_s = 30 * 86_400.0
    bench.guard.call("order", bench.fail, fallback=None)
    assert len(vllm_log.records) == 2
    assert all("order" in record.getMessage() for record in vllm_log.records)


def test_a_lasting_failure_warns_again_and_again_but_seldom(vllm_log: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    for second in range(3600):
        bench.now_s = float(second)
        bench.guard.call("order", bench.fail, fallback=None)
    assert 3600 / REMIND_S <= len(vllm_log.records) <= 3600 / REMIND_S + 2


def test_a_suspension_is_reported_until_the_next_success(vllm_log: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    for second in range(100):
        bench.now_s = float(second)
        bench.guard.call("order", bench.fail, fallback=None)
    assert bench.suspended == [("order", "RuntimeError")]
    bench.now_s += SUSPENSION_S
    for _ in range(3):
        bench.guard.call("order", bench.succeed, fallback=None)
    assert bench.suspended == [("order", "RuntimeError"), ("order", None)]


def test_forgiven_reasons_start_anew() -> None:
    bench = Bench()
    for _ in range(STRIKES):
        bench.guard.call("order", bench.fail, fallback=None)
        bench.guard.call("budget", bench.fail, fallback=None)
    assert bench.guard.suspended == {"order", "budget"}
    bench.guard.forgive({"order", "residency"})
    assert bench.guard.suspended == {"budget"}
    assert bench.suspended[-1] == ("order", None)
    assert bench.guard.call("order", bench.succeed, fallback=None) == "decided"
    assert bench.guard.call("budget", bench.succeed, fallback=None) is None
