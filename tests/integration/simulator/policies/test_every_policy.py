"""Every policy by name, on one small workload: vLLM's own counters agree with ours, nothing leaks, nothing is lost.

Run as a module (`python -m`) it prints a digest of each policy's run, for the test that asks another process for them.
"""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.metrics.stats import IterationStats, LoRARequestStates, PrefixCacheStats, RequestStateStats

from augserve.data.workload.model import Session, ToolCall, Turn
from augserve.models.serving.settings import BudgetGains, Residency, SchedulerSettings, StepTime
from augserve.pipeline.simulator import policies
from augserve.pipeline.simulator.catalogue import SIMULATED
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.engine import build_scheduler
from augserve.pipeline.simulator.forward import Step
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.observers.observer import Observer
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.pipeline.simulator.record.records import SimulationResult

from ...invariants import check_budget, check_scheduler, pins_of
from ..conftest import check_nothing_left
from ..guessing import GuessingPredictor

ROOT = Path(__file__).parents[4]
NAMES = (
    *SIMULATED,
    "vllm@128x4",
    "session-limit@sessions=2",
    "augserve-static-budget@128",
    "mars@128,prefill=64,watermark=0.05",
)  # and candidates of the searches for static limits
LINEAR = StepTime(0.02, 1e-4, 2e-4, 1e-7)
PROFILE = StepProfile(
    name="scarce",
    source="by hand",
    limits=EngineLimits(kv_tokens=1536, max_model_len=1280, max_num_seqs=8, max_num_batched_tokens=256),
    tokens=(1, 3070),
    table_s=(0.02, 0.32),
    per_decode_s=1e-4,
    per_context_token_s=1e-7,
    linear=LINEAR,
)
SETTINGS = SchedulerSettings(
    step_time=LINEAR,
    max_wait_s=30.0,
    budget=BudgetGains(slack_share=0.1),  # so that the budget moves
    residency=Residency(heavy_s=0.01),
)


MAX_TOKENS = 96


def sessions_of(count: int, rate_per_s: float, seed: int) -> tuple[Session, ...]:
    """Sessions of one to four turns that the engine above can hold; a few at once are more than its cache."""
    random = np.random.default_rng(seed)

    def turn(first: bool, last: bool) -> Turn:
        calls = () if last else (ToolCall(str(random.choice(["math", "qa"])), float(random.exponential(1.0)), 1),)
        new_tokens = int(random.integers(100, 500) if first else random.integers(1, 80))
        return Turn(new_tokens, int(random.integers(1, MAX_TOKENS)), calls)

    arrivals = np.cumsum(random.exponential(1 / rate_per_s, count)).tolist()
    lengths = random.integers(1, 5, count).tolist()
    return tuple(
        Session(f"s-{at}", "math", arrival_s, tuple(turn(n == 0, n == turns - 1) for n in range(turns)), 1, MAX_TOKENS)
        for at, (arrival_s, turns) in enumerate(zip(arrivals, lengths, strict=True))
    )


SESSIONS = sessions_of(16, 4.0, seed=3)


