"""The simulations of the experiment: stock vLLM's best static setting in each scene, then every row of the table."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from augserve.data.tables.files import table_files
from augserve.data.tables.splits import SPLIT_SEEDS, Use
from augserve.data.workload.built_in import SEQUENCES
from augserve.data.workload.trace_set import Split
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.evaluate.evaluation import SEED_STEP
from augserve.pipeline.evaluate.params import VLLM_TUNED
from augserve.pipeline.evaluate.static_search import best_static
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import SplitShares
from augserve.pipeline.project.stage import StageError
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


def static_settings(experiment: Experiment, submit: Submit) -> dict[str, str]:
    """Scene → stock vLLM's best static setting: the most steps per minute on the sessions of tuning."""
    params, best = experiment.params, {}
    for scene in dict.fromkeys(scene.as_searched() for scene in params.scenes):

        def scores(names: Sequence[str], searched: Scene = scene) -> list[float]:
            cells = [
                experiment.cell(searched, searched.static_agents, name, params.static_schedule, use="tune")
                for name in names
            ]
            futures = [submit(cell) for cell in cells]
            return [future.result().metrics["steps_per_minute"] for future in futures]

        best[scene] = best_static(scores, params.static_budgets, params.static_sequences)
    return {scene.name: best[scene.as_searched()] for scene in params.scenes}


def all_runs(experiment: Experiment, static: dict[str, str], submit: Submit) -> dict[Row, dict[str, list[Evidence]]]:
    """The runs of every policy in every row. The longest ones start first: long windows, then many agents."""
    params = experiment.params
    rows = [(scene, agents) for scene in params.scenes for agents in scene.agents]
    futures: dict[Row, dict[str, list[Future[Evidence]]]] = {row: {} for row in rows}
    for scene, agents in sorted(rows, key=lambda row: (params.schedule(row[0]).end_s, row[1]), reverse=True):
        for policy in params.policies_of(scene):
            simulated = static[scene.name] if policy == VLLM_TUNED else policy
            futures[scene, agents][policy] = [
                submit(experiment.cell(scene, agents, simulated, params.schedule(scene), run))
                for run in range(params.seeds_of(scene, policy))
            ]
    return {
        row: {policy: [future.result() for future in own] for policy, own in of.items()} for row, of in futures.items()
    }
