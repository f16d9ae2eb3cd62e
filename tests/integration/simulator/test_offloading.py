"""KV offloading by vLLM's own connector on both sides; only the copies are replaced by their time."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from augserve.data.workload.model import Session, ToolCall, Turn
from augserve.models.serving.settings import Residency, SchedulerSettings
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits, KvTransfer, StepProfile
from augserve.pipeline.simulator.record.records import SimulationResult, TurnRecord

from .conftest import check_nothing_left, fitting_sessions

LIMITS = EngineLimits(kv_tokens=8192, max_model_len=8192, max_num_seqs=32, max_num_batched_tokens=1024)
BLOCK = 16
TOKEN_BYTES = 131_072
LINK_BYTES_PER_S = 2e9
BLOCK_S = BLOCK * TOKEN_BYTES / LINK_BYTES_PER_S  # about 1 ms
POLICIES = ["vllm", "infercept-oracle", "augserve-oracle"]


def offloading(profile: StepProfile, host_tokens: int = 65_536, bytes_per_s: float = LINK_BYTES_PER_S) -> StepProfile:
    limits = dataclasses.replace(LIMITS, host_kv_tokens=host_tokens)
    return dataclasses.replace(profile, limits=limits, transfer=KvTransfer(TOKEN_BYTES, bytes_per_s, "by hand"))


def simulate(
    policy: str, profile: StepProfile, sessions: tuple[Session, ...], settings: SchedulerSettings
) -> SimulationResult:
    """Runs to the end; nothing may be left of requests, blocks and copies."""
    clock = VirtualClock()
    scheduler = build_policy(policy, PolicyInputs(profile.limits, settings, None, sessions, clock))
    result = Simulation(scheduler, profile, clock, sessions).run()
    assert all(turn.finish_s is not None for turn in result.turns)
    check_nothing_left(scheduler)
    if scheduler.connector is not None:
        assert not scheduler.connector.has_pending_push_work()
        manager = scheduler.connector.connector_scheduler.manager
        held = manager._num_allocated_chunks - len(manager._free_list)
        assert held == manager._num_evictable_cache_chunks  # no block of the host is still being read or written
        assert held <= profile.limits.host_kv_tokens // BLOCK
    scheduler.shutdown()
    return result


def evicting(pause_s: float) -> tuple[Session, ...]:
    """A session whose context is evicted from the GPU by others that come and go while it pauses."""
    session = Session("math-1-0", "math", 0.0, (Turn(3200, 16, (ToolCall("math", pause_s, 16),)), Turn(16, 16)))
    others = tuple(Session(f"qa-1-{i}", "qa", 0.7 + 0.3 * i, (Turn(1600, 4),)) for i in range(20))
    return (session, *others)


def returning(result: SimulationResult) -> TurnRecord:
    return next(turn for turn in result.turns if turn.session_id == "math-1-0" and turn.turn == 1)


def test_an_evicted_context_is_loaded_from_host_memory_in_time(
    profile: StepProfile, settings: SchedulerSettings
) -> None:
    """By hand: the session returns to an idle engine, its prompt is loaded block by block, the rest computed."""
    alone = returning(simulate("vllm", dataclasses.replace(profile, limits=LIMITS), evicting(30.0), settings))
    assert alone.cached_tokens == alone.loaded_tokens == 0
    turn = returning(simulate("vllm", offloading(profile), evicting(30.0), settings))
    # vLLM offloads prompts only, by default: of 3200 + 16 + 16 tokens the 200 blocks of the first prompt come back.
    assert turn.loaded_tokens == turn.cached_tokens == 3200
    loading_s, prefill_s = 200 * BLOCK_S, profile.step_s(32, 0, 3232)
    assert turn.first_token_s - turn.arrival_s == pytest.approx(loading_s + prefill_s)
    assert turn.first_token_s - turn.arrival_s < alone.first_token_s - alone.arrival_s


def test_a_slower_link_loads_longer(profile: StepProfile, settings: SchedulerSettings) -> None:
    waits = []
    for bytes_per_s in (LINK_BYTES_PER_S, LINK_BYTES_PER_S / 4):
        turn = returning(simulate("vllm", offloading(profile, bytes_per_s=bytes_per_s), evicting(30.0), settings))
        waits.append(turn.first_token_s - turn.arrival_s)
    assert waits[1] - waits[0] == pytest.approx(3 * 200 * BLOCK_S)


def test_a_small_host_memory_has_only_the_latest_contexts(profile: StepProfile, settings: SchedulerSettings) -> None:
    turn = returning(simulate("vllm", offloading(profile, host_tokens=4096), evicting(30.0), settings))
    assert turn.loaded_tokens == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_offloading_helps_every_kind_of_policy_with_a_scarce_cache(
    policy: str, profile: StepProfile, settings: SchedulerSettings
) -> None:
    retaining = dataclasses.replace(settings, residency=Residency())
    calls = (ToolCall("math", 3.0, 16),)
    turns = (Turn(1200, 20, calls), Turn(16, 20, calls), Turn(16, 20))
    sessions = tuple(Session(f"math-1-{i}", "math", 0.3 * i, turns) for i in range(16))
    with_host = simulate(policy, offloading(profile, bytes_per_s=64e9), sessions, retaining)
    without = simulate(policy, dataclasses.replace(profile, limits=LIMITS), sessions, retaining)
    assert sum(turn.loaded_tokens for turn in with_host.turns) > 0
    cached = [sum(turn.cached_tokens for turn in result.turns) for result in (with_host, without)]
    assert cached[0] > cached[1]


def test_pinned_contexts_are_not_loaded_and_evicted_ones_are(profile: StepProfile, settings: SchedulerSettings) -> None:
    """AugServe's context policy beside vLLM's offloading: to keep a context saves its copy, to discard it swaps it."""
    kept, discarded = (
        returning(
            simulate(
                "augserve-oracle",
                offloading(profile),
                evicting(30.0),
                dataclasses.replace(settings, residency=Residency(share=share, heavy_s=3600.0)),
            )
        )
        for share in (0.8, 0.0)
    )
    assert (kept.cached_tokens, kept.loaded_tokens) == (3200, 0)
    assert (discarded.cached_tokens, discarded.loaded_tokens) == (3200, 3200)


@given(
    seed=st.integers(0, 1000),
    count=st.integers(2, 8),
    blocks=st.integers(520, 900),
    host_blocks=st.integers(1, 1500),
    bytes_per_s=st.sampled_from([1e8, 2e9, 64e9]),
    policy=st.sampled_from(POLICIES),
)
@examples(max_examples=8, deadline=None)
def test_no_block_leaks_with_any_host_and_link(
    seed: int, count: int, blocks: int, host_blocks: int, bytes_per_s: float, policy: str
) -> None:
    limits = EngineLimits(blocks * BLOCK, 8192, 16, 256, host_kv_tokens=host_blocks * BLOCK)
    step = SchedulerSettings().step_time
    transfer = KvTransfer(TOKEN_BYTES, bytes_per_s, "by hand")
    engine = StepProfile("scarce", "by hand", limits, (1, 256), (0.02, 0.05), 1e-4, 1e-7, step, transfer=transfer)
    sessions = fitting_sessions(count, 20.0, seed)
    result = simulate(policy, engine, sessions, SchedulerSettings(residency=Residency()))
    assert all(turn.loaded_tokens <= turn.cached_tokens for turn in result.turns)


def test_a_context_in_host_memory_needs_no_admission(profile: StepProfile, settings: SchedulerSettings) -> None:
    """The working set has no room for the session, but loading its context is not heavy. A new session asks too, so
    that the cache does not hold all that ask."""
    burst = tuple(Session(f"qa-2-{i}", "qa", 20.0, (Turn(1900, 4),)) for i in range(4))  # evicts the context
    running = tuple(Session(f"qa-3-{i}", "qa", 25.0, (Turn(1900, 800),)) for i in range(2))
    asking = Session("qa-4-0", "qa", 29.0, (Turn(5000, 4),))
    residency = Residency(share=0.8, heavy_s=0.25)  # computing the context takes 0.3 s
    settings = dataclasses.replace(settings, residency=residency, step_time=profile.linear)
    waits_s = []
    for engine in (offloading(profile), dataclasses.replace(profile, limits=LIMITS)):
        turn = returning(simulate("augserve-oracle", engine, (*evicting(30.0), *burst, *running, asking), settings))
        waits_s.append(turn.first_token_s - turn.arrival_s)
    assert waits_s[0] < 1.0
    assert waits_s[1] > 5.0  # computed again, once the others have ended
