"""Stage `tune`: capacity@90 of stock vLLM, an Optuna search over the settings, and a selection on other sessions.

`--long` takes hours, with the keys of `tune_long` in params.yaml. Several machines share a study by one `tune.storage`.
"""

import argparse
import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence

import optuna

from ...data.atomic import write_json
from ...data.workload.mix import MIX
from ...models.serving.settings import SchedulerSettings
from ..project import paths
from ..project.code_digest import code_digest
from ..project.own_workloads import OwnWorkload, own_workloads
from ..project.params import BaseParams, SplitShares, load_params
from ..project.slo import load_slo
from ..project.stage import StageError
from ..project.trace_sources import DataParams
from ..project.tracking import experiment_run
from ..results.tuning import CHAMPION, DEFAULTS, Selection
from ..simulator.catalogue import AUGSERVE
from ..simulator.cells.cache import cell_key
from ..simulator.cells.cell import load_profile, run_cell
from ..simulator.cells.parallel import Submit, pool
from ..simulator.cells.workers import add_on
from .champion import read_champion, write_champion
from .own import deciding, deployed_profile, with_own
from .params import TuneParams, load_tune_params
from .report import finished, write_reports
from .score import Baseline, Limits, Scenario
from .search import Search, enqueue, simulate_on
from .select import Candidate, Judged, Selected, choose, finalists, judge, kept
from .simulations import Capacities, TuningSimulations
from .space import Space, read_space
from .storage import open_study, quiet_libraries

UNHASHED = frozenset({"trials", "timeout_s", "finalists", "candidates", "processes", "storage"})
"""Keys of the section that may change between two runs of one study."""

logger = logging.getLogger(__name__)


def study_name(simulations: TuningSimulations, space: Space) -> str:
    """A name with a digest of every input of a trial, so that a study with other inputs is never resumed."""
    params = {key: value for key, value in simulations.params.model_dump().items() if key not in UNHASHED}
    code = code_digest("pipeline/tune")
    try:
        cells = [
            cell_key(simulations.cell(scenario, scenario.load, AUGSERVE.name, space.defaults))
            for scenario in simulations.params.planned()
        ]
    except ValueError as error:
        raise StageError(f"tune: {error}") from error
    digest = hashlib.sha256(json.dumps([params, code, cells], sort_keys=True).encode())
    return f"tune-{digest.hexdigest()[:12]}"


def starts(space: Space) -> list[tuple[str, SchedulerSettings]]:
    """The first trials of a study: the hand-set defaults, then the champion of earlier searches."""
    champion = read_champion(paths.CHAMPION, space)
    return [(DEFAULTS, space.defaults), *([] if champion is None else [(CHAMPION, champion)])]


def measured(
    study: optuna.Study, simulations: TuningSimulations, defaults: SchedulerSettings
) -> tuple[Capacities, Baseline]:
    """The capacities of stock vLLM, and the rivals on the sessions of `simulations`. A study stores both."""
    stored = study.user_attrs.get("capacities")
    if stored is None:
        stored = [[*job, rate] for job, rate in simulations.capacities(defaults).items()]
        study.set_user_attr("capacities", stored)
    capacities = {(workload, profile): rate for workload, profile, rate in stored}
    key = f"rivals, {simulations.use}"
    known = study.user_attrs.get(key)
    if known is None:
        rivals = simulations.rivals(capacities, defaults)
        known = [[dataclasses.astuple(one), {name: dict(of) for name, of in by.items()}] for one, by in rivals.items()]
        study.set_user_attr(key, known)
    params = simulations.params
    limits = Limits(params.min_goodput_ratio, params.min_throughput_ratio, params.longest_wait_s, defaults.max_wait_s)
    return capacities, Baseline(limits, {Scenario(*scenario): by_policy for scenario, by_policy in known})


def write_tuned(winner: Selected, selected: list[Selected], capacities: Capacities, params: TuneParams) -> None:
    """Write models/tuned: the chosen settings, the capacities, and the selection."""
    write_json(paths.TUNED_SETTINGS, winner.candidate.settings.to_json())
    by_job = {f"{workload} on {profile}": rate for (workload, profile), rate in capacities.items()}
    rate_per_s = capacities.get((MIX, params.profile))
    write_json(paths.TUNED_CAPACITY, {"profile": params.profile, "sessions_per_s": rate_per_s, "of": by_job})
    scenarios = tuple(dict.fromkeys((one.workload, one.profile, one.load_name) for one in params.planned()))
    scores = {one.candidate.name: {"tune": one.tune.mean, "select": one.score.mean} for one in selected}
    write_json(paths.SELECTION, dataclasses.asdict(Selection(winner.candidate.name, scenarios, scores)))


