"""`make sessions`: closed loops of agents whose contexts exceed the KV cache, on sessions that nothing was fitted to.

Stock vLLM and other rivals run at their best static settings. The experiment runs after `dvc repro`, is not a stage,
and takes the time that params.yaml states. An interrupted run resumes with the missing cells.
"""

from pathlib import Path

from augserve.data.atomic import write_json, write_text
from augserve.pipeline.evaluate.run import read_tuned
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import BaseParams, SplitShares, load_params
from augserve.pipeline.project.tracking import git_revision
from augserve.pipeline.simulator.cells.runs import kept_runs
from augserve.pipeline.simulator.cells.workers import Workers

from .cells import Experiment, all_runs, require_workloads, static_settings
from .params import SessionsParams
from .report import SceneResult, row_cells, sessions_markdown

REPORTS = Path("reports/sessions")


def main() -> None:
    workers = Workers.asked("python -m experiments.sessions", __doc__)
    params = load_params(SessionsParams)
    require_workloads(params.scenes)
    settings, _ = read_tuned(paths.TUNED)
    experiment = Experiment(params, load_params(BaseParams).seed, settings, load_params(SplitShares))
    scenes = results(experiment, workers)
    document = {
        "revision": git_revision(),
        "seed": experiment.seed,
        "params": params.model_dump(),
        "static": {scene.name: scene.static for scene in scenes},
        "scenes": {scene.name: {str(agents): cells for agents, cells in scene.cells.items()} for scene in scenes},
    }
    write_json(REPORTS / "metrics.json", document)
    write_text(REPORTS / "table.md", text := sessions_markdown(scenes))
    print(text)


def results(experiment: Experiment, workers: Workers) -> list[SceneResult]:
    """Run all cells."""
    params = experiment.params
    with kept_runs(params.processes, workers, params.SECTION) as submit:
        static = static_settings(experiment, submit)
        runs = all_runs(experiment, static, submit)
    return [
        SceneResult(
            scene.name,
            static[scene.name],
            {agents: row_cells(runs[scene, agents], experiment.seed) for agents in scene.agents},
        )
        for scene in params.scenes
    ]
