"""Stage `evaluate`: policies compared at several loads, on sessions that neither training nor tuning has seen."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ...data.atomic import write_text
from ...data.tables.splits import SPLIT_SEEDS
from ...data.workload.mix import MIX
from ...data.workload.trace_set import Split
from ...models.serving.settings import SchedulerSettings
from ..project import paths
from ..project.own_workloads import OwnWorkload, own_workloads
from ..project.params import BaseParams, SplitShares, load_params
from ..project.stage import StageError
from ..project.trace_sources import DataParams
from ..project.tracking import experiment_run
from ..results.documents import evaluation_markdown
from ..results.metrics_file import EvaluationResults, Job, write_results
from ..simulator.cells.cell import load_profile
from ..simulator.cells.runs import kept_runs
from ..simulator.cells.workers import Workers
from .agent_figures import write_agent_figures
from .capacities import capacities, stock_capacities
from .capacity_guess import capacity_guesses
from .comparison import compare, pooled_cells
from .distributions import Evidences, distributions
from .evaluation import Evaluation
from .figures import write_figures
from .params import ComparisonParams, steady
from .static_search import search_static

Value = TypeVar("Value")
logger = logging.getLogger(__name__)


class EvaluateParams(ComparisonParams):
    SECTION = "evaluate"


def read_tuned(folder: Path) -> tuple[SchedulerSettings, float | None]:
    """The tuned settings, and stock vLLM's capacity@90 of the mix on the sessions of tuning, if it was searched.

    Raises StageError or SettingsError, which name the file.
    """
    with _written_by_tune(folder):
        settings = json.loads((folder / "scheduler.json").read_text(encoding="utf-8"))
        unit = _capacity(folder)["sessions_per_s"]
        guess_per_s = None if unit is None else float(unit)
    return SchedulerSettings.from_json(settings), guess_per_s


def guessed_on(folder: Path) -> str:
    """The engine of that capacity. Raises StageError, which names the file."""
    with _written_by_tune(folder):
        return str(_capacity(folder)["profile"])


def _capacity(folder: Path) -> Any:
    return json.loads((folder / "capacity.json").read_text(encoding="utf-8"))


@contextmanager
def _written_by_tune(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StageError(f"{error.filename}: {error.strerror}; run `dvc repro tune`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StageError(f"{folder}: not written by `tune` ({error}); run `dvc repro tune`") from error


def evaluation_of(params: ComparisonParams, own: Sequence[OwnWorkload] = ()) -> Evaluation:
    """On the sessions of the report, with the tuned settings; `own` workloads on their engines where those are known.

    Raises StageError where `tune` has not run.
    """
    seed = load_params(BaseParams).seed + SPLIT_SEEDS["report"]
    settings, guess_per_s = read_tuned(paths.TUNED)
    shares = load_params(SplitShares)
    split = Split("report", shares.validation_share, shares.test_share)
    own_profiles = {each.name: each.profile for each in own if each.profile is not None}
    profiles = dict.fromkeys((*params.profiles, *own_profiles.values()))
    engines = {name: load_profile(paths.PROFILES / f"{name}.json") for name in profiles}
    jobs = [
        (workload, profile) for workload in dict.fromkeys(map(steady, params.workloads)) for profile in params.profiles
    ]
    guessed = None if guess_per_s is None else (MIX, guessed_on(paths.TUNED))
    new = [job for job in jobs if job != guessed]
    guesses = capacity_guesses(new, engines, split, seed)
    step_times = {name: engine.linear for name, engine in engines.items()}
    return Evaluation(
        params, seed, settings, guess_per_s, split, guesses=guesses, step_times=step_times, own_profiles=own_profiles
    )


def report(params: ComparisonParams, folder: Path, workers: Workers, own: Sequence[OwnWorkload] = ()) -> None:
    """Run a comparison; write its metrics, tables and figures into `folder`, and print the tables."""
    evaluation = evaluation_of(params, own)
    if absent := sorted(set(params.agent_workloads) - set(params.present_agent_workloads)):
        logger.info("%s: without the agents of %s: not imported here", params.SECTION, ", ".join(absent))
    facts = params.model_dump() | {"seed": evaluation.seed}
    names = dict.fromkeys((*params.workloads, *params.present_agent_workloads))
    tags = {"kind": params.SECTION, "workloads": ", ".join(names), "profiles": ", ".join(evaluation.step_times)}
    with experiment_run("evaluation", params.SECTION, facts, tags, system_metrics=True) as run:
        results, evidences = simulated(evaluation, run.id, workers)
        write_figures(folder, results, distributions(evidences, {job: results.main_load(job) for job in results.jobs}))
        write_agent_figures(folder, results)
        write_text(folder / "table.md", text := evaluation_markdown(results))
        write_results(folder / "metrics.json", results)
        run.log_folder(folder, "report")
    print(text)


def simulated(evaluation: Evaluation, parent_id: str, workers: Workers) -> tuple[EvaluationResults, Evidences]:
    """Run all cells and searches of a comparison."""
    params = evaluation.params
    with kept_runs(params.processes, workers, params.SECTION) as submit:
        stock = stock_capacities(evaluation, submit)
        evaluation = search_static(evaluation, stock, submit)
        evidences = compare(evaluation, stock, submit)
        reached, missed = capacities(evaluation, stock, evidences, submit)
    cells = pooled_cells(evidences, evaluation.seed, parent_id)
    static, agent_static = by_workload(evaluation.static), by_workload(evaluation.agent_static)
    return EvaluationResults(cells, reached, static, agent_static, missed), evidences


def by_workload(of_jobs: Mapping[Job, Value]) -> dict[str, dict[str, Value]]:
    """Workload → profile → value."""
    nested: dict[str, dict[str, Value]] = {}
    for (workload, profile), value in of_jobs.items():
        nested.setdefault(workload, {})[profile] = value
    return nested


def with_own(params: EvaluateParams, own: Sequence[OwnWorkload]) -> EvaluateParams:
    """The deployment's own workloads run too, with as many agents as worked at once beside the numbers of params."""
    if not own:
        return params
    names = (*(each.name for each in own), *params.agent_workloads)
    agents = sorted({*params.agents, *(each.agents for each in own)})
    return params.changed(agent_workloads=tuple(dict.fromkeys(names)), agents=tuple(agents))


def main() -> None:
    workers = Workers.asked("python -m augserve.pipeline evaluate", "Compare policies.")
    own = own_workloads(load_params(DataParams))
    report(with_own(load_params(EvaluateParams), own), paths.EVALUATION_REPORTS, workers, own)
