"""Benchmark `cells_on_ray`: seconds of 64 simulations in processes, on Ray, and on Ray with a worker killed midway.

Each way has two workers and starts them itself; processes run a second time last, for the drift of the machine. Needs
the extra `scale`. Fails where a way gives other results than the processes.
"""

import os
import signal
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import StageError, run_stage
from augserve.pipeline.simulator.cells.cell import Cell
from augserve.pipeline.simulator.cells.evidence import run_evidence
from augserve.pipeline.simulator.cells.parallel import pool
from augserve.pipeline.simulator.cells.ray_executor import LOCAL
from augserve.pipeline.simulator.cells.schedule import Schedule
from augserve.pipeline.simulator.record.evidence import Evidence

from .measure import base_seed, write_figures

CELLS, WORKERS = 64, 2
RATE_PER_S = 1.0
SCHEDULE = Schedule(2.0, 8.0, 2.0)
PROFILE = paths.PROFILES / "llama-3.1-8b-h100.json"
Job = tuple[Cell, Path | None]
"""A cell, and the mark of a worker that is to die before the cell's first run."""


def main() -> None:
    # Ray's own is 15, so that any other load would slow it alone.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  Ray's name for it
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / "killed"
        ways: dict[str, tuple[str | None, Path | None]] = {
            "processes": (None, None),
            "ray": (LOCAL, None),
            "ray_with_a_worker_killed": (LOCAL, mark),
            "processes_again": (None, None),
        }
        results, figures = {}, {}
        for name, (on, killing) in ways.items():
            start_s = time.perf_counter()
            results[name] = run_cells(name, on, killing)
            figures[f"{name}_s"] = round(time.perf_counter() - start_s, 1)
            if results[name] != results["processes"]:
                raise StageError(f"cells_on_ray: {name} gives other results than processes; this is a bug of the cells")
        if not mark.exists():
            raise StageError("cells_on_ray: no worker was killed; this is a bug of the benchmark")
    processes_s = (figures["processes_s"] + figures["processes_again_s"]) / 2
    figures["ray_over_processes"] = round(figures["ray_s"] / processes_s, 3)
    write_figures("cells_on_ray", figures)


def run_cells(name: str, on: str | None, killing: Path | None) -> list[Evidence]:
    jobs: list[Job] = [(cell, killing if at == CELLS // 2 else None) for at, cell in enumerate(cells())]
    with pool(WORKERS, run_job, on) as submit:
        futures = [submit(job) for job in jobs]
        return [future.result() for future in tqdm(futures, desc=name, unit="cell")]


def cells() -> list[Cell]:
    """Different sessions each; every second cell of stock vLLM, the others of the policy that ranks by prefill."""
    settings = SchedulerSettings()
    return [
        Cell(
            "augmentation-mix",
            ("vllm", "uncached-first")[number % 2],
            PROFILE,
            RATE_PER_S,
            base_seed() + number,
            SCHEDULE,
            settings,
            None,
        )
        for number in range(CELLS)
    ]


def run_job(job: Job) -> Evidence:
    cell, killing = job
    if killing is not None and not killing.exists():
        killing.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run_evidence(cell)


if __name__ == "__main__":
    run_stage(main)
