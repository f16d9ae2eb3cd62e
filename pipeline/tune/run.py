"""Stage `tune`: the load's unit (capacity@90 of stock vLLM), then Optuna over the scheduler's settings, then the best
few judged on other sessions.

`--long` is a search of hours, with the keys of `tune_long` in params.yaml. The same command on several machines, with
one `tune.storage`, works on one study.
"""

import argparse
import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna

from ...data.atomic import write_json
from ...models.serving.settings import SchedulerSettings
from ..prepare.run import PrepareParams
from ..project.code_digest import code_digest
from ..project.params import BaseParams, load_params
from ..project.stage import StageError
from ..project.tracking import experiment_run
from ..results.tuning import DEFAULTS, Selection
from ..simulator.cells.cache import cell_key
from ..simulator.cells.cell import load_profile
from ..simulator.cells.parallel import Submit, workers
from .bench import Bench, Capacities
from .params import TuneParams, load_tune_params
from .report import write_reports
from .score import Job, Yardstick, jobs_of
from .select import Judged, candidates, choose, judge
from .space import Space, read_space, with_values
from .study import Search, enqueue, open_study, simulate_on

TUNED = Path("models/tuned")
REPORTS = Path("reports/tune")
RUN_ALONE = frozenset({"trials", "timeout_s", "candidates", "processes", "storage", "starts", "select_workloads"})
"""What may change between two runs of one study."""

logger = logging.getLogger(__name__)


def study_name(bench: Bench, space: Space) -> str:
    """Carries a hash of all that a trial's value depends on: a study made with other inputs is never resumed."""
    params = {key: value for key, value in dataclasses.asdict(bench.params).items() if key not in RUN_ALONE}
    code = code_digest("pipeline/tune")
    try:
        cells = [
            cell_key(bench.cell(Job(name, 1.0, 0), 1.0, "augserve", space.defaults)) for name in params["workloads"]
        ]
    except ValueError as error:
        raise StageError(f"tune: {error}") from error
    digest = hashlib.sha256(json.dumps([params, code, cells], sort_keys=True).encode())
    return f"tune-{digest.hexdigest()[:12]}"


def starts(space: Space, params: TuneParams) -> list[tuple[str, SchedulerSettings]]:
    """The first trials of a study: the settings set by hand, then `tune.starts`.

    Raises SettingsError for a start with an unknown setting.
    """
    given = [(f"start {index}", with_values(space.defaults, values)) for index, values in enumerate(params.starts, 1)]
    return [(DEFAULTS, space.defaults), *given]


def measured(study: optuna.Study, bench: Bench, defaults: SchedulerSettings) -> tuple[Capacities, Yardstick]:
    """Stock vLLM's capacity, and its results on the sessions of `bench`; a resumed study knows them."""
    units: Capacities | None = study.user_attrs.get("capacities")
    if units is None:
        units = bench.capacities(defaults)
        study.set_user_attr("capacities", dict(units))
    key = f"stock, {bench.use}: {', '.join(bench.params.workloads)}"
    known = study.user_attrs.get(key)
    if known is None:
        found = bench.stock(units, defaults)
        study.set_user_attr(key, [[dataclasses.astuple(job), dict(metrics)] for job, metrics in found.items()])
    else:
        found = {Job(*job): metrics for job, metrics in known}
    return units, Yardstick(bench.params, defaults.max_wait_s, found)


def write_tuned(winner: Judged, judged: list[Judged], units: Capacities, params: TuneParams) -> None:
    """What the later stages read."""
    workload = params.workloads[0]
    found: Mapping[str, Any] = {"profile": params.profile, "workload": workload, "sessions_per_s": units[workload]}
    write_json(TUNED / "scheduler.json", winner.candidate.settings.to_json())
    write_json(TUNED / "capacity.json", {**found, "workloads": dict(units)})
    jobs = [job for job in jobs_of(params) if job.workload == workload]  # the report holds its own beside these
    selection = Selection(
        winner.candidate.name,
        params.profile,
        workload,
        params.loads,
        params.longest_wait_s,
        {one.candidate.name: {"tune": one.candidate.tuned, "select": one.tally.score_of(jobs)} for one in judged},
    )
    write_json(TUNED / "selection.json", dataclasses.asdict(selection))


def tune(params: TuneParams, seed: int, submit: Submit) -> None:
    shares = load_params("prepare", PrepareParams)
    step_time = load_profile(Path("data/profiles") / f"{params.profile}.json").linear
    space = read_space(params.space, SchedulerSettings(step_time=step_time, profile=params.profile))
    bench = Bench(params, seed, (shares.validation_share, shares.test_share), submit)
    study = open_study(study_name(bench, space), params, seed)
    enqueue(study, space, starts(space, params))
    facts = {key: value for key, value in dataclasses.asdict(params).items() if key != "storage"}
    tags = {"kind": "study", "study": study.study_name, "profile": params.profile}
    with experiment_run("tuning", study.study_name, facts, tags, system_metrics=True) as run:
        units, yardstick = measured(study, bench, space.defaults)
        Search(params, space, yardstick, simulate_on(bench, units), run.id).run(study)
        found = candidates(study, params.candidates)
        other = dataclasses.replace(bench, use="select", params=params.selecting())
        judged = judge(other, units, measured(study, other, space.defaults)[1], found)
        winner = choose(judged)
        if not winner.tally.feasible:
            logger.warning(
                "tune: no candidate keeps every constraint on the sessions judged on: %s", winner.tally.violations
            )
        write_tuned(winner, judged, units, params)
        write_reports(REPORTS, study, space, params, judged, winner)
        run.log_metrics({"score": winner.candidate.tuned, "select_score": winner.tally.score})
        run.log_folder(REPORTS, "report")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m augserve.pipeline tune", description="Search the settings.")
    parser.add_argument("--long", action="store_true", help="a search of hours: tune_long in params.yaml")
    params = load_tune_params(parser.parse_args().long)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # One thread starts every process: a simulation's process ends with the thread that started it.
    with ThreadPoolExecutor(1) as starter, workers(params.processes) as start:
        tune(params, load_params("base", BaseParams).seed, lambda cell: starter.submit(start, cell).result())
    print((REPORTS / "table.md").read_text(encoding="utf-8"))
