"""Benchmark `recorder`: the cost of recording in a step of vLLM's engine, with and without the recorder in one run.

A step is the work of the scheduler without the forward pass: arrivals, schedule() and update_from_output(). Without a
pause between steps there are more rows than on any engine. The cost is relative to the scheduler's work, and to the
step time of an H100 for the same requests (Llama-3.1-8B, from measured kernels).

The recorder is removed and restored every few steps; the difference is its work in the engine's thread. The CPU time of
the writer's thread is a separate figure. The thread spends most of it without the interpreter's lock, rewriting the
newest file every two seconds.
"""

import gc
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm
from vllm.sampling_params import SamplingParams
from vllm.v1.request import Request

from augserve.data.tables.files import read_table
from augserve.pipeline.profile.engines import ENGINES
from augserve.pipeline.profile.kernels import gpu_profile
from augserve.pipeline.profile.run import ProfileParams
from augserve.pipeline.project.params import load_params
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.simulator.engine import block_hasher, build_scheduler
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.runtime.scheduler import AugServeScheduler

from .measure import base_seed, sampled, write_figures

RUNNING = (16, 256)
DURATION_S = 30
BLOCK_STEPS = 20  # alternating with and without the recorder
DRAIN_S = 3.0  # for the recorder to write all rows
WRITER = "augserve-recorder"
PROMPT_TOKENS = (100, 900)
OUTPUT_TOKENS = (20, 400)
WARM_STEPS = 400  # until turns end at a steady rate
HINTS = {"augserve_tools_offered": 3, "augserve_last_tool": "sql", "augserve_argument_bytes": 90}


def main() -> None:
    seed = base_seed()
    memory_share = load_params(ProfileParams).gpu_memory_utilization
    profile, _, _ = gpu_profile("llama-3.1-8b-h100", ENGINES["llama-3.1-8b-h100"], memory_share)
    figures: dict[str, float] = {}
    with tqdm(total=len(RUNNING) * DURATION_S, unit="s", desc="recorder") as progress:
        for running in RUNNING:
            figures |= _measured(running, seed, profile, progress)
    write_figures("recorder", figures)


def _measured(running: int, seed: int, profile: StepProfile, progress: "tqdm[Any]") -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        engine = _Engine(running, seed, Path(folder))
        times, writer_s = engine.run(DURATION_S, progress)
        h100_s = _h100_step_s(Path(folder), profile)
    means = {name: [statistics.fmean(block) for block in blocks] for name, blocks in times.items()}
    steps = {name: [step for block in blocks for step in block] for name, blocks in times.items()}
    pairs = list(zip(means["with"], means["without"], strict=False))
    cost_s = statistics.median(recorded - bare for recorded, bare in pairs)
    bare_s = statistics.median(means["without"])
    load = f"{running}_running"
    return {
        **{f"{name}_{load}_steps_per_s": round(1 / statistics.median(all_), 2) for name, all_ in means.items()},
        **{
            f"{name}_{load}_p99_ms": round(statistics.quantiles(all_, n=100)[98] * 1e3, 4)
            for name, all_ in steps.items()
        },
        f"recorder_{load}_us_per_step": round(cost_s * 1e6, 2),
        f"recorder_{load}_percent_of_scheduling": round(100 * cost_s / bare_s, 3),
        f"recorder_{load}_percent_of_h100_step": round(100 * cost_s / h100_s, 3),
        f"recorder_{load}_writer_cpu_us_per_step": round(writer_s * 1e6, 2),
        f"h100_{load}_step_ms": round(h100_s * 1e3, 3),
    }


def _h100_step_s(folder: Path, profile: StepProfile) -> float:
    """Median step time of an H100 over the recorded steps."""
    table = read_table(folder, "steps").select(["prefill_tokens", "decode_sequences", "context_tokens"])
    return float(statistics.median(profile.step_s(*row.values()) for row in table.to_pylist()))


def _thread_cpu_s(name: str) -> float:
    """CPU time of the thread with this name."""
    (identifier,) = [thread.native_id for thread in threading.enumerate() if thread.name == name]
    return int(Path(f"/proc/self/task/{identifier}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


class _Engine:
    """A scheduler with `running` sessions. When a turn ends, the next turn of its session arrives at once."""

    def __init__(self, running: int, seed: int, traces: Path) -> None:
        self._random = random.Random(seed)
        section = {"mode": "observe", "traces": str(traces)}
        limits = EngineLimits(
            kv_tokens=2_000_000, max_model_len=8192, max_num_seqs=running, max_num_batched_tokens=8192
        )
        self._scheduler = cast("AugServeScheduler", build_scheduler(AugServeScheduler, limits, {"augserve": section}))
        self._tracer = self._scheduler._tracer
        self._recorder = self._tracer._recorder
        self._count = 0
        lengths = [self._random.randint(1, OUTPUT_TOKENS[1]) for _ in range(running)]
        self._arriving = [self._turn(f"session-{number}", length) for number, length in enumerate(lengths)]
        for _ in range(WARM_STEPS):
            self._step_s()

    def run(self, duration_s: float, progress: "tqdm[Any]") -> tuple[dict[str, list[list[float]]], float]:
        """Seconds of each step, in blocks with and without the recorder; the writer's CPU seconds a recorded step."""
        times: dict[str, list[list[float]]] = {"with": [], "without": []}
        gc.collect()
        begun_s = time.perf_counter()
        seconds = 0
        while (elapsed_s := time.perf_counter() - begun_s) < duration_s:
            progress.update(int(elapsed_s) - seconds)
            seconds = int(elapsed_s)
            for name, blocks in times.items():
                self._tracer._recorder = self._recorder if name == "with" else None
                blocks.append([self._step_s() for _ in range(BLOCK_STEPS)])
        self._tracer._recorder = self._recorder
        time.sleep(DRAIN_S)
        writer_s = _thread_cpu_s(WRITER)
        self._scheduler.shutdown()
        return times, writer_s / (sum(map(len, times["with"])) + WARM_STEPS)

    def _step_s(self) -> float:
        begun_s = time.perf_counter()
        for request in self._arriving:
            self._scheduler.add_request(request)
        output = self._scheduler.schedule()
        step_s = time.perf_counter() - begun_s
        result = sampled(self._scheduler, output)
        begun_s = time.perf_counter()
        outputs = self._scheduler.update_from_output(output, result)
        step_s += time.perf_counter() - begun_s
        ended = [each for client in outputs.values() for each in client.outputs if each.finish_reason is not None]
        self._arriving = [self._turn(each.request_id.rpartition(".")[0]) for each in ended]
        return step_s

    def _turn(self, session: str, output_tokens: int | None = None) -> Request:
        self._count += 1
        params = SamplingParams(
            max_tokens=output_tokens or self._random.randint(*OUTPUT_TOKENS), ignore_eos=True, extra_args=HINTS
        )
        prompt = self._random.choices(range(100, 32_000), k=self._random.randint(*PROMPT_TOKENS))
        name = f"{session}.{self._count}"
        return Request(name, prompt, params, None, session_id=session, block_hasher=block_hasher())


if __name__ == "__main__":
    run_stage(main)
