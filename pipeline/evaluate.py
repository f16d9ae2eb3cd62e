"""Stage `evaluate`: policies compared at several loads, on sessions that neither training nor tuning has seen."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..data.tokens import SPLIT_SEEDS
from ..data.trace_set import Split
from ..models.settings import SchedulerSettings
from .comparison import CELLS, ComparisonParams, Evaluation, capacities, compare, write_report
from .params import BaseParams, load_params
from .prepare import PrepareParams
from .simulator.cell_cache import cached
from .simulator.parallel import workers
from .stage import StageError, run_stage
from .static_search import search_static

TUNED = Path("models/tuned")
REPORTS = Path("reports/evaluate")


@dataclass(frozen=True, slots=True)
class EvaluateParams(ComparisonParams):
    SECTION: ClassVar[str] = "evaluate"


def read_tuned(folder: Path) -> tuple[SchedulerSettings, float]:
    """The tuned settings, and the sessions/s that tuning found. Raises StageError or SettingsError naming the file."""
    try:
        settings = json.loads((folder / "scheduler.json").read_text(encoding="utf-8"))
        unit = float(json.loads((folder / "capacity.json").read_text(encoding="utf-8"))["sessions_per_s"])
    except OSError as error:
        raise StageError(f"{error.filename}: {error.strerror}; run `dvc repro tune`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StageError(f"{folder}: not what `tune` writes ({error}); run `dvc repro tune`") from error
    return SchedulerSettings.from_json(settings), unit


def evaluation_of(params: ComparisonParams) -> Evaluation:
    """On the sessions kept for reporting, with the tuned settings. Raises StageError where a stage has not run."""
    seed = load_params("base", BaseParams).seed + SPLIT_SEEDS["report"]
    settings, guess_per_s = read_tuned(TUNED)
    shares = load_params("prepare", PrepareParams)
    split = Split("report", shares.validation_share, shares.test_share)
    return Evaluation(params, seed, settings, guess_per_s, split)


def report(params: ComparisonParams, folder: Path) -> None:
    """Run all of a comparison, and write and print what it found."""
    evaluation = evaluation_of(params)
    with workers(params.processes) as submit:
        kept = cached(submit, CELLS)
        capacity90 = capacities(evaluation, kept)
        evaluation = search_static(evaluation, capacity90, kept)
        results = compare(evaluation, capacity90, kept)
    print(write_report(folder, results, capacity90, evaluation.static))


def main() -> None:
    report(load_params("evaluate", EvaluateParams), REPORTS)


if __name__ == "__main__":
    run_stage(main)
