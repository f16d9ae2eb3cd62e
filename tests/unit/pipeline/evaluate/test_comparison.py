from collections import defaultdict

from augserve.data.workload.mix import MIX_SWING
from augserve.pipeline.evaluate.capacities import capacities, stock_capacities
from augserve.pipeline.evaluate.comparison import compare

from .comparing import SWINGING, KnownEngine, evaluation_of


def test_a_swing_runs_its_own_policies_at_its_mean_load():
    params, engine = SWINGING.changed(capacity_policies=("vllm", "augserve")), KnownEngine(defaultdict(lambda: 10.0))
    evaluation = evaluation_of(params)
    stock = stock_capacities(evaluation, engine)
    searched = len(engine.cells)
    assert {cell.workload for cell in engine.cells} == {"augmentation-mix"}
    assert stock[MIX_SWING] == stock["augmentation-mix"]
    found = compare(evaluation, stock, engine)
    unit = stock["augmentation-mix"]["p"]["vllm"]
    swing = [cell for cell in engine.cells[searched:] if cell.workload == MIX_SWING]
    assert {(cell.policy, cell.rate_per_s, cell.schedule.window_s) for cell in swing} == {
        (policy, 1.65 * unit, 60.0) for policy in SWINGING.swing_policies
    }
    assert set(found[MIX_SWING, "p", "1.65"]) == set(SWINGING.swing_policies)
    rates, _ = capacities(evaluation, stock, found, engine)
    assert {name: set(of["p"]) for name, of in rates.items()} == {
        "augmentation-mix": {"vllm", "augserve"},
        MIX_SWING: {"vllm"},
    }


def test_target_policies_alone_run_at_target_loads_and_no_cell_runs_twice():
    evaluation, engine = evaluation_of(SWINGING), KnownEngine(defaultdict(lambda: 10.0))
    found = compare(evaluation, {name: {"p": {"vllm": 10.0}} for name in SWINGING.workloads}, engine)
    steady = {load: set(cells) for (workload, _, load), cells in found.items() if workload == "augmentation-mix"}
    assert steady == {"0.5": {"vllm"}, "1": {"vllm", "augserve"}, "2": {"vllm", "augserve"}, "3": {"vllm"}}
    assert len(engine.cells) == len(set(engine.cells)) == 6 + 3
