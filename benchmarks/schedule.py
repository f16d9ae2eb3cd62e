"""Benchmark `schedule`: ms of `schedule()` of stock vLLM and AugServe, with 256 running and up to 10,000 waiting turns.

Each is measured with ample KV cache, and with so little that pins are released step by step. AugServe has PINNED
contexts pinned. The step times of both alternate, so that a slow machine slows both. The admission of heavy turns is
measured alone, with 2,000 sessions of which 1,000 wait for memory.
"""

import dataclasses
import gc
import itertools
import random
import statistics
import time
from functools import partial
from typing import Any

from tqdm import tqdm
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from augserve.models.serving.bundle import Bundle
from augserve.models.serving.settings import Residency
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.simulator.engine import block_hasher, build_scheduler
from augserve.pipeline.simulator.profile import EngineLimits
from augserve.runtime.parts import Parts, Setup, trained_forecaster
from augserve.runtime.residency.admission import NONE_HELD
from augserve.runtime.scheduler import AugServeScheduler

from .measure import base_seed, packaged_bundle, sampled, write_figures

RUNNING = 256
WAITING = (0, 1_000, 10_000)
STEPS = 100
PINNED = 64
LIMITS = EngineLimits(kv_tokens=4_000_000, max_model_len=8192, max_num_seqs=RUNNING, max_num_batched_tokens=8192)
FULL = dataclasses.replace(LIMITS, kv_tokens=16 * 1_950)
"""At the first measured step, running requests have 900 blocks and 1,000 are pinned. A step takes 16 more."""
HELD, PAUSED = 1_000, 744
"""With those that run, 2,000 sessions."""
HEAVY_TOKENS = 310
"""More than any paused or running prompt, and less than nearly all that wait."""
CACHES = {"": LIMITS, "_full_cache": FULL}


HELD_BY_NONE = Residency(keep=1e6, heavy_s=3600.0)
"""Contexts stay pinned, and no turn is heavy."""


def main() -> None:
    seed = base_seed()
    schedulers: tuple[type[AsyncScheduler], ...] = (AsyncScheduler, _with_bundle(packaged_bundle()))
    figures = {}
    progress = tqdm(total=len(CACHES) * len(WAITING) * STEPS, desc="schedule")
    for (cache, limits), waiting in itertools.product(CACHES.items(), WAITING):
        case = f"{RUNNING}_running_{waiting}_waiting{cache}_ms"
        stock, ours = (_Engine(scheduler, limits, waiting, seed) for scheduler in schedulers)
        stock_s, ours_s = list[float](), list[float]()
        gc.collect()
        for _ in range(STEPS):
            stock_s.append(stock.step_s())
            ours_s.append(ours.step_s())
            progress.update()
        added_s = [own - theirs for own, theirs in zip(ours_s, stock_s, strict=True)]
        for name, times_s in {"stock": stock_s, "ours": ours_s, "added": added_s}.items():
            figures[f"{name}_{case}"] = round(statistics.median(times_s) * 1e3, 4)
    progress.close()
    figures[f"admission_{RUNNING}_running_{HELD}_held_ms"] = round(_admission_ms(packaged_bundle(), seed), 4)
    write_figures("schedule", figures)


def _admission_ms(bundle: Bundle, seed: int) -> float:
    """Median time of the decision which heavy turns are held, where nothing fits."""
    step = bundle.settings.step_time
    heavy_s = step.base_s + step.per_prefill_token_s * HEAVY_TOKENS
    scheduler = _with_bundle(bundle, Residency(keep=1e6, heavy_s=heavy_s, share=1e-3))
    engine = _Engine(scheduler, LIMITS, HELD, seed, PAUSED)
    decisions = engine.scheduler.decisions
    times_s = []
    for _ in range(20 * STEPS):
        start_s = time.perf_counter()
        held = decisions.admission.hold(decisions.ordering.queue, decisions.engine.clock(), NONE_HELD)
        times_s.append(time.perf_counter() - start_s)
    if held.size < 0.9 * HELD:
        raise RuntimeError(f"schedule: {held.size} of {HELD} turns are held; enlarge them or lower the share")
    return statistics.median(times_s) * 1e3


def _with_bundle(bundle: Bundle, residency: Residency = HELD_BY_NONE) -> type[AugServeScheduler]:
    settings = dataclasses.replace(bundle.settings, residency=residency)
    parts = Parts(settings, partial(trained_forecaster, bundle.predictor, None), bundle.version)
    return type("Benched", (AugServeScheduler,), {"setup": Setup(parts=lambda _: parts)})


class _Engine:
    """A scheduler whose running requests keep decoding while no waiting request is admitted."""

    def __init__(
        self, scheduler: type[AsyncScheduler], limits: EngineLimits, waiting: int, seed: int, paused: int = PINNED
    ) -> None:
        self._random = random.Random(seed)
        self.scheduler: Any = build_scheduler(scheduler, limits, {"augserve": {"mode": "active"}})
        self._output: SchedulerOutput | None = None
        for number in range(paused):
            self._add(f"paused-{number}", self._random.randint(200, 300), 2)
        self._run(4 + paused // 10)
        for number in range(RUNNING):
            self._add(f"running-{number}", self._random.randint(16, 30), 8000)
        self._run(10)
        for number in range(waiting):
            self._add(f"waiting-{number}", self._random.randint(200, 3000), 256)
        self._run(10)

    def step_s(self) -> float:
        """Run one step and return the seconds of its `schedule()`."""
        if self._output is not None:
            self.scheduler.update_from_output(self._output, sampled(self.scheduler, self._output))
        start_s = time.perf_counter()
        self._output = self.scheduler.schedule()
        return time.perf_counter() - start_s

    def _run(self, steps: int) -> None:
        for _ in range(steps):
            self.step_s()

    def _add(self, name: str, prompt: int, output: int) -> None:
        ids = self._random.choices(range(100, 32_000), k=prompt)
        params = SamplingParams(max_tokens=output, ignore_eos=True)
        self.scheduler.add_request(Request(name, ids, params, None, session_id=name, block_hasher=block_hasher()))


if __name__ == "__main__":
    run_stage(main)
