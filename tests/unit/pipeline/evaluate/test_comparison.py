from collections import defaultdict

from augserve.data.workload.mix import MIX_SWING
from augserve.pipeline.evaluate.capacities import capacities, stock_capacities
from augserve.pipeline.evaluate.comparison import compare
from augserve.pipeline.simulator.cells.schedule import Schedule

from .comparing import PARAMS, SWINGING, KnownEngine, evaluation_of


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
    assert set(found[MIX_SWING, "p", "1.65x"]) == set(SWINGING.swing_policies)
    rates, _ = capacities(evaluation, stock, found, engine)
    assert {name: set(of["p"]) for name, of in rates.items()} == {
        "augmentation-mix": {"vllm", "augserve"},
        MIX_SWING: {"vllm"},
    }


def test_target_policies_alone_run_at_target_loads_and_no_cell_runs_twice():
    evaluation, engine = evaluation_of(SWINGING), KnownEngine(defaultdict(lambda: 10.0))
    found = compare(evaluation, {name: {"p": {"vllm": 10.0}} for name in SWINGING.workloads}, engine)
    steady = {load: set(cells) for (workload, _, load), cells in found.items() if workload == "augmentation-mix"}
    assert steady == {"0.5x": {"vllm"}, "1x": {"vllm", "augserve"}, "2x": {"vllm", "augserve"}, "3x": {"vllm"}}
    opened = [cell for cell in engine.cells if cell.agents is None]
    assert len(opened) == len(set(opened)) == 6 + 2


def test_agents_run_in_a_closed_loop_with_every_seed_and_the_same_sessions_for_every_policy():
    evaluation, engine = evaluation_of(PARAMS), KnownEngine(defaultdict(lambda: 10.0))
    found = compare(evaluation, {"augmentation-mix": {"p": {"vllm": 10.0}}}, engine)
    closed = [cell for cell in engine.cells if cell.agents is not None]
    assert len(closed) == len(set(closed)) == 2 * 2 * 2
    assert {(cell.workload, cell.rate_per_s, cell.pause_cap_s) for cell in closed} == {("coding-agents", None, 3.0)}
    assert {cell.schedule for cell in closed} == {Schedule(5.0, 20.0, 1.0)}
    seeds = {policy: {cell.seed for cell in closed if cell.policy == policy} for policy in ("vllm", "augserve")}
    assert seeds["vllm"] == seeds["augserve"] == {1, 1001}
    assert [cell.agents for cell in engine.cells[:4]] == [4] * 4  # the longest first
    assert {load: len(found["coding-agents", "p", load]["augserve"]) for load in ("2", "4")} == {"2": 2, "4": 2}
