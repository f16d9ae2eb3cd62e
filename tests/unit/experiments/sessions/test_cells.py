import dataclasses
from collections import Counter
from concurrent.futures import Future
from pathlib import Path

import pytest

from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import SplitShares
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.results.tables import best_setting
from augserve.pipeline.simulator.cells.cell import Cell, load_profile
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.pipeline.simulator.record.evidence import Evidence
from augserve.pipeline.simulator.record.samples import Samples
from experiments.sessions.cells import Experiment, all_runs, require_workloads, static_settings

from .scenes import PARAMS, SCENE

OFFLOADING = SCENE.model_copy(update={"host_memory_gib": 4.0, "references": ()})
LONG = SCENE.model_copy(update={"window_s": 40.0, "agents": (2,), "references": (), "seeds": 1})
STEPS = {"vllm": 4.0, "vllm@128": 5.0, "vllm@128x2": 6.0, "session-limit@128,sessions=2": 2.0}


class Engine:
    """Each policy makes the steps of STEPS, or one."""

    def __init__(self) -> None:
        self.cells: list[Cell] = []

    def __call__(self, cell: Cell) -> "Future[Evidence]":
        self.cells.append(cell)
        future: Future[Evidence] = Future()
        metrics = {"steps_per_minute": STEPS.get(cell.policy, 1.0)}
        future.set_result(Evidence(metrics, Samples(10.0, closed=True), [], [], []))
        return future


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.chdir(tmp_path)
    load_profile.cache_clear()
    limits, linear = EngineLimits(4096, 2048, 128, 512), StepTime(0.01, 1e-4, 1e-4, 0.0)
    StepProfile("p", "by hand", limits, (1, 512), (0.01, 0.1), 0.0, 0.0, linear).save(paths.PROFILES / "p.json")
    params = PARAMS.changed(scenes=(SCENE, OFFLOADING, LONG))
    shares = SplitShares(validation_share=0.15, test_share=0.2)
    return Experiment(params, 7, SchedulerSettings(profile="tuned-on"), shares)


def test_the_best_static_setting_is_searched_once_an_engine_on_the_sessions_of_tuning(experiment: Experiment) -> None:
    engine = Engine()
    found = static_settings(experiment, engine)
    assert {scene: best_setting(tried["vllm-tuned"]) for scene, tried in found.items()} == dict.fromkeys(
        (scene.name for scene in experiment.params.scenes), "vllm@128x2"
    )
    assert {(cell.seed, cell.split and cell.split.use) for cell in engine.cells} == {(7 + SPLIT_SEEDS["tune"], "tune")}
    assert {(cell.agents, cell.schedule.window_s) for cell in engine.cells} == {(3, 10.0)}
    assert Counter(cell.kv_offload_gib for cell in engine.cells) == {None: 3}


def test_a_reference_at_its_best_has_a_search_of_its_own(experiment: Experiment) -> None:
    scene = SCENE.model_copy(update={"references": ("session-limit-tuned",)})
    limited = dataclasses.replace(experiment, params=PARAMS.changed(scenes=(scene,)))
    found = static_settings(limited, Engine())
    assert best_setting(found[scene.name]["session-limit-tuned"]) == "session-limit@128,sessions=2"


def test_all_policies_of_a_row_run_the_same_sessions_and_references_fewer_of_them(experiment: Experiment) -> None:
    engine = Engine()
    static = {scene.name: {"vllm-tuned": {"vllm@128x2": 6.0}} for scene in experiment.params.scenes}
    found = all_runs(experiment, static, engine)
    assert {policy: len(runs) for policy, runs in found[SCENE, 4].items()} == {
        "vllm-tuned": 3,
        "uncached-first": 3,
        "vllm": 2,
        "vllm-unbounded": 2,
    }
    own = [cell for cell in engine.cells if cell.agents == 4 and cell.kv_offload_gib is None]
    seeds = {
        policy: [cell.seed for cell in own if cell.policy == policy] for policy in ("vllm@128x2", "uncached-first")
    }
    assert (
        seeds["vllm@128x2"] == seeds["uncached-first"] == [7 + SPLIT_SEEDS["report"] + 1000 * run for run in (0, 1, 2)]
    )
    assert [cell.seed for cell in own if cell.policy == "vllm"] == seeds["uncached-first"][:2]
    assert engine.cells[0].schedule.window_s == 40.0  # the longest first
    assert {policy: len(runs) for policy, runs in found[LONG, 2].items()} == {"vllm-tuned": 1, "uncached-first": 1}


def test_cells_state_the_step_times_of_their_own_engine(experiment: Experiment) -> None:
    settings = experiment.cell(SCENE, 2, "augserve", PARAMS.schedule(SCENE)).settings
    assert (settings.profile, settings.step_time.base_s) == ("p", 0.01)


def test_a_workload_that_is_not_here_is_one_line(experiment: Experiment) -> None:
    require_workloads([SCENE])
    with pytest.raises(StageError, match=r"public/none.*dvc repro public"):
        require_workloads([SCENE.model_copy(update={"workload": "public/none"})])
