"""A long run of random events with each feature of the support matrix: `make soak`, and a short form of it in CI.

One engine lives through all events of a run. Now and then everything ends, so that whatever was lost shows.
"""

import gc
import os
import random
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
from packaging.version import Version
from vllm.config import VllmConfig

from augserve.models.serving.settings import SchedulerSettings
from augserve.runtime.vllm_compat import vllm_version

from ..invariants import check_budget, check_scheduler
from .conftest import (
    Engine,
    EngineMaker,
    Guessing,
    TestedScheduler,
    balanced_outside,
    by_priority,
    no_prefix_caching,
    one_lora,
    pipelined,
    speculating,
    whole_images,
    whole_prompts,
)
from .events import Player, random_events
from .kv_groups import sliding_too
from .test_invariants import HOLDING, SETTINGS

STEPS = int(os.environ.get("SOAK_STEPS", "300"))
"""Steps with each feature and each of both settings."""
SEED = int(os.environ.get("SOAK_SEED", "1"))
LONGEST_STOP_S = 0.02
PROBE = 50_000
"""Numbers that are added up to find pauses of the machine: as long as most steps, half a millisecond or more."""
BUSY = 80
"""Unfinished requests at which no more arrive."""
FEATURES: dict[str, Callable[[VllmConfig], None] | None] = {
    "none": None,
    "priority": by_priority,
    "lora": one_lora,
    "speculation": speculating,
    "no chunked prefill": whole_prompts,
    "no prefix caching": no_prefix_caching,
    "pipeline": pipelined,
    "data parallel": balanced_outside,
    "whole images": whole_images,
    "sliding window": None,
}


class Stopwatch:
    """The longest call of each method by which the engine's loop waits for the scheduler, vLLM's part included.

    Counts processor time: other programs of the machine are no stop of ours.
    """

    METHODS = ("add_request", "schedule", "update_from_output", "finish_requests")

    def __init__(self, scheduler: TestedScheduler) -> None:
        self.longest_s = dict.fromkeys(self.METHODS, 0.0)
        for name in self.METHODS:
            setattr(scheduler, name, self._timed(name, getattr(scheduler, name)))

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start_s = time.thread_time()
            try:
                return method(*args, **kwargs)
            finally:
                self.longest_s[name] = max(self.longest_s[name], time.thread_time() - start_s)

        return timed


class MachinePauses:
    """The machine's own longest pause, by work that always takes the same time.

    The host of a virtual machine stops it for milliseconds, and the processor time of whoever runs counts them.
    """

    def __init__(self) -> None:
        self._times_s: list[float] = []

    def probe(self) -> None:
        start_s = time.thread_time()
        sum(range(PROBE))
        self._times_s.append(time.thread_time() - start_s)

    @property
    def longest_s(self) -> float:
        return max(self._times_s) - statistics.median(self._times_s)


class Soak:
    """One engine under random events, its invariants checked after each step."""

    def __init__(self, engine: Engine, adapters: bool, rnd: random.Random) -> None:
        assert isinstance(engine.scheduler, TestedScheduler)
        self.engine, self.scheduler = engine, engine.scheduler
        self.player = Player(engine, adapters, sessions=rnd.choice((8, 5_000)))
        self.steps = self.ended = 0
        self.pauses = MachinePauses()
        self._rnd = rnd

    def step(self) -> None:
        self.engine.step()
        check_scheduler(self.scheduler)
        assert self.engine.last is not None
        check_budget(self.scheduler, self.engine.last, self.engine.budgets[-1])
        self.steps += 1
        self.pauses.probe()

    def episode(self) -> None:
        """Random events, then everything ends."""
        for event in random_events(self._rnd):
            if event[0] in ("arrive", "go on") and len(self.scheduler.requests) > BUSY:
                continue
            for _ in range(self.player.play(event)):
                self.step()
        self.player.let_all_end()
        self.engine.drain(self.step)
        finished = self.engine.finished()
        assert {number: finished.get(number) for number in self.player.expected} == self.player.expected
        assert self.scheduler.engine.metrics.value("fallbacks") == 0, "no decision fell back"
        self.engine.assert_nothing_is_left()
        self.ended += len(finished)
        for past in (self.player.expected, self.engine.outputs, self.engine.scheduled, self.engine.budgets):
            past.clear()


@pytest.mark.skipif(
    Version(vllm_version) < Version("0.32"),
    reason="older vLLM loses requests itself, see test_invariants.py",
)
@pytest.mark.timeout(0)
@pytest.mark.parametrize("decided", [SETTINGS, HOLDING], ids=["pinning", "holding"])
@pytest.mark.parametrize("feature", FEATURES)
def test_nothing_is_lost_and_no_call_takes_long_in_a_long_run(
    make_engine: EngineMaker, feature: str, decided: SchedulerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnd = random.Random(f"{SEED} {feature} {decided is HOLDING}")
    if feature == "sliding window":
        sliding_too(monkeypatch)
    kv_tokens, most = rnd.choice((4_096, 10_000)), rnd.choice((3, 32))
    kv_tokens *= 2 if feature == "sliding window" else 1  # each token takes two blocks
    facts: dict[str, Any] = {"change": FEATURES[feature], "kv_tokens": kv_tokens, "max_num_seqs": most}
    engine = make_engine(settings=decided, predictor=Guessing(), **facts)
    engine.scheduler.use_v2_model_runner = feature == "pipeline"  # which needs Triton
    soak = Soak(engine, feature == "lora", rnd)
    soak.episode()  # the first calls load what they need
    soak.steps = 0
    gc.collect()
    gc.freeze()  # the tests' own objects
    stopwatch, start_s, start_kib = Stopwatch(soak.scheduler), time.monotonic(), _peak_kib()
    try:
        while soak.steps < STEPS:
            soak.episode()
    finally:
        gc.unfreeze()
    longest_ms = {name: round(1e3 * seconds, 1) for name, seconds in stopwatch.longest_s.items()}
    print(  # noqa: T201 — the report of `make soak`
        f"{feature}, seed {SEED}: {soak.steps} steps in {time.monotonic() - start_s:.0f} s, {soak.ended} turns ended, "
        f"longest calls {longest_ms} ms, longest pause of the machine {1e3 * soak.pauses.longest_s:.1f} ms, "
        f"{_peak_kib() - start_kib} KiB more memory at its peak"
    )
    assert max(stopwatch.longest_s.values()) <= LONGEST_STOP_S + soak.pauses.longest_s


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
