"""Stage `tune`: capacity@90 of stock vLLM, an Optuna search over the settings, and a selection on other sessions.

`--long` takes hours, with the keys of `tune_long` in params.yaml. Several machines share a study by one `tune.storage`.
"""

import argparse
import dataclasses
import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import optuna

from ...data.atomic import write_json
from ...models.serving.settings import SchedulerSettings
from ..project import paths
from ..project.code_digest import code_digest
from ..project.params import BaseParams, SplitShares, load_params
from ..project.stage import StageError
from ..project.tracking import experiment_run
from ..results.tuning import DEFAULTS, START, Selection
from ..simulator.catalogue import AUGSERVE
from ..simulator.cells.cache import cell_key
from ..simulator.cells.cell import load_profile, run_cell
from ..simulator.cells.parallel import Submit, pool
from .params import TuneParams, load_tune_params
from .report import write_reports
from .score import Baseline, Scenario, scenarios_of
from .search import Search, enqueue, simulate_on
from .select import Selected, candidates, choose, run_candidates
from .simulations import Capacities, TuningSimulations
from .space import Space, read_space, with_values
from .storage import open_study

UNHASHED = frozenset({"trials", "timeout_s", "candidates", "processes", "storage", "starts", "select_workloads"})
"""Keys of the section that may change between two runs of one study."""

logger = logging.getLogger(__name__)


def study_name(simulations: TuningSimulations, space: Space) -> str:
    """A name with a digest of every input of a trial, so that a study with other inputs is never resumed."""
    params = {key: value for key, value in simulations.params.model_dump().items() if key not in UNHASHED}
    code = code_digest("pipeline/tune")
    try:
        cells = [
            cell_key(simulations.cell(Scenario(name, 1.0, 0), 1.0, AUGSERVE.name, space.defaults))
            for name in simulations.params.workloads
        ]
    except ValueError as error:
        raise StageError(f"tune: {error}") from error
    digest = hashlib.sha256(json.dumps([params, code, cells], sort_keys=True).encode())
    return f"tune-{digest.hexdigest()[:12]}"


def starts(space: Space, params: TuneParams) -> list[tuple[str, SchedulerSettings]]:
    """The first trials of a study: the hand-set defaults, then `tune.starts`.

    Raises SettingsError for a start with an unknown setting.
    """
    given = [(f"{START} {number}", with_values(space.defaults, of)) for number, of in enumerate(params.starts, 1)]
    return [(DEFAULTS, space.defaults), *given]


def measured(
    study: optuna.Study, simulations: TuningSimulations, defaults: SchedulerSettings
) -> tuple[Capacities, Baseline]:
    """The capacities of stock vLLM, and its results on the sessions of `simulations`. A study stores both."""
    capacities: Capacities | None = study.user_attrs.get("capacities")
    if capacities is None:
        capacities = simulations.capacities(defaults)
        study.set_user_attr("capacities", dict(capacities))
    key = f"stock, {simulations.use}: {', '.join(simulations.params.workloads)}"
    stored = study.user_attrs.get(key)
    if stored is None:
        stock = simulations.stock(capacities, defaults)
        study.set_user_attr(key, [[dataclasses.astuple(one), dict(metrics)] for one, metrics in stock.items()])
    else:
        stock = {Scenario(*scenario): metrics for scenario, metrics in stored}
    return capacities, Baseline(simulations.params, defaults.max_wait_s, stock)


def write_tuned(winner: Selected, selected: list[Selected], capacities: Capacities, params: TuneParams) -> None:
    """Write models/tuned: the chosen settings, the capacities, and the selection."""
    workload = params.workloads[0]
    write_json(paths.TUNED_SETTINGS, winner.candidate.settings.to_json())
    capacity: dict[str, Any] = {"profile": params.profile, "workload": workload}
    capacity |= {"sessions_per_s": capacities[workload], "workloads": dict(capacities)}
    write_json(paths.TUNED_CAPACITY, capacity)
    scenarios = [scenario for scenario in scenarios_of(params) if scenario.workload == workload]
    scores = {
        one.candidate.name: {"tune": one.candidate.mean, "select": one.score.mean_over(scenarios)} for one in selected
    }
    selection = Selection(winner.candidate.name, params.profile, workload, params.loads, params.longest_wait_s, scores)
    write_json(paths.SELECTION, dataclasses.asdict(selection))


def tune(params: TuneParams, seed: int, submit: Submit) -> None:
    shares = load_params(SplitShares)
    step_time = load_profile(paths.PROFILES / f"{params.profile}.json").linear
    space = read_space(params.space, SchedulerSettings(step_time=step_time, profile=params.profile))
    simulations = TuningSimulations(params, seed, (shares.validation_share, shares.test_share), submit)
    study = open_study(study_name(simulations, space), params, seed)
    enqueue(study, space, starts(space, params))
    facts = {key: value for key, value in params.model_dump().items() if key != "storage"}
    tags = {"kind": "study", "study": study.study_name, "profile": params.profile}
    with experiment_run("tuning", study.study_name, facts, tags, system_metrics=True) as run:
        capacities, baseline = measured(study, simulations, space.defaults)
        Search(params, space, baseline, simulate_on(simulations, capacities), run.id).run(study)
        found = candidates(study, params.candidates)
        selection = dataclasses.replace(simulations, use="select", params=params.selecting())
        selected = run_candidates(selection, capacities, measured(study, selection, space.defaults)[1], found)
        winner = choose(selected)
        if not winner.score.feasible:
            logger.warning("tune: no candidate is feasible on the sessions of selection: %s", winner.score.violations)
        write_tuned(winner, selected, capacities, params)
        write_reports(paths.TUNING_REPORTS, study, space, params, selected, winner)
        run.log_metrics({"score": winner.candidate.mean, "select_score": winner.score.mean})
        run.log_folder(paths.TUNING_REPORTS, "report")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m augserve.pipeline tune", description="Search the settings.")
    parser.add_argument("--long", action="store_true", help="search for hours, with tune_long of params.yaml")
    params = load_tune_params(parser.parse_args().long)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # A worker process ends with the thread that started it, so one thread starts them all.
    with ThreadPoolExecutor(1) as starter, pool(params.processes, run_cell) as start:
        tune(params, load_params(BaseParams).seed, lambda cell: starter.submit(start, cell).result())
    print((paths.TUNING_REPORTS / "table.md").read_text(encoding="utf-8"))
