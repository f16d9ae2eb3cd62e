"""The rivals on vLLM's real scheduler: what they keep, whom they let go first, and that they end as vLLM does."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from augserve.data.workload.mix import augmentation_sessions
from augserve.data.workload.model import Session, ToolCall, Turn
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.pipeline.simulator.record.records import SimulationResult
from augserve.pipeline.simulator.rivals.pinned import MAX_SHARE, PinningScheduler

from ..guessing import GuessingPredictor

PINNING = ["infercept-oracle", "mars-oracle", "continuum", "continuum-holding"]


def simulate(
    policy: str, profile: StepProfile, sessions: tuple[Session, ...], settings: SchedulerSettings
) -> SimulationResult:
    """Runs to the end, looking at the pins at each step."""
    clock = VirtualClock()
    scheduler = build_policy(policy, PolicyInputs(profile.limits, settings, GuessingPredictor(), sessions, clock))
    pool = scheduler.kv_cache_manager.block_pool
    if isinstance(scheduler, PinningScheduler):
        allocate = scheduler.kv_cache_manager.allocate_slots

        def watched(request, *args, **kwargs):  # type: ignore[no-untyped-def]
            slots = allocate(request, *args, **kwargs)
            assert scheduler.pins.blocks <= MAX_SHARE * pool.num_gpu_blocks
            if slots is None:  # then no pin is left that could have helped
                needed = args[0] // scheduler.block_size
                assert not len(scheduler.pins) or needed > pool.get_num_free_blocks() + scheduler.pins.blocks
            return slots

        scheduler.kv_cache_manager.allocate_slots = watched
    result = Simulation(scheduler, profile, clock, sessions).run()
    assert all(turn.finish_s is not None for turn in result.turns)
    assert pool.get_num_free_blocks() == pool.num_gpu_blocks - 1
    return result


def crowded(pause_s: float) -> tuple[Session, ...]:
    """A session that pauses for a tool, and so many others meanwhile that its context is evicted unless it is kept."""
    session = Session("math-1-0", "math", 0.0, (Turn(3200, 16, (ToolCall("math", pause_s, 16),)), Turn(16, 16)))
    others = tuple(Session(f"qa-1-{i}", "qa", 0.7 + 0.3 * i, (Turn(1600, 4),)) for i in range(20))
    busy = Session("tts-1-0", "tts", 0.0, (Turn(32, 300),))  # an engine with nothing to do lets all pins go
    return (session, busy, *others)


def returning(result: SimulationResult) -> int:
    """Cached tokens of the session's second turn."""
    return next(turn.cached_tokens for turn in result.turns if turn.session_id == "math-1-0" and turn.turn == 1)


@pytest.mark.parametrize("policy", ["infercept-oracle", "mars-oracle", "continuum-forecast-oracle"])
def test_the_context_of_a_short_call_stays_pinned_where_vllm_evicts_it(
    policy: str, profile: StepProfile, settings: SchedulerSettings
) -> None:
    engine = dataclasses.replace(profile, limits=EngineLimits(8192, 8192, 32, 1024))
    # Computing 3216 tokens anew takes over 0.3 s, in four chunks; the others fill the cache in between.
    slow = dataclasses.replace(settings, step_time=dataclasses.replace(settings.step_time, per_prefill_token_s=5e-3))
    assert returning(simulate("vllm", engine, crowded(4.0), slow)) < 3200
    assert returning(simulate(policy, engine, crowded(4.0), slow)) >= 3200


@pytest.mark.parametrize("policy", ["infercept-oracle", "mars-oracle", "continuum-forecast-oracle"])
def test_the_context_of_a_long_call_is_released(policy: str, profile: StepProfile, settings: SchedulerSettings) -> None:
    engine = dataclasses.replace(profile, limits=EngineLimits(8192, 8192, 32, 1024))
    assert returning(simulate(policy, engine, crowded(60.0), settings)) < 3200


def test_a_waiting_turn_evicts_pinned_blocks(profile: StepProfile, settings: SchedulerSettings) -> None:
    engine = dataclasses.replace(profile, limits=EngineLimits(8192, 8192, 32, 1024))
    slow = dataclasses.replace(settings, step_time=dataclasses.replace(settings.step_time, per_prefill_token_s=5e-3))
    kept, busy, *_ = crowded(4.0)
    large = Session("qa-1-0", "qa", 1.0, (Turn(6000, 4),))  # no room beside the kept context
    result = simulate("infercept-oracle", engine, (kept, busy, large), slow)
    assert returning(result) < 3200


def test_continuum_pins_a_context_after_observing_the_tool(profile: StepProfile, settings: SchedulerSettings) -> None:
    engine = dataclasses.replace(profile, limits=EngineLimits(8192, 8192, 32, 1024))
    teachers = tuple(
        Session(f"t-1-{i}", "math", 0.0, (Turn(32, 4, (ToolCall("math", 0.3, 16),)), Turn(16, 4))) for i in range(8)
    )
    slow = dataclasses.replace(settings, step_time=dataclasses.replace(settings.step_time, per_prefill_token_s=5e-3))
    late = tuple(dataclasses.replace(session, arrival_s=session.arrival_s + 5.0) for session in crowded(0.3))
    assert returning(simulate("continuum", engine, (*teachers, *late), slow)) >= 3200


