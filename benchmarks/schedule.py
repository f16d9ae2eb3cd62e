"""Benchmark `schedule`: ms of `schedule()` with 256 running and 0 to 10,000 waiting, stock and ours by turns, and what
ours adds; with plenty of KV cache, and with so little that kept contexts give way step by step and then every step
counts blocks.

Ours keeps the contexts of PINNED paused sessions where there is room."""

import dataclasses
import gc
import itertools
import random
import statistics
import time
from functools import partial
from pathlib import Path

from tqdm import tqdm
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from augserve.data.atomic import write_json
from augserve.models.serving.bundle import Bundle
from augserve.models.serving.settings import Retention
from augserve.pipeline.project.params import BaseParams, load_params
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.simulator.engine import block_hasher, build_scheduler
from augserve.pipeline.simulator.profile import EngineLimits
from augserve.runtime.decisions import Parts, Setup, trained_forecaster
from augserve.runtime.scheduler import AugServeScheduler

from .bundle import packaged_bundle

REPORT = Path("reports/bench/schedule.json")
RUNNING = 256
WAITING = (0, 1_000, 10_000)
STEPS = 100
PINNED = 64
LIMITS = EngineLimits(kv_tokens=4_000_000, max_model_len=8192, max_num_seqs=RUNNING, max_num_batched_tokens=8192)
FULL = dataclasses.replace(LIMITS, kv_tokens=16 * 2_700)
"""As the measured steps begin, 900 of its blocks are the running requests' and 1,000 are kept for paused sessions; a
step takes 16 more, and 770 have to be free for what one may take at most."""
CACHES = {"": LIMITS, "_full_cache": FULL}


def main() -> None:
    seed = load_params("base", BaseParams).seed
    schedulers: tuple[type[AsyncScheduler], ...] = (AsyncScheduler, _with_bundle(packaged_bundle()))
    figures = {}
    progress = tqdm(total=len(CACHES) * len(WAITING) * STEPS, desc="schedule")
    for (cache, limits), waiting in itertools.product(CACHES.items(), WAITING):
        case = f"{RUNNING}_running_{waiting}_waiting{cache}_ms"
        stock, ours = (_Engine(scheduler, limits, waiting, seed) for scheduler in schedulers)
        stock_s, ours_s = list[float](), list[float]()
        gc.collect()
        for _ in range(STEPS):  # by turns: a machine that slows down slows both
            stock_s.append(stock.step_s())
            ours_s.append(ours.step_s())
            progress.update()
        added_s = [own - theirs for own, theirs in zip(ours_s, stock_s, strict=True)]
        for name, times_s in {"stock": stock_s, "ours": ours_s, "added": added_s}.items():
            figures[f"{name}_{case}"] = round(statistics.median(times_s) * 1e3, 4)
    progress.close()
    write_json(REPORT, figures)
    print(*(f"{name}: {value}" for name, value in figures.items()), sep="\n")


def _with_bundle(bundle: Bundle) -> type[AugServeScheduler]:
    keeping = Retention(max_share=0.5, ttl_factor=100.0, min_tokens=16, max_waste=1e6)
    settings = dataclasses.replace(bundle.settings, retention=keeping)

    parts = Parts(settings, partial(trained_forecaster, bundle.predictor, None), bundle.version)
    return type("Benched", (AugServeScheduler,), {"setup": Setup(parts=lambda _: parts)})


class _Engine:
    """A scheduler whose running requests decode on while none of the waiting ones finds a place."""

    def __init__(self, scheduler: type[AsyncScheduler], limits: EngineLimits, waiting: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._scheduler = build_scheduler(scheduler, limits, {"augserve": {"mode": "active"}})
        self._output: SchedulerOutput | None = None
        for number in range(PINNED):
            self._add(f"paused-{number}", self._random.randint(200, 300), 2)
        self._run(4)
        for number in range(RUNNING):
            self._add(f"running-{number}", self._random.randint(16, 30), 8000)
        self._run(10)
        for number in range(waiting):
            self._add(f"waiting-{number}", self._random.randint(200, 3000), 256)
        self._run(10)

    def step_s(self) -> float:
        """One step: seconds of its `schedule()`."""
        self._answer()
        start_s = time.perf_counter()
        self._output = self._scheduler.schedule()
        return time.perf_counter() - start_s

    def _run(self, steps: int) -> None:
        for _ in range(steps):
            self.step_s()

    def _add(self, name: str, prompt: int, output: int) -> None:
        ids = self._random.choices(range(100, 32_000), k=prompt)
        params = SamplingParams(max_tokens=output, ignore_eos=True)
        self._scheduler.add_request(Request(name, ids, params, None, session_id=name, block_hasher=block_hasher()))

    def _answer(self) -> None:
        if self._output is None:
            return
        ids = list(self._output.num_scheduled_tokens)
        tokens = [[] if self._scheduler.requests[each].is_prefill_chunk else [7] for each in ids]
        result = ModelRunnerOutput(ids, {each: index for index, each in enumerate(ids)}, tokens)
        self._scheduler.update_from_output(self._output, result)


if __name__ == "__main__":
    run_stage(main)
