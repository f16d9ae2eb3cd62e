from concurrent.futures import Future

import pytest

from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.data.workload.mix import MIX_SWING
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.evaluate.evaluation import Evaluation
from augserve.pipeline.evaluate.params import VLLM_TUNED
from augserve.pipeline.evaluate.static_search import best_static, search_static
from augserve.pipeline.simulator.record.evidence import Evidence
from experiments.compare import CompareParams

PARAMS = CompareParams(
    workloads=("augmentation-mix",),
    profiles=("p",),
    policies=("vllm", VLLM_TUNED),
    ablations=(),
    oracles=(),
    loads=(1.0,),
    target_loads=(),
    target_policies=(),
    swing_load=1.65,
    swing_policies=("vllm",),
    swing_window_s=60.0,
    seeds=1,
    capacity_policies=("vllm",),
    capacity_rounds=1,
    capacity_within=0.06,
    static_loads=(1.0, 1.5),
    static_budgets=(),
    warmup_s=0.0,
    window_s=10.0,
    drain_s=0.0,
    trace_warmup_s=0.0,
    trace_window_s=10.0,
    processes=1,
)


def peak_at(budget, sequences):
    def scores(names):
        pairs = [tuple(map(int, name.removeprefix("vllm@").split("x"))) for name in names]
        return [-abs(b - budget) - abs(s - sequences) for b, s in pairs]

    return scores


@pytest.mark.parametrize(("budget", "sequences"), [(2048, 256), (16_384, 1024), (512, 64)])
def test_the_best_configuration_is_found(budget, sequences):
    assert best_static(peak_at(budget, sequences)) == f"vllm@{budget}x{sequences}"


def test_of_equals_the_nearer_to_the_default_is_taken():
    assert best_static(lambda names: [1.0] * len(names)) == "vllm@16384x1024"


class Engine:
    def __init__(self):
        self.cells = []

    def __call__(self, cell):
        self.cells.append(cell)
        future = Future()
        best = cell.policy == "vllm@2048x128"
        metrics = {"effective_throughput": 5.0 if best else float("x1024" in cell.policy and "2048" in cell.policy)}
        future.set_result(Evidence(metrics, 10.0, [], [], [], [], [], [], [], [], []))
        return future


def test_the_search_runs_on_sessions_kept_for_tuning():
    engine = Engine()
    evaluation = Evaluation(PARAMS, 7 + SPLIT_SEEDS["report"], SchedulerSettings(), guess_per_s=12.0)
    found = search_static(evaluation, {"augmentation-mix": {"p": {"vllm": 10.0}}}, engine)
    assert found.static == {("augmentation-mix", "p"): "vllm@2048x128"}
    assert {cell.seed for cell in engine.cells} == {7 + SPLIT_SEEDS["tune"]}
    assert found.cell(("augmentation-mix", "p"), VLLM_TUNED, 5.0).policy == "vllm@2048x128"
    assert found.seed == evaluation.seed


def test_a_swing_has_the_steady_mix_s_and_costs_no_search_of_its_own():
    engine = Engine()
    params = PARAMS.changed(workloads=("augmentation-mix", MIX_SWING))
    evaluation = Evaluation(params, 7 + SPLIT_SEEDS["report"], SchedulerSettings(), guess_per_s=12.0)
    units = {name: {"p": {"vllm": 10.0}} for name in params.workloads}
    found = search_static(evaluation, units, engine)
    assert set(found.static.values()) == {"vllm@2048x128"}
    assert set(found.static) == {("augmentation-mix", "p"), (MIX_SWING, "p")}
    assert {cell.workload for cell in engine.cells} == {"augmentation-mix"}


def test_nothing_is_searched_where_it_is_not_compared():
    engine = Engine()
    params = PARAMS.changed(policies=("vllm",))
    evaluation = Evaluation(params, 1, SchedulerSettings(), guess_per_s=12.0)
    assert search_static(evaluation, {}, engine) is evaluation
    assert engine.cells == []
