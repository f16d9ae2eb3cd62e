"""The simulations of the experiment: each policy's best static setting in each scene, then every row of the table."""

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from augserve.data.tables.files import table_files
from augserve.data.tables.splits import SPLIT_SEEDS, Use
from augserve.data.workload.built_in import SEQUENCES
from augserve.data.workload.trace_set import Split
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.evaluate.evaluation import SEED_STEP
from augserve.pipeline.evaluate.static_grid import Scores
from augserve.pipeline.evaluate.static_search import search_all
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import SplitShares
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.results.metrics_file import Tried
from augserve.pipeline.results.tables import best_setting
from augserve.pipeline.simulator.catalogue import TUNED
from augserve.pipeline.simulator.cells.cache import Submit
from augserve.pipeline.simulator.cells.cell import Cell, load_profile
from augserve.pipeline.simulator.cells.schedule import Schedule
from augserve.pipeline.simulator.record.evidence import Evidence

from .params import Scene, SessionsParams

Row = tuple[Scene, int]
"""A scene and a number of agents."""


@dataclass(frozen=True, slots=True)
class Experiment:
    params: SessionsParams
    seed: int
    settings: SchedulerSettings  # as tuned; each engine has its own step times
    shares: SplitShares

    def cell(
        self, scene: Scene, agents: int, policy: str, schedule: Schedule, run: int = 0, use: Use = "report"
    ) -> Cell:
        """Run number `run` of a closed loop. Every policy gets the same sessions in the same order."""
        profile = paths.PROFILES / f"{scene.profile}.json"
        step_time = load_profile(profile).linear
        return Cell(
            scene.workload,
            policy,
            profile,
            None,
            self.seed + SPLIT_SEEDS[use] + run * SEED_STEP,
            schedule,
            dataclasses.replace(self.settings, step_time=step_time, profile=scene.profile),
            paths.ONNX,
            Split(use, self.shares.validation_share, self.shares.test_share),
            agents,
            scene.pause_cap_s,
            scene.host_memory_gib,
        )


def require_workloads(scenes: Sequence[Scene]) -> None:
    """Raises StageError for a workload that is not here."""
    for scene in scenes:
        if scene.workload not in SEQUENCES and not table_files(paths.TRACES / scene.workload, "turns"):
            raise StageError(
                f"sessions: no workload {scene.workload!r} here; import it with `dvc repro public` or remove the scene"
            )


def static_settings(experiment: Experiment, submit: Submit) -> dict[str, dict[str, Tried]]:
    """Scene → policy → the settings that were tried: the most steps per minute on the sessions of tuning."""
    params = experiment.params
    policies: dict[Scene, list[str]] = {}
    for scene in params.scenes:
        policies.setdefault(scene.as_searched(), []).extend(params.policies_of(scene))
    found = search_all(params.static, {scene: _steps(experiment, scene, submit) for scene in policies}, policies)
    return {scene.name: found[scene.as_searched()] for scene in params.scenes}


def _steps(experiment: Experiment, scene: Scene, submit: Submit) -> Scores:
    def scores(names: Sequence[str]) -> list[float]:
        schedule, agents = experiment.params.static_schedule, scene.static_agents
        cells = [experiment.cell(scene, agents, name, schedule, use="tune") for name in names]
        futures = [submit(cell) for cell in cells]
        return [future.result().metrics["steps_per_minute"] for future in futures]

    return scores


def all_runs(
    experiment: Experiment, static: Mapping[str, Mapping[str, Tried]], submit: Submit
) -> dict[Row, dict[str, list[Evidence]]]:
    """The runs of every policy in every row. The longest ones start first: long windows, then many agents."""
    params = experiment.params
    rows = [(scene, agents) for scene in params.scenes for agents in scene.agents]
    futures: dict[Row, dict[str, list[Future[Evidence]]]] = {row: {} for row in rows}
    for scene, agents in sorted(rows, key=lambda row: (params.schedule(row[0]).end_s, row[1]), reverse=True):
        for policy in params.policies_of(scene):
            simulated = best_setting(static[scene.name][policy]) if policy in TUNED else policy
            futures[scene, agents][policy] = [
                submit(experiment.cell(scene, agents, simulated, params.schedule(scene), run))
                for run in range(params.seeds_of(scene, policy))
            ]
    return {
        row: {policy: [future.result() for future in own] for policy, own in of.items()} for row, of in futures.items()
    }
