from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.serving.settings import SchedulerSettings, Slo, StepTime
from augserve.runtime.sessions.live_turn import Forecast
from augserve.runtime.steering.preemption import MAX_VICTIMS, REVIEW_S, LossJudge, PreemptionOrder, victims

SETTINGS = SchedulerSettings(Slo(ttft_s=1.0, tpot_s=0.1), step_time=StepTime(base_s=0.01, per_prefill_token_s=1e-4))
NOW_S = 100.0


class Running:
    """Stands for vLLM's request; compared by identity, as that is."""

    max_tokens = 1000

    def __init__(self, request_id: str, computed: int, output: int, resumable: bool) -> None:
        self.request_id = request_id
        self.num_computed_tokens = computed
        self.num_output_tokens = output
        self.resumable = resumable


def request(name: str, computed: int = 1000, output: int = 10, resumable: bool = False) -> Any:
    return Running(name, computed, output, resumable)


def turn(first_token_s: float | None = 99.5, arrival_s: float = 99.0, output_tokens: float = 100.0) -> Any:
    forecast = Forecast(output_tokens, 1.0, 1.0)
    return SimpleNamespace(first_token_s=first_token_s, arrival_s=arrival_s, forecast=forecast)


def order(*running: tuple[Any, Any]) -> list[str]:
    """Names, the cheapest to lose first; each of `running` is a request and its turn."""
    judge = LossJudge(SETTINGS, {each.request_id: live for each, live in running})
    losses = judge.losses([each for each, _ in running], NOW_S)
    return [running[index][0].request_id for index in np.argsort(losses, kind="stable")]


@pytest.mark.parametrize(
    "late",
    [
        turn(first_token_s=None, arrival_s=98.0),  # waits for its first token beyond the SLO
        turn(first_token_s=99.9, arrival_s=98.0),  # had it too late
        turn(first_token_s=90.0, arrival_s=89.5),  # decodes too slowly
    ],
)
def test_a_turn_that_has_missed_its_slo_goes_before_one_that_may_be_in_time(late: Any) -> None:
    assert order((request("large", 100_000), turn()), (request("late", 50), late)) == ["late", "large"]


def test_the_pace_of_a_few_tokens_tells_nothing() -> None:
    fresh = turn(first_token_s=98.5, arrival_s=98.0)
    assert order((request("fresh", output=2), fresh), (request("other", 2000), turn())) == ["other", "fresh"]


def test_a_streaming_session_is_not_late_because_its_first_input_was_long_ago() -> None:
    session = (request("session", 2000, resumable=True), turn(first_token_s=10.0, arrival_s=5.0))
    assert order(session, (request("late", 50), turn(first_token_s=99.9, arrival_s=98.0))) == ["late", "session"]


def test_who_is_nearly_done_frees_its_memory_by_itself() -> None:
    assert order((request("ends", output=95), turn()), (request("goes on", output=5), turn())) == ["goes on", "ends"]


def test_who_has_outlived_its_forecast_is_expected_to_go_on() -> None:
    old = (request("old", output=400), turn(first_token_s=80.0, arrival_s=79.5, output_tokens=100.0))
    assert order((request("young", output=50), turn()), old) == ["old", "young"]


def test_a_turn_that_nobody_knows_is_judged_all_the_same() -> None:
    judge = LossJudge(SETTINGS, {})
    assert np.isfinite(judge.losses([request("a"), request("b", computed=0)], NOW_S)).all()


def names(requests: list[Any]) -> str:
    return "".join(each.request_id for each in requests)


def test_no_more_victims_are_chosen_than_needed_and_the_cheapest_comes_last() -> None:
    running = [request(name) for name in "abcde"]
    assert names(victims(running, np.array([3.0, 1.0, 2.0, 0.5, 9.0]), missing_tokens=1500)) == "bd"


def test_of_equal_losses_the_latest_comes_last_as_in_vllm() -> None:
    running = [request(name) for name in "abcde"]
    assert names(victims(running, np.ones(5), missing_tokens=2500)) == "cde"


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 3000)), max_size=40), st.integers(-5, 50_000))
def test_victims_are_few_and_the_cheapest_of_all(rows: list[tuple[float, int]], missing: int) -> None:
    running = [request(str(number), computed) for number, (_, computed) in enumerate(rows)]
    losses = [loss for loss, _ in rows]
    chosen = [int(each.request_id) for each in victims(running, np.array(losses), missing)]
    assert len(chosen) == len(set(chosen)) <= MAX_VICTIMS
    assert [losses[index] for index in chosen] == sorted(losses)[: len(chosen)][::-1]
    freed = sum(rows[index][1] for index in chosen)
    assert freed >= missing or len(chosen) == min(MAX_VICTIMS, len(rows))


class Bench:
    """A scheduler with 16 running requests, and a cache with so many free blocks."""

    def __init__(self, free_blocks: int, demand: int) -> None:
        self.kv: Any = SimpleNamespace(free_blocks=free_blocks, block_tokens=16)
        self.running = [request(str(number)) for number in range(16)]
        self.scheduler: Any = SimpleNamespace(running=self.running)
        self.demand = demand
        self.now_s = 0.0
        self.judged = 0
        clock: Any = lambda: self.now_s  # noqa: E731
        bench: Any = self
        self.order = PreemptionOrder(self.scheduler, self.kv, bench, bench, clock, applied=True)

    def blocks(self) -> int:
        return self.demand

    def losses(self, running: Any, now_s: float) -> Any:
        self.judged += 1
        return np.arange(len(running), dtype=float)


def test_it_judges_only_where_blocks_are_missing_and_not_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(free_blocks=10, demand=8)
    monkeypatch.setattr("augserve.runtime.vllm_compat.step_demand", lambda *_: 100)
    bench.order.before_step()
    assert bench.judged == 0
    bench.demand = 12
    for now_s, judged in ((1.0, 1), (1.0 + REVIEW_S / 2, 1), (1.0 + 2 * REVIEW_S, 2)):
        bench.now_s = now_s
        bench.order.before_step()
        assert bench.judged == judged
        assert judged == 2 or bench.running[-1].request_id == "0", "the cheapest, in the very list of vLLM"
