"""`make profile-gpu`: check the shipped profile of this machine's GPU on the real engine with dummy weights."""

import argparse
import importlib.util
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from ...data.atomic import write_json
from ..project import paths
from ..project.params import load_params
from ..project.stage import StageError, run_stage
from ..simulator.profile import EngineLimits, StepProfile
from ..step_times.least_squares import Array
from .engines import ENGINES, Engine
from .fit import Work, errors, regions
from .report import REPORTS, write_csv
from .run import ProfileParams
from .stepper import VllmStepper

DECODES = (1, 8, 64, 256)
CONTEXTS = (256, 2048, 8192, 32768)
CHUNKS = (64, 512, 2048, 8192)
PREFIXES = (0, 2048, 16384, 65536)
WARM_UP = 2  # uncounted first steps: they choose kernels and capture graphs
REPEATS = 7
SEED = 20261123


class Stepper(Protocol):
    def steps_s(self, work: Work, repeats: int) -> list[float]: ...


def grid(limits: EngineLimits) -> list[Work]:
    """Steps of decodes, of prefills and of both, in the sizes that fit the engine."""
    decodes = [Work(0, 0, 0, count, context) for count in DECODES for context in CONTEXTS]
    prefills = [Work(size, 1, prefix, 0, 0) for size in CHUNKS for prefix in PREFIXES]
    mixed = [Work(size, 1, 2048, count, 1024) for size in CHUNKS for count in DECODES]
    return [work for work in (*decodes, *prefills, *mixed) if work.fits(limits, WARM_UP + REPEATS)]


def measured_s(stepper: Stepper, works: Sequence[Work], progress: Callable[[], object] = lambda: None) -> Array:
    """Median seconds of each step without its warm-up."""
    medians = []
    for work in works:
        medians.append(statistics.median(stepper.steps_s(work, WARM_UP + REPEATS)[WARM_UP:]))
        progress()
    return np.array(medians)


def report(profile: StepProfile, works: Sequence[Work], seconds: Array) -> dict[str, float]:
    """Errors of the profile on the measured steps. Writes the errors and every step to the reports."""
    fitted = np.array([work.seconds(profile) for work in works])
    profile_errors = {**errors(fitted, seconds), **regions(works, fitted, seconds)}
    columns = {
        "region": [work.region for work in works],
        "prefill_tokens": [work.tokens for work in works],
        "prefill_context_tokens": [work.chunk_context for work in works],
        "decode_sequences": [work.decodes for work in works],
        "decode_context_tokens": [work.decode_context for work in works],
        "measured_s": seconds,
        "profile_s": fitted,
    }
    write_csv(REPORTS / f"{profile.name}-measured.csv", pd.DataFrame(columns))
    write_json(REPORTS / f"{profile.name}-measured.json", profile_errors)
    return profile_errors


def engine_at_hand(wanted: str | None) -> str:
    """Name of the profile to check: `wanted`, or the first that this machine's GPUs can run.

    Raises StageError without a CUDA GPU, its vLLM, or a profile for it.
    """
    for package in ("torch", "vllm"):
        if importlib.util.find_spec(package) is None:
            raise StageError(f"profile-gpu: {package} is not installed; install vLLM's CUDA build here")
    import torch

    if not torch.cuda.is_available():
        raise StageError(
            "profile-gpu: no CUDA GPU, or torch is built without CUDA; run it on a machine with a GPU by "
            "`make profile-gpu GPU_PYTHON=…`, the Python with vLLM's CUDA build"
        )
    title, count = torch.cuda.get_device_name(), torch.cuda.device_count()
    able = [name for name, engine in ENGINES.items() if _runs_on(engine, title, count)]
    if wanted in able or (wanted is None and able):
        return wanted or able[0]
    raise StageError(f"profile-gpu: {count} x {title} cannot run {wanted or 'any profile'}, only {able or 'none'}")


def _runs_on(engine: Engine, title: str, count: int) -> bool:
    return engine.gpu.system.split("_")[0].upper() in title.upper() and engine.tensor_parallel <= count


def main() -> None:
    parser = argparse.ArgumentParser(prog="make profile-gpu", description=__doc__)
    parser.add_argument("--profile", choices=ENGINES, help="default: the first that this machine can run")
    name = engine_at_hand(parser.parse_args().profile)
    profile = StepProfile.load(paths.PROFILES / f"{name}.json")
    share = load_params(ProfileParams).gpu_memory_utilization
    works = grid(profile.limits)
    with tempfile.TemporaryDirectory() as folder:
        stepper = VllmStepper.start(ENGINES[name], Path(folder), share, SEED)
        with tqdm(total=len(works), desc=name, unit="step") as progress:
            seconds = measured_s(stepper, works, progress.update)
    for key, value in report(profile, works, seconds).items():
        print(f"{name} {key}: {value:.4g}")


if __name__ == "__main__":
    run_stage(main)
