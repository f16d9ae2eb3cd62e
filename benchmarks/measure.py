"""Shared by the benchmarks: the packaged bundle, wall times, and the report."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from augserve.data.atomic import write_json
from augserve.models.serving.bundle import Bundle, load_bundle
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import BaseParams, load_params
from augserve.pipeline.project.stage import StageError

REPORTS = Path("reports/bench")


def packaged_bundle() -> Bundle:
    """Raises StageError if no bundle is packaged yet, BundleError for a bad one."""
    if not paths.BUNDLE.is_dir():
        raise StageError(f"{paths.BUNDLE}: no such folder; run `dvc repro` first")
    return load_bundle(paths.BUNDLE, None)


def base_seed() -> int:
    return load_params(BaseParams).seed


def times_s(run: Callable[[], object], repeats: int) -> list[float]:
    """Wall times of `run`, seconds."""
    times = []
    for _ in range(repeats):
        start_s = time.perf_counter()
        run()
        times.append(time.perf_counter() - start_s)
    return times


def median_s(run: Callable[[], object], repeats: int) -> float:
    return statistics.median(times_s(run, repeats))


def median_and_p99_us(name: str, run: Callable[[], object], repeats: int) -> dict[str, float]:
    """`<name>_us` and `<name>_p99_us`: wall times of `run`, µs."""
    times_us = np.array(times_s(run, repeats)) * 1e6
    return {
        f"{name}_us": round(float(np.median(times_us)), 1),
        f"{name}_p99_us": round(float(np.quantile(times_us, 0.99)), 1),
    }


def sampled(
    scheduler: AsyncScheduler, output: SchedulerOutput, next_token: Callable[[Request], int] = lambda _: 7
) -> ModelRunnerOutput:
    """The output of a step: a token of each request with a complete prompt."""
    ids = list(output.num_scheduled_tokens)
    requests = [scheduler.requests[request_id] for request_id in ids]
    tokens = [[] if request.is_prefill_chunk else [next_token(request)] for request in requests]
    return ModelRunnerOutput(ids, {request_id: index for index, request_id in enumerate(ids)}, tokens)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process took."""

    processor_s: float  # other work on the machine lengthens it little
    peak_mb: float  # resident memory


def usage_of(process: subprocess.Popen[bytes]) -> Usage:
    """Waits for the end of the process. Raises StageError if it fails."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise StageError(f"{process.args!r}: exit code {process.returncode}; see its message above")
    return Usage(round(usage.ru_utime + usage.ru_stime, 1), round(usage.ru_maxrss / 1024, 1))


def write_figures(name: str, figures: Mapping[str, Any]) -> None:
    """Write reports/bench/<name>.json and print it."""
    write_json(REPORTS / f"{name}.json", figures)
    print(*(f"{figure}: {value}" for figure, value in figures.items()), sep="\n")