@dataclasses.dataclass
class Counters:
    """What vLLM counts itself, summed over a run: its scheduler's outputs and statistics, and the frontend's that
    the metrics of a server are made of."""

    tokens: int = 0
    steps: int = 0
    preempted: Counter[str] = dataclasses.field(default_factory=Counter)
    finished: Counter[str] = dataclasses.field(default_factory=Counter)
    frontend: IterationStats = dataclasses.field(default_factory=IterationStats)
    prefix: PrefixCacheStats = dataclasses.field(default_factory=PrefixCacheStats)
    last_running_and_waiting: tuple[int, int] = (0, 0)

    def watch(self, scheduler: AsyncScheduler) -> None:
        schedule, update = scheduler.schedule, scheduler.update_from_output
        requests: dict[str, RequestStateStats] = {}
        lora = LoRARequestStates(log_stats=False)

        def counted_schedule(*args):
            output = schedule(*args)
            assert sum(output.num_scheduled_tokens.values()) == output.total_num_scheduled_tokens
            self.tokens += output.total_num_scheduled_tokens
            self.steps += bool(output.total_num_scheduled_tokens)
            self.preempted.update(output.preempted_req_ids or ())
            self.finished.update(output.finished_req_ids)
            return output

        def counted_update(*args):
            clients = update(*args)
            for client in clients.values():
                for output in client.outputs:
                    first = output.request_id not in requests
                    state = requests.setdefault(output.request_id, RequestStateStats(arrival_time=0.0))
                    self.frontend.update_from_output(output, 0.0, first, state, lora, None)
                if (stats := client.scheduler_stats) is not None:
                    self.last_running_and_waiting = stats.num_running_reqs, stats.num_waiting_reqs
                    for name in ("requests", "queries", "hits"):
                        added = getattr(stats.prefix_cache_stats, name)
                        setattr(self.prefix, name, getattr(self.prefix, name) + added)
            return clients

        scheduler.schedule, scheduler.update_from_output = counted_schedule, counted_update


@dataclasses.dataclass(frozen=True)
class Ran:
    scheduler: AsyncScheduler
    result: SimulationResult
    counters: Counters


class EachStep(Observer):
    """An observer that checks what must hold after each step."""

    def __init__(self) -> None:
        self.pinned_blocks = 0  # at most
        self.budgets: set[int] = set()

    def step_begun(self, step: Step, scheduler: AsyncScheduler, now_s: float, ends_s: float) -> None:
        check_scheduler(scheduler)
        check_budget(scheduler, step.scheduled, scheduler.max_num_scheduled_tokens)
        self.pinned_blocks = max([self.pinned_blocks, *(len(pin.blocks) for pin in pins_of(scheduler).values())])
        self.budgets.add(scheduler.max_num_scheduled_tokens)


def run(
    policy: str,
    profile: StepProfile = PROFILE,
    sessions: Sequence[Session] = SESSIONS,
    observer: Observer | None = None,
) -> Ran:
    """To the end, with vLLM's statistics on."""
    clock, counters = VirtualClock(), Counters()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policies, "build_scheduler", partial(build_scheduler, log_stats=True))
        bench = PolicyInputs(profile.limits, SETTINGS, GuessingPredictor(), sessions, clock)
        scheduler = build_policy(policy, bench)
    counters.watch(scheduler)
    result = Simulation(scheduler, profile, clock, sessions, observer=observer).run()
    scheduler.shutdown()
    return Ran(scheduler, result, counters)


ran = cache(run)


def as_bytes(result: SimulationResult) -> bytes:
    return json.dumps(dataclasses.asdict(result)).encode()


def digests(names: Sequence[str]) -> dict[str, str]:
    return {name: hashlib.sha256(as_bytes(ran(name).result)).hexdigest() for name in names}


def check_counters(found: Ran) -> None:
    """vLLM's counters, of whatever policy, against the records and totals of the simulator."""
    turns, counters = found.result.turns, found.counters
    assert (found.result.totals.tokens_scheduled, found.result.totals.steps) == (counters.tokens, counters.steps)
    preemptions = {f"{turn.session_id}/{turn.turn}": turn.preemptions for turn in turns if turn.preemptions}
    assert preemptions == counters.preempted
    assert sum(preemptions.values()) == counters.frontend.num_preempted_reqs
    assert {f"{turn.session_id}/{turn.turn}": 1 for turn in turns} == counters.finished
    assert sum(turn.output_tokens for turn in turns) == counters.frontend.num_generation_tokens
    assert sum(turn.prompt_tokens for turn in turns) == counters.frontend.num_prompt_tokens == counters.prefix.queries
    assert sum(turn.cached_tokens for turn in turns) == counters.prefix.hits
    assert len(turns) == counters.prefix.requests
    computed = sum(turn.prompt_tokens - turn.cached_tokens + turn.output_tokens - 1 for turn in turns)
    assert counters.tokens >= computed  # those of preempted turns again, and of steps whose token came too late
    assert counters.last_running_and_waiting == (0, 0)


