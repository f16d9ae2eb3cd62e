"""Random events on vLLM's real scheduler: the invariants hold after each step, and shadow mode equals stock vLLM."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from vllm.config import VllmConfig
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from augserve.models.serving.settings import Admission, Residency, SchedulerSettings, StepTime
from augserve.runtime.vllm_compat import vllm_version

from ..invariants import check_budget, check_scheduler, pins_of
from .conftest import EngineMaker, Guessing, TestedScheduler, by_priority, no_prefix_caching, one_lora, speculating
from .events import Event, Player, events
from .waits import Waits

Change = Callable[[VllmConfig], None] | None
CHANGES: tuple[Change, ...] = (None, by_priority, one_lora, speculating, no_prefix_caching)
SETTINGS = SchedulerSettings(
    step_time=StepTime(base_s=0.01, per_prefill_token_s=0.1),  # makes every context worth pinning
    residency=Residency(heavy_s=3600.0),  # nothing is heavy
    admission=Admission(pass_over_s=0.1, overdue_share=0.125),
    max_wait_s=0.5,
)
HOLDING = dataclasses.replace(SETTINGS, residency=Residency(share=0.6, heavy_s=30.0, keep=0.01, longest_wait_s=0.5))
"""Prompts of 300 tokens and more are heavy."""
any_workload = st.tuples(events, st.sampled_from(CHANGES), st.sampled_from([4_096, 10_000]), st.sampled_from([3, 32]))
BURSTS: list[Event] = [("arrive", 3, 0)] * 4
TWINS: list[Event] = [("step", 5), ("arrive", 4, 38), ("arrive", 6, 4835), *BURSTS, ("arrive", 10, 2769)]
"""Several requests compute the same blocks, so that the prefix cache has them twice."""
patiently = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.skipif(
    Version(vllm_version) < Version("0.32"),
    reason="stock vLLM 0.29 breaks them itself: a request whose grammar does not compile may stay, and blocks leak",
)
@settings(patiently, max_examples=120)
@example(workload=([*TWINS, *[("step", 5)] * 4], by_priority, 4_096, 3), decided=SETTINGS)
@given(workload=any_workload, decided=st.sampled_from([SETTINGS, HOLDING]))
def test_every_invariant_holds_after_each_step(
    make_engine: EngineMaker, workload: tuple[list[Event], Change, int, int], decided: SchedulerSettings
) -> None:
    played, change, kv_tokens, most = workload
    engine = make_engine(change=change, kv_tokens=kv_tokens, max_num_seqs=most, settings=decided, predictor=Guessing())
    assert isinstance(engine.scheduler, TestedScheduler)
    player = Player(engine, adapters=change is one_lora)

    waits = Waits(engine)

    def step() -> None:
        waits.before_step()
        engine.step()
        check_scheduler(engine.scheduler)
        if engine.last is not None:
            check_budget(engine.scheduler, engine.last, engine.budgets[-1])
        if change is not by_priority and decided is SETTINGS:  # a priority goes before any wait, and so does room
            waits.check()

    for event in played:
        for _ in range(player.play(event)):
            step()
    player.let_all_end()
    engine.drain(step)
    finished = engine.finished()
    assert {number: finished.get(number) for number in player.expected} == player.expected
    assert engine.scheduler.engine.metrics.value("fallbacks") == 0, "no decision fell back"
    engine.scheduler.decisions.contexts.release_all()  # type: ignore[union-attr]
    assert not pins_of(engine.scheduler)
    engine.assert_nothing_is_left()


@settings(patiently, max_examples=60)
@given(any_workload, st.sampled_from(["shadow", "observe"]))
def test_outputs_in_other_modes_equal_those_of_stock_vllm(
    make_engine: EngineMaker, workload: tuple[list[Event], Change, int, int], mode: str
) -> None:
    played, change, kv_tokens, most = workload
    facts = {"change": change, "kv_tokens": kv_tokens, "max_num_seqs": most}
    ours = Player(make_engine(mode=mode, settings=SETTINGS, **facts), adapters=change is one_lora)
    stock = Player(make_engine(AsyncScheduler, **facts), adapters=change is one_lora)
    for event in played:
        due = [player.play(event) for player in (ours, stock)]
        for _ in range(due[0]):
            scheduled = []
            for player in (ours, stock):
                player.engine.step()
                scheduled.append(player.engine.last)
            assert scheduled[0] == scheduled[1]
    for player in (ours, stock):
        player.let_all_end()
        player.engine.drain()
    assert ours.engine.scheduled == stock.engine.scheduled
    assert ours.engine.outputs == stock.engine.outputs
    free_blocks = [
        player.engine.scheduler.kv_cache_manager.block_pool.get_num_free_blocks() for player in (ours, stock)
    ]
    assert free_blocks[0] == free_blocks[1], "stock vLLM 0.29 itself leaks some"