@pytest.mark.parametrize("policy", ["infercept-oracle", "continuum"])
def test_a_returning_turn_goes_before_later_sessions(
    policy: str, profile: StepProfile, settings: SchedulerSettings
) -> None:
    engine = dataclasses.replace(profile, limits=EngineLimits(16_384, 16_384, 1, 1024))  # one request at a time
    first = Session("math-1-0", "math", 0.0, (Turn(32, 4, (ToolCall("math", 0.2, 16),)), Turn(16, 4)))
    others = tuple(Session(f"qa-1-{i}", "qa", 0.05 + 0.001 * i, (Turn(800, 30),)) for i in range(4))
    waits = {}
    for name in ("vllm", policy):
        result = simulate(name, engine, (first, *others), settings)
        turn = next(turn for turn in result.turns if turn.session_id == "math-1-0" and turn.turn == 1)
        waits[name] = turn.first_token_s - turn.arrival_s if turn.first_token_s is not None else float("inf")
    assert waits[policy] < waits["vllm"] / 2


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("vllm", "abcd"),  # as they came
        ("p-pas", "abcd"),
        ("infercept-oracle", "abcd"),  # each is its session's first turn
        ("continuum", "abcd"),
        ("continuum-forecast-oracle", "abcd"),
        ("sjf-prompt", "bdca"),  # 100, 200, 300, 600
        ("sjf-oracle", "dbca"),  # with outputs 250, 300, 302, 604
        ("sjf", "bdca"),  # with a quarter of the prompt, which is what is predicted: 125, 250, 375, 750
        ("uncached-first", "bdca"),  # nothing is cached, and all can still be in time
        ("residual-sjf", "bdca"),  # 6, 12, 18 and 37 blocks
        # Token·seconds, 0.02 s a decode step: c 12 decoding + 7.5 in prefill, a 49 + 24, d 225 + 4, b 800 + 1.5
        ("mars-oracle", "cadb"),
    ],
)
def test_the_order_of_a_queue_matches_the_hand_computed_case(
    policy: str, expected: str, profile: StepProfile, settings: SchedulerSettings
) -> None:
    engine = dataclasses.replace(profile, limits=EngineLimits(16_384, 16_384, 1, 1024))  # one request at a time
    patient = dataclasses.replace(settings, slo=dataclasses.replace(settings.slo, ttft_s=1000.0))
    busy = Session("qa-1-busy", "qa", 0.0, (Turn(64, 30),))
    shapes = {"a": (600, 4), "b": (100, 200), "c": (300, 2), "d": (200, 50)}
    queued = tuple(
        Session(f"qa-1-{name}", "qa", 0.1 + 0.01 * at, (Turn(*shapes[name]),)) for at, name in enumerate("abcd")
    )
    result = simulate(policy, engine, (busy, *queued), patient)
    served = sorted(result.turns, key=lambda turn: turn.first_token_s or 0.0)
    assert "".join(turn.session_id[-1] for turn in served[1:]) == expected


def test_residual_shortest_first_serves_turns_that_have_waited_for_ten_seconds(
    profile: StepProfile, settings: SchedulerSettings
) -> None:
    engine = dataclasses.replace(profile, limits=EngineLimits(16_384, 16_384, 1, 1024))
    busy = Session("qa-1-busy", "qa", 0.0, (Turn(64, 600),), 1, 600)  # until about 12 s
    large = Session("qa-1-large", "qa", 0.1, (Turn(400, 4),))
    small = Session("qa-1-small", "qa", 5.0, (Turn(16, 4),))
    result = simulate("residual-sjf", engine, (busy, large, small), settings)
    first = {turn.session_id: turn.first_token_s or 0.0 for turn in result.turns}
    assert 11.0 < first["qa-1-large"] < first["qa-1-small"]


def test_uncached_first_puts_late_turns_last(profile: StepProfile, settings: SchedulerSettings) -> None:
    engine = dataclasses.replace(profile, limits=EngineLimits(16_384, 16_384, 1, 1024))
    busy = Session("qa-1-busy", "qa", 0.0, (Turn(64, 60),))  # until about 1.3 s
    late = Session("qa-1-late", "qa", 0.1, (Turn(16, 4),))  # due at 1.1 s
    timely = Session("qa-1-timely", "qa", 1.0, (Turn(400, 4),))  # due at 2 s
    result = simulate("uncached-first", engine, (busy, late, timely), settings)
    first = {turn.session_id: turn.first_token_s or 0.0 for turn in result.turns}
    assert first["qa-1-busy"] < first["qa-1-timely"] < first["qa-1-late"]


@given(
    seed=st.integers(0, 1000),
    count=st.integers(2, 10),
    kv_blocks=st.integers(520, 1200),
    policy=st.sampled_from(PINNING),
)
@examples(max_examples=6, deadline=None)
def test_pins_stay_within_their_share_and_never_block_an_allocation(
    seed: int, count: int, kv_blocks: int, policy: str
) -> None:
    limits = EngineLimits(kv_blocks * 16, 8192, 16, 256)
    engine = StepProfile("scarce", "by hand", limits, (1, 256), (0.02, 0.05), 1e-4, 1e-7, SchedulerSettings().step_time)
    sessions = tuple(
        session
        for session in augmentation_sessions(count, 20.0, seed)
        if session.prompt_tokens(len(session.turns) - 1) < 7000
    )
    simulate(policy, engine, sessions, SchedulerSettings())