def check_drained(found: Ran, sessions: Sequence[Session]) -> None:
    """Every turn once, said in full; nothing is left in the scheduler, and all blocks are free."""
    turns = Counter((turn.session_id, turn.turn) for turn in found.result.turns)
    assert turns == {(session.session_id, turn): 1 for session in sessions for turn in range(len(session.turns))}
    facts = {session.session_id: session for session in sessions}
    finishes: dict[str, float] = {}
    for turn in sorted(found.result.turns, key=lambda turn: turn.turn):
        session = facts[turn.session_id]
        assert turn.output_tokens == session.turns[turn.turn].output_tokens
        assert turn.prompt_tokens == session.prompt_tokens(turn.turn)
        assert turn.arrival_s < turn.first_token_s <= turn.finish_s
        if turn.turn:
            pause_s = session.turns[turn.turn - 1].tools_s
            assert turn.arrival_s == pytest.approx(finishes[turn.session_id] + pause_s)
        finishes[turn.session_id] = turn.finish_s
    check_nothing_left(found.scheduler)


@pytest.mark.parametrize("policy", NAMES)
def test_every_turn_completes_once_and_no_block_leaks(policy: str) -> None:
    check_drained(ran(policy), SESSIONS)


@pytest.mark.parametrize("policy", NAMES)
def test_vllms_counters_agree_with_the_records(policy: str) -> None:
    check_counters(ran(policy))


def test_the_workload_preempts_and_evicts() -> None:
    """Else the counters above would agree on nothing."""
    stock = ran("vllm")
    assert stock.counters.frontend.num_preempted_reqs > 0
    assert 0 < stock.counters.prefix.hits < ran("vllm").counters.prefix.queries / 2
    assert len(set(digests(NAMES).values())) >= 10  # not one order under many names


def test_the_same_seed_yields_the_same_bytes_in_every_process() -> None:
    environment = os.environ | {"PYTHONHASHSEED": "20261123"}
    command = [sys.executable, "-m", "tests.integration.simulator.policies.test_every_policy"]
    other = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(other.stdout.splitlines()[-1]) == digests(NAMES)
    for policy in ("vllm", "uncached-first", "mars", "augserve"):
        assert as_bytes(run(policy).result) == as_bytes(ran(policy).result)


any_engine = st.builds(
    lambda blocks, budget: dataclasses.replace(PROFILE, limits=EngineLimits(blocks * 16, 1280, 16, budget)),
    blocks=st.integers(81, 300),
    budget=st.sampled_from([16, 64, 256, 2048]),
)
any_sessions = st.builds(sessions_of, st.integers(1, 20), st.floats(0.2, 20.0), st.integers(0, 1000))


@given(any_engine, any_sessions, st.sampled_from(["vllm", "mars", "continuum", "augserve"]))
@examples(max_examples=20, deadline=None)
def test_any_workload_on_any_engine_completes_and_is_counted(
    profile: StepProfile, sessions: tuple[Session, ...], policy: str
) -> None:
    found = run(policy, profile, sessions)
    check_drained(found, sessions)
    check_counters(found)


@given(any_engine, any_sessions, st.sampled_from(["vllm", "augserve", "augserve", "augserve"]))
@examples(max_examples=20, deadline=None)
def test_any_workload_on_any_engine_keeps_every_invariant_after_each_step(
    profile: StepProfile, sessions: tuple[Session, ...], policy: str
) -> None:
    check_drained(run(policy, profile, sessions, EachStep()), sessions)


def test_the_workload_pins_contexts_and_changes_the_budget() -> None:
    """Else the invariants above would hold of nothing."""
    seen = EachStep()
    run("augserve", observer=seen)
    assert seen.pinned_blocks > 0
    assert len(seen.budgets) > 1


if __name__ == "__main__":
    sys.stdout.write(json.dumps(digests(NAMES)))
