"""The bundle that is measured, and how times are taken."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from augserve.models.serving.bundle import Bundle, load_bundle
from augserve.pipeline.project.stage import StageError

BUNDLE = Path("models/bundle")


def packaged_bundle() -> Bundle:
    """Raises StageError where none is packaged yet, BundleError for a bad one."""
    if not BUNDLE.is_dir():
        raise StageError(f"{BUNDLE}: no such folder: the benchmark measures the packaged bundle; run `dvc repro` first")
    return load_bundle(BUNDLE, None)


def median_s(run: Callable[[], object], repeats: int, before: Callable[[], object] | None = None) -> float:
    """Median wall time of `run`, seconds; `before` each run is not timed."""
    return statistics.median(times_s(run, repeats, before))


def times_s(run: Callable[[], object], repeats: int, before: Callable[[], object] | None = None) -> list[float]:
    """Wall times of `run`, seconds; `before` each run is not timed."""
    times = []
    for _ in range(repeats):
        if before is not None:
            before()
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times
