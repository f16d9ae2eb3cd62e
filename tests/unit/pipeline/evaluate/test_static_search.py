import pytest

from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.data.workload.mix import MIX, MIX_SWING
from augserve.data.workload.trace_set import Split
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.evaluate.evaluation import Evaluation
from augserve.pipeline.evaluate.static_search import search_static
from augserve.pipeline.results.tables import best_setting

from .comparing import PARAMS, answer

TUNED = PARAMS.changed(policies=("vllm", "vllm-tuned"), loads=(1.0,), static_loads=(1.0, 1.5))
JOB = (MIX, "p")
AGENTS = ("coding-agents", "p")
UNITS = {name: {"p": {"vllm": 10.0}} for name in (MIX, MIX_SWING)}


class Engine:
    """A budget of 2048 is best, with 64 sequences in open loops; in closed ones 8 sessions."""

    def __init__(self):
        self.cells = []

    def __call__(self, cell):
        self.cells.append(cell)
        points = sum(part in cell.policy for part in ("2048", "x64", "sessions=8"))
        return answer({"effective_throughput": float(points), "steps_per_minute": float(points)})


def searched(params):
    engine = Engine()
    seed, split = 7 + SPLIT_SEEDS["report"], Split("report", 0.1, 0.2)
    evaluation = Evaluation(params, seed, SchedulerSettings(), 12.0, split)
    return search_static(evaluation, UNITS, engine), engine.cells


def test_a_policy_at_its_best_is_searched_on_the_sessions_of_tuning():
    found, cells = searched(TUNED)
    assert {(cell.seed, cell.split.use) for cell in cells} == {(7 + SPLIT_SEEDS["tune"], "tune")}
    assert {cell.rate_per_s for cell in cells} == {10.0, 15.0}
    assert best_setting(found.static[JOB]["vllm-tuned"]) == "vllm@2048x64"
    assert found.static[JOB]["vllm-tuned"]["vllm"] == 0.0
    reported = found.cell(JOB, "vllm-tuned", 5.0)
    assert (reported.policy, reported.seed, reported.split.use) == (
        "vllm@2048x64",
        7 + SPLIT_SEEDS["report"],
        "report",
    )


def test_the_score_is_the_goodput_by_load():
    found, _ = searched(TUNED)
    assert found.static[JOB]["vllm-tuned"]["vllm@2048x64"] == pytest.approx((2 / 1.0 + 2 / 1.5) / 2)


def test_a_swing_has_the_static_setting_of_the_steady_mix():
    found, cells = searched(TUNED.changed(workloads=(MIX, MIX_SWING), swing_policies=("vllm", "mars-tuned")))
    assert {cell.workload for cell in cells} == {MIX}
    assert found.cell((MIX_SWING, "p"), "mars-tuned", 5.0).policy == "mars@2048x64"


def test_closed_loops_have_settings_of_their_own():
    found, cells = searched(PARAMS.changed(agent_policies=("vllm", "session-limit-tuned")))
    assert {(cell.agents, cell.schedule.window_s, cell.workload) for cell in cells} == {(3, 10.0, "coding-agents")}
    assert found.agent_cell(AGENTS, "session-limit-tuned", 4, 0).policy == "session-limit@2048x64,sessions=8"
    assert not found.static[JOB]


def test_nothing_is_searched_where_no_policy_runs_at_its_best():
    _, cells = searched(PARAMS)
    assert cells == []
