from concurrent.futures import Future

import pytest

from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.data.workload.mix import MIX, MIX_SWING
from augserve.data.workload.trace_set import Split
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.evaluate.evaluation import Evaluation
from augserve.pipeline.evaluate.params import STATIC_BUDGET
from augserve.pipeline.evaluate.static_search import search_budgets
from augserve.pipeline.simulator.record.evidence import Evidence

from .test_comparison import SWINGING

PARAMS = SWINGING.changed(
    ablations=(STATIC_BUDGET,), loads=(1.0, 2.0), static_budgets=(1024, 2048, 4096), swing_load=1.65
)
UNITS = {name: {"p": {"vllm": 10.0}} for name in PARAMS.workloads}


class Engine:
    """Serves best with 2048 tokens, on a swing with 1024."""

    def __init__(self):
        self.cells = []

    def __call__(self, cell):
        self.cells.append(cell)
        best = 1024 if cell.workload == MIX_SWING else 2048
        future = Future()
        served = 100.0 - abs(int(cell.policy.removeprefix("augserve@")) - best) / 100
        future.set_result(Evidence({"effective_throughput": served}, 10.0, [], [], [], [], [], [], [], [], []))
        return future


def searched(params=PARAMS):
    engine = Engine()
    split = Split("report", 0.1, 0.2)
    evaluation = Evaluation(params, 7 + SPLIT_SEEDS["report"], SchedulerSettings(), 12.0, split)
    return search_budgets(evaluation, UNITS, engine), engine.cells


def test_each_workload_has_its_own_best_at_the_load_at_which_parts_are_left_out():
    found, cells = searched()
    assert {(cell.workload, cell.rate_per_s) for cell in cells} == {(MIX, 20.0), (MIX_SWING, 16.5)}
    assert found.budgets[MIX, "p"] == pytest.approx({"1024": 89.76, "2048": 100.0, "4096": 79.52})
    assert found.cell((MIX, "p"), STATIC_BUDGET, 5.0).policy == "augserve@2048"
    assert found.cell((MIX_SWING, "p"), STATIC_BUDGET, 5.0).policy == "augserve@1024"


def test_it_is_chosen_on_sessions_that_are_neither_tuned_on_nor_reported():
    found, cells = searched()
    assert {(cell.seed, cell.split.use) for cell in cells} == {(7 + SPLIT_SEEDS["select"], "select")}
    reported = found.cell((MIX, "p"), STATIC_BUDGET, 5.0)
    assert (reported.seed, reported.split.use) == (7 + SPLIT_SEEDS["report"], "report")


def test_where_it_does_not_run_nothing_is_searched():
    found, cells = searched(PARAMS.changed(ablations=()))
    assert {cell.workload for cell in cells} == {MIX_SWING}
    assert set(found.budgets) == {(MIX_SWING, "p")}
    assert found.cell((MIX, "p"), STATIC_BUDGET, 5.0).policy == STATIC_BUDGET  # the budget that the engine is given
