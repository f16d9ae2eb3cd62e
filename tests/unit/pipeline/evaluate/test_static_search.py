import pytest

from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.data.workload.mix import MIX, MIX_SWING
from augserve.data.workload.trace_set import Split
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.evaluate.evaluation import Evaluation
from augserve.pipeline.evaluate.params import STATIC_BUDGET, VLLM_TUNED
from augserve.pipeline.evaluate.static_search import best_static, search_budgets, search_static

from .comparing import PARAMS, SWINGING, answer

TUNED = PARAMS.changed(policies=("vllm", VLLM_TUNED), loads=(1.0,), static_loads=(1.0, 1.5))
BUDGETED = SWINGING.changed(ablations=(STATIC_BUDGET,), static_budgets=(1024, 2048, 4096))
UNITS = {name: {"p": {"vllm": 10.0}} for name in SWINGING.workloads}


def peak_at(budget, sequences):
    def scores(names):
        pairs = [tuple(map(int, name.removeprefix("vllm@").split("x"))) for name in names]
        return [-abs(b - budget) - abs(s - sequences) for b, s in pairs]

    return scores


@pytest.mark.parametrize(("budget", "sequences"), [(2048, 256), (16_384, 1024), (512, 64)])
def test_the_best_static_setting_is_found(budget, sequences):
    assert best_static(peak_at(budget, sequences)) == f"vllm@{budget}x{sequences}"


def test_of_equal_settings_the_larger_wins():
    assert best_static(lambda names: [1.0] * len(names)) == "vllm@16384x1024"


class Engine:
    def __init__(self):
        self.cells = []

    def __call__(self, cell):
        self.cells.append(cell)
        best = cell.policy == "vllm@2048x128"
        return answer(
            {"effective_throughput": 5.0 if best else float("x1024" in cell.policy and "2048" in cell.policy)}
        )


def test_vllm_tuned_is_searched_on_the_sessions_of_tuning():
    engine = Engine()
    evaluation = Evaluation(TUNED, 7 + SPLIT_SEEDS["report"], SchedulerSettings(), guess_per_s=12.0)
    found = search_static(evaluation, {"augmentation-mix": {"p": {"vllm": 10.0}}}, engine)
    assert found.static == {("augmentation-mix", "p"): "vllm@2048x128"}
    assert {cell.seed for cell in engine.cells} == {7 + SPLIT_SEEDS["tune"]}
    assert found.cell(("augmentation-mix", "p"), VLLM_TUNED, 5.0).policy == "vllm@2048x128"
    assert found.seed == evaluation.seed


def test_a_swing_has_the_static_setting_of_the_steady_mix():
    engine = Engine()
    params = TUNED.changed(workloads=("augmentation-mix", MIX_SWING))
    evaluation = Evaluation(params, 7 + SPLIT_SEEDS["report"], SchedulerSettings(), guess_per_s=12.0)
    found = search_static(evaluation, UNITS, engine)
    assert set(found.static.values()) == {"vllm@2048x128"}
    assert set(found.static) == {("augmentation-mix", "p"), (MIX_SWING, "p")}
    assert {cell.workload for cell in engine.cells} == {"augmentation-mix"}


def test_nothing_is_searched_where_vllm_tuned_does_not_run():
    engine = Engine()
    params = TUNED.changed(policies=("vllm",))
    evaluation = Evaluation(params, 1, SchedulerSettings(), guess_per_s=12.0)
    assert search_static(evaluation, {}, engine) is evaluation
    assert engine.cells == []


class BudgetEngine:
    """Goodput is best with 2048 tokens, on a swing with 1024."""

    def __init__(self):
        self.cells = []

    def __call__(self, cell):
        self.cells.append(cell)
        best = 1024 if cell.workload == MIX_SWING else 2048
        return answer({"effective_throughput": 100.0 - abs(int(cell.policy.removeprefix("augserve@")) - best) / 100})


def searched(params=BUDGETED):
    engine = BudgetEngine()
    split = Split("report", 0.1, 0.2)
    evaluation = Evaluation(params, 7 + SPLIT_SEEDS["report"], SchedulerSettings(), 12.0, split)
    return search_budgets(evaluation, UNITS, engine), engine.cells


def test_each_workload_has_its_own_best_budget_at_the_load_of_the_ablations():
    found, cells = searched()
    assert {(cell.workload, cell.rate_per_s) for cell in cells} == {(MIX, 20.0), (MIX_SWING, 16.5)}
    assert found.budgets[MIX, "p"] == pytest.approx({"1024": 89.76, "2048": 100.0, "4096": 79.52})
    assert found.cell((MIX, "p"), STATIC_BUDGET, 5.0).policy == "augserve@2048"
    assert found.cell((MIX_SWING, "p"), STATIC_BUDGET, 5.0).policy == "augserve@1024"


def test_the_budget_is_searched_on_the_sessions_of_selection():
    found, cells = searched()
    assert {(cell.seed, cell.split.use) for cell in cells} == {(7 + SPLIT_SEEDS["select"], "select")}
    reported = found.cell((MIX, "p"), STATIC_BUDGET, 5.0)
    assert (reported.seed, reported.split.use) == (7 + SPLIT_SEEDS["report"], "report")


def test_no_budget_is_searched_where_the_policy_does_not_run():
    found, cells = searched(BUDGETED.changed(ablations=()))
    assert {cell.workload for cell in cells} == {MIX_SWING}
    assert set(found.budgets) == {(MIX_SWING, "p")}
    assert found.cell((MIX, "p"), STATIC_BUDGET, 5.0).policy == STATIC_BUDGET  # the budget that the engine is given
