from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.serving.settings import SchedulerSettings, Slo, StepTime
from augserve.runtime.sessions.live_turn import Forecast
from augserve.runtime.steering.preemption import MAX_VICTIMS, REVIEW_S, PreemptionOrder, victims
from augserve.runtime.vllm_compat import SchedulingPolicy

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


def order_of(
    running: list[Any], turns: dict[str, Any], active: bool = True, policy: Any = SchedulingPolicy.FCFS, **facts: Any
) -> PreemptionOrder:
    engine: Any = SimpleNamespace(
        scheduler=SimpleNamespace(running=running, policy=policy), active=active, turns=turns, **facts
    )
    return PreemptionOrder(SETTINGS, engine)


def order(*running: tuple[Any, Any]) -> list[str]:
    """Names, the cheapest to lose first; each of `running` is a request and its turn."""
    requests = [each for each, _ in running]
    losses = order_of(requests, {each.request_id: live for each, live in running}).losses(requests, NOW_S)
    return [requests[index].request_id for index in np.argsort(losses, kind="stable")]


@pytest.mark.parametrize(
    "late",
    [
        turn(first_token_s=None, arrival_s=98.0),  # waits for its first token beyond the SLO
        turn(first_token_s=99.9, arrival_s=98.0),  # had it too late
        turn(first_token_s=90.0, arrival_s=89.5),  # decodes too slowly
    ],
)
def test_a_turn_that_has_missed_its_slo_is_preempted_before_one_that_may_still_meet_it(late: Any) -> None:
    assert order((request("large", 100_000), turn()), (request("late", 50), late)) == ["late", "large"]


def test_the_pace_of_a_few_tokens_is_not_judged() -> None:
    fresh = turn(first_token_s=98.5, arrival_s=98.0)
    assert order((request("fresh", output=2), fresh), (request("other", 2000), turn())) == ["other", "fresh"]


def test_a_streaming_session_is_not_late_because_its_first_input_was_long_ago() -> None:
    session = (request("session", 2000, resumable=True), turn(first_token_s=10.0, arrival_s=5.0))
    assert order(session, (request("late", 50), turn(first_token_s=99.9, arrival_s=98.0))) == ["late", "session"]


def test_a_turn_that_is_nearly_done_is_preempted_last() -> None:
    assert order((request("ends", output=95), turn()), (request("goes on", output=5), turn())) == ["goes on", "ends"]


def test_a_turn_that_outlasts_its_forecast_is_expected_to_continue() -> None:
    old = (request("old", output=400), turn(first_token_s=80.0, arrival_s=79.5, output_tokens=100.0))
    assert order((request("young", output=50), turn()), old) == ["old", "young"]


def test_unknown_turns_have_finite_losses() -> None:
    requests = [request("a"), request("b", computed=0)]
    assert np.isfinite(order_of(requests, {}).losses(requests, NOW_S)).all()


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
    """16 running requests, and a cache with this many free blocks."""

    def __init__(self, free_blocks: int, demand: int, **engine: Any) -> None:
        self.running = [request(str(number), computed=160 - number) for number in range(16)]
        self.demand = demand
        self.now_s = 0.0
        kv_cache = SimpleNamespace(free_blocks=free_blocks, block_tokens=16)
        self.order = order_of(
            self.running,
            {},
            kv_cache=kv_cache,
            running_demand=SimpleNamespace(blocks=lambda: self.demand),
            clock=lambda: self.now_s,
            **engine,
        )

    def moved(self, now_s: float) -> bool:
        """Whether a step at this time changes the order."""
        before, self.now_s = list(self.running), now_s
        self.order.before_step()
        return before != self.running


@pytest.fixture
def plenty_may_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augserve.runtime.vllm_compat.step_demand", lambda *_: 100)


@pytest.mark.usefixtures("plenty_may_be_taken")
def test_requests_are_moved_only_if_blocks_are_missing_and_not_in_each_step() -> None:
    bench = Bench(free_blocks=10, demand=8)
    assert not bench.moved(0.5)
    bench.demand = 12
    assert bench.moved(1.0)
    assert bench.running[-1].request_id == "0", "the cheapest, in vLLM's own list"
    bench.running.insert(0, bench.running.pop())
    assert not bench.moved(1.0 + REVIEW_S / 2)
    assert bench.moved(1.0 + 2 * REVIEW_S)


@pytest.mark.usefixtures("plenty_may_be_taken")
@pytest.mark.parametrize("engine", [{"active": False}, {"policy": SchedulingPolicy.PRIORITY}])
def test_shadow_mode_and_the_callers_priority_move_nothing(engine: dict[str, Any]) -> None:
    assert not Bench(free_blocks=10, demand=12, **engine).moved(1.0)