def searched_space(params: TuneParams, profile: str) -> Space:
    """What is searched, with the hand-set defaults on the engine `profile`."""
    step_time = load_profile(paths.PROFILES / f"{profile}.json").linear
    return read_space(params.space, SchedulerSettings(slo=load_slo(), step_time=step_time, profile=profile))


def tuning_simulations(params: TuneParams, seed: int, submit: Submit) -> TuningSimulations:
    shares = load_params(SplitShares)
    return TuningSimulations(params, seed, (shares.validation_share, shares.test_share), submit)


def select(
    simulations: TuningSimulations, capacities: Capacities, baseline: Baseline, judged: Sequence[Judged]
) -> list[Selected]:
    """Run the best candidates on the sessions of selection."""
    best = kept(judged, simulations.params.candidates)
    tuned = {one.candidate: one.score for one in best}
    again = judge(simulations, capacities, baseline, [one.candidate for one in best])
    return [Selected(one.candidate, tuned[one.candidate], one.score) for one in again]


def search(
    study: optuna.Study,
    simulations: TuningSimulations,
    measurements: tuple[Capacities, Baseline],
    space: Space,
    run_id: str,
    known: Sequence[Candidate] = (),
) -> list[Selected]:
    """Run the study; its best trials and the `known` candidates in whole; and the best of those on the sessions of
    selection. `run_id`: MLflow's, of which the trials are children."""
    capacities, baseline = measurements
    params = simulations.params
    Search(params, space, baseline, simulate_on(simulations, capacities), run_id).run(study)
    judged = judge(simulations, capacities, baseline, [*finalists(study, params.finalists), *known])
    selection_params = params.changed(seeds=params.selection_seeds)
    selection = dataclasses.replace(simulations, use="select", params=selection_params)
    return select(selection, capacities, measured(study, selection, space.defaults)[1], judged)


def tune(params: TuneParams, own: Sequence[OwnWorkload], seed: int, submit: Submit, long: bool) -> None:
    """`params`: with the workloads `own`."""
    space = searched_space(params, deployed_profile(params, own))
    simulations = tuning_simulations(params, seed, submit)
    study = open_study(study_name(simulations, space), params, seed)
    enqueue(study, space, starts(space))
    facts = {key: value for key, value in params.model_dump().items() if key != "storage"}
    tags = {"kind": "study", "study": study.study_name, "profile": space.defaults.profile}
    with experiment_run("tuning", study.study_name, facts, tags, system_metrics=True) as run:
        capacities, baseline = measured(study, simulations, space.defaults)
        params, lines = deciding(params, own, baseline)
        for line in lines:
            logger.warning("tune: %s", line)
        simulations = dataclasses.replace(simulations, params=params)
        selected = search(study, simulations, (capacities, baseline), space, run.id)
        winner = choose(selected)
        if not winner.score.feasible:
            logger.warning("tune: no candidate is feasible on the sessions of selection: %s", winner.score.violations)
        write_tuned(winner, selected, capacities, params)
        write_reports(paths.TUNING_REPORTS, study, space, selected, winner, lines)
        if long:
            write_champion(paths.CHAMPION, winner, {"name": study.study_name, "trials": finished(study)})
        run.log_metrics({"score": winner.tune.mean, "select_score": winner.score.mean})
        run.log_folder(paths.TUNING_REPORTS, "report")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m augserve.pipeline tune", description="Search the settings.")
    parser.add_argument("--long", action="store_true", help="search for hours, with tune_long of params.yaml")
    add_on(parser)
    arguments = parser.parse_args()
    long = arguments.long
    own = own_workloads(load_params(DataParams))
    params = with_own(load_tune_params(long), own)
    quiet_libraries()
    with pool(params.processes, run_cell, arguments.on) as start:
        tune(params, own, load_params(BaseParams).seed, start, long)
    print((paths.TUNING_REPORTS / "table.md").read_text(encoding="utf-8"))
