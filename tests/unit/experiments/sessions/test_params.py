from pathlib import Path

import pytest

from augserve.pipeline.project.params import load_params
from experiments.sessions.params import SessionsParams

from .scenes import PARAMS, SCENE

ROOT = Path(__file__).parents[4]


def test_the_shipped_scenes_have_the_rows_of_stock_vllm_at_its_best() -> None:
    params = load_params(SessionsParams, ROOT / "params.yaml")
    assert {agents for scene in params.scenes for agents in scene.agents} >= {8, 12, 16, 24, 32, 40}
    assert all(params.policies_of(scene)[0] == "vllm-tuned" for scene in params.scenes)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"scenes": (SCENE, SCENE)}, "twice"),
        ({"reference_seeds": 4}, "exceeds seeds"),
        ({"static": {"budgets": (0,)}}, "static"),
        ({"policies": ("vllm-tuned",)}, "which is unknown"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(changes: dict[str, object], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        PARAMS.changed(**changes)


def test_scenes_that_differ_in_anything_but_agents_have_names_of_their_own() -> None:
    changes = {"host_memory_gib": 4.0, "pause_cap_s": 60.0, "window_s": 40.0}
    changed = [SCENE.model_copy(update={key: value}) for key, value in changes.items()]
    assert len({scene.name for scene in (SCENE, *changed)}) == 4


def test_a_scene_with_another_window_has_the_static_setting_of_the_same_engine_and_workload() -> None:
    assert SCENE.model_copy(update={"window_s": 40.0, "agents": (9,)}).as_searched() == SCENE.as_searched()
    assert SCENE.model_copy(update={"pause_cap_s": 4.0}).as_searched() != SCENE.as_searched()


def test_a_scene_with_host_memory_has_the_static_setting_of_the_same_engine_without() -> None:
    assert SCENE.model_copy(update={"host_memory_gib": 4.0}).as_searched() == SCENE.as_searched()
