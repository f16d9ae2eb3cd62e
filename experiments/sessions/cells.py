"""The simulations of the experiment: each policy's best static setting in each scene, then every row of the table."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from augserve.data.tables.files import table_files
from augserve.data.tables.splits import SPLIT_SEEDS, Use
from augserve.data.workload.built_in import SEQUENCES
from augserve.data.workload.trace_set import Split
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.evaluate.evaluation import SEED_STEP
from augserve.pipeline.evaluate.static_search import search_all, steps_per_minute
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import SplitShares
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.results.metrics_file import Tried
from augserve.pipeline.results.tables import best_setting
from augserve.pipeline.simulator.catalogue import TUNED
from augserve.pipeline.simulator.cells.cache import Submit
from augserve.pipeline.simulator.cells.cell import Cell, settings_on
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
        return Cell(
            scene.workload,
            policy,
            profile,
            None,
            self.seed + SPLIT_SEEDS[use] + run * SEED_STEP,
            schedule,
            settings_on(self.settings, profile),
            paths.ONNX,
            Split(use, self.shares.validation_share, self.shares.test_share),
            agents,
            scene.pause_cap_s,
            scene.host_memory_gib,
        )

    def static_cell(self, scene: Scene, policy: str) -> Cell:
        """A run in the search for the best static setting."""
        return self.cell(scene, scene.static_agents, policy, self.params.static_schedule, use="tune")


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
    scores = {scene: steps_per_minute(partial(experiment.static_cell, scene), submit) for scene in policies}
    found = search_all(params.static, scores, policies)
    return {scene.name: found[scene.as_searched()] for scene in params.scenes}


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
