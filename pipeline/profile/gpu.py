"""`make profile-gpu`: the shipped profile of the GPU at hand, measured anew on the real engine with dummy weights."""

import argparse
import importlib.util
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from ...data.atomic import write_json, write_text
from ..project import paths
from ..project.params import load_params
from ..project.stage import StageError, run_stage
from ..simulator.profile import EngineLimits, StepProfile
from .engines import ENGINES, Engine
from .fit import Array, Work, errors, regions
from .report import REPORTS
from .run import ProfileParams
from .stepper import VllmStepper

DECODES = (1, 8, 64, 256)
CONTEXTS = (256, 2048, 8192, 32768)
CHUNKS = (64, 512, 2048, 8192)
PREFIXES = (0, 2048, 16384, 65536)
WARM_UP = 2  # steps before those that count: kernels are chosen and graphs captured in them
REPEATS = 7
SEED = 20261123


class Stepper(Protocol):
    def steps_s(self, work: Work, repeats: int) -> list[float]: ...


def grid(limits: EngineLimits) -> list[Work]:
    """Steps that only decode, only prefill, and both, of those sizes that the engine can hold at once."""
    decodes = [Work(0, 0, 0, count, context) for count in DECODES for context in CONTEXTS]
    prefills = [Work(size, 1, prefix, 0, 0) for size in CHUNKS for prefix in PREFIXES]
    mixed = [Work(size, 1, 2048, count, 1024) for size in CHUNKS for count in DECODES]
    return [work for work in (*decodes, *prefills, *mixed) if work.fits(limits, WARM_UP + REPEATS)]


def measured_s(stepper: Stepper, works: Sequence[Work], progress: Callable[[], object] = lambda: None) -> Array:
    """Median seconds of each step, warm-up left out."""
    found = []
    for work in works:
        found.append(statistics.median(stepper.steps_s(work, WARM_UP + REPEATS)[WARM_UP:]))
        progress()
    return np.array(found)


def report(profile: StepProfile, works: Sequence[Work], seconds: Array) -> dict[str, float]:
    """Errors of the profile on what was measured; writes them and every step beside the other reports."""
    fitted = np.array([work.seconds(profile) for work in works])
    found = {**errors(fitted, seconds), **regions(works, fitted, seconds)}
    rows = "".join(
        f"{work.region},{work.tokens},{work.chunk_context},{work.decodes},{work.decode_context},{real:.6g},{fit:.6g}\n"
        for work, real, fit in zip(works, seconds, fitted, strict=True)
    )
    header = (
        "region,prefill_tokens,prefill_context_tokens,decode_sequences,decode_context_tokens,measured_s,profile_s\n"
    )
    write_text(REPORTS / f"{profile.name}-measured.csv", header + rows)
    write_json(REPORTS / f"{profile.name}-measured.json", found)
    return found


def engine_at_hand(wanted: str | None) -> str:
    """Name of the profile to check: the one asked for, or the first that the GPUs here can run.

    Raises:
        StageError: no CUDA GPU, no vLLM for it, or none of a kind that has a profile.
    """
    for package in ("torch", "vllm"):
        if importlib.util.find_spec(package) is None:
            raise StageError(f"profile-gpu: {package} is not installed; install vLLM's CUDA build here")
    import torch

    if not torch.cuda.is_available():
        raise StageError(
            "profile-gpu: no CUDA GPU is found here, or torch's build has no CUDA; run it on a machine with a GPU "
            "as `make profile-gpu GPU_PYTHON=…`, the Python that has vLLM's CUDA build"
        )
    title, count = torch.cuda.get_device_name(), torch.cuda.device_count()
    able = [name for name, engine in ENGINES.items() if _runs_on(engine, title, count)]
    if wanted in able or (wanted is None and able):
        return wanted or able[0]
    raise StageError(f"profile-gpu: {count} x {title} cannot run {wanted or 'any profile'}; it can: {able or 'none'}")


def _runs_on(engine: Engine, title: str, count: int) -> bool:
    return engine.gpu.system.split("_")[0].upper() in title.upper() and engine.tensor_parallel <= count


def main() -> None:
    parser = argparse.ArgumentParser(prog="make profile-gpu", description=__doc__)
    parser.add_argument("--profile", choices=ENGINES, help="default: the first that this GPU can run")
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
