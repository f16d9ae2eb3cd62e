import dataclasses
import functools
import json
from concurrent.futures import Future

import pytest

from augserve.data.workload.mix import MIX_SWING
from augserve.data.workload.schedule import SWING
from augserve.models.serving.settings import SchedulerSettings, SettingsError, StepTime
from augserve.pipeline.evaluate.capacities import capacities, shown_attainments, stock_capacities
from augserve.pipeline.evaluate.comparison import compare
from augserve.pipeline.evaluate.evaluation import Evaluation
from augserve.pipeline.evaluate.params import planned_runs
from augserve.pipeline.evaluate.run import EvaluateParams, read_tuned
from augserve.pipeline.project.params import ParamsError, load_params
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.simulator.record.evidence import Evidence
from experiments.compare import CompareParams, conditions

PARAMS = EvaluateParams(
    workloads=("augmentation-mix",),
    profiles=("p",),
    policies=("vllm", "augserve"),
    ablations=(),
    oracles=(),
    loads=(1.0, 2.0),
    target_loads=(),
    target_policies=(),
    swing_load=1.65,
    swing_policies=("vllm", "augserve"),
    swing_window_s=60.0,
    seeds=1,
    capacity_policies=("vllm",),
    capacity_rounds=1,
    capacity_within=0.06,
    static_loads=(1.0,),
    static_budgets=(1024, 2048),
    warmup_s=0.0,
    window_s=10.0,
    drain_s=0.0,
    trace_warmup_s=0.0,
    trace_window_s=10.0,
    processes=1,
)


@pytest.mark.parametrize(
    "change",
    [
        {"loads": (1.0, -1.0)},
        {"loads": ()},
        {"policies": ("augserve",)},
        {"policies": ("vllm", "fifo")},
        {"capacity_policies": ("augserve",)},
        {"workloads": ("none",)},
        {"window_s": 0.0},
        {"processes": 0},
        {"ablations": ("augserve-no-engine",)},
        {"oracles": ("vllm-oracle",)},
        {"oracles": ("sjf",)},
        {"static_loads": (0.0,)},
        {"static_budgets": (1024, 0)},
        {"seeds": 0},
        {"capacity_within": 0.0},
        {"target_loads": (0.0,)},
        {"swing_load": 0.0},
        {"swing_window_s": -1.0},
    ],
)
def test_a_parameter_out_of_range_is_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        PARAMS.changed(**change)


def test_an_error_names_the_section(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({"compare": PARAMS.model_dump() | {"loads": []}}))
    with pytest.raises(ParamsError, match=r"compare\.loads"):
        load_params(CompareParams, path)


@pytest.mark.parametrize(("key", "name"), [("policies", "fifo"), ("workloads", "none")])
def test_an_unknown_policy_or_workload_is_named_in_one_line(tmp_path, key, name):
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({"evaluate": PARAMS.model_dump() | {key: ["vllm", name]}}))
    with pytest.raises(ParamsError, match=name) as error:
        load_params(EvaluateParams, path)
    assert key in str(error.value)
    assert "\n" not in str(error.value)


def test_tuned_settings_come_back_as_written(tmp_path):
    (tmp_path / "scheduler.json").write_text(json.dumps(SchedulerSettings().to_json()))
    (tmp_path / "capacity.json").write_text('{"sessions_per_s": 11.5}')
    assert read_tuned(tmp_path) == (SchedulerSettings(), 11.5)


def test_missing_or_foreign_tuned_files_are_one_clear_error(tmp_path):
    with pytest.raises(StageError, match=r"scheduler\.json.*dvc repro tune"):
        read_tuned(tmp_path)
    (tmp_path / "scheduler.json").write_text("{}")
    (tmp_path / "capacity.json").write_text("[]")
    with pytest.raises(StageError, match="dvc repro tune"):
        read_tuned(tmp_path)
    (tmp_path / "capacity.json").write_text('{"sessions_per_s": 1}')
    with pytest.raises(SettingsError):
        read_tuned(tmp_path)


class KnownEngine:
    """Every policy keeps 90 % of the turns in time up to its own rate."""

    def __init__(self, rates):
        self.rates = rates
        self.tried = []

    def __call__(self, cell):
        self.tried.append(cell.rate_per_s)
        attainment = 1.0 if cell.rate_per_s <= self.rates[cell.policy] else 0.2
        future = Future()
        future.set_result(Evidence({"attainment": attainment}, 10.0, [], [], [], [], [], [], [], [], []))
        return future


def searched(evaluation, engine):
    stock = stock_capacities(evaluation, engine)
    return capacities(evaluation, stock, compare(evaluation, stock, engine), engine)[0]


def against_stock(augserve_per_s):
    """Stock vLLM's capacity is 10 sessions/s."""
    params = PARAMS.changed(capacity_policies=("augserve", "vllm"), capacity_rounds=6)
    engine = KnownEngine({"vllm": 10.0, "augserve": augserve_per_s})
    return Evaluation(params, 1, SchedulerSettings(), guess_per_s=12.0), engine


def test_a_capacity_is_searched_from_what_the_cells_have_shown():
    evaluation, engine = against_stock(augserve_per_s=15.0)
    stock = stock_capacities(evaluation, engine)
    evidences = compare(evaluation, stock, engine)
    unit = stock["augmentation-mix"]["p"]["vllm"]
    assert unit == pytest.approx(10.0, abs=0.05)
    assert shown_attainments(evidences, ("augmentation-mix", "p"), "augserve", unit) == {unit: 1.0, 2 * unit: 0.2}
    engine.tried.clear()
    reached, missed = (of["augmentation-mix"]["p"] for of in capacities(evaluation, stock, evidences, engine))
    assert reached["augserve"] <= 15.0 < missed["augserve"]
    assert missed["augserve"] - reached["augserve"] <= 0.0601 * unit
    assert unit < min(engine.tried)  # what a cell has shown is not run again
    assert max(engine.tried) < 2 * unit
    assert reached["vllm"] == unit
    assert "vllm" not in missed


def test_a_capacity_that_no_rate_reaches_is_given_as_what_missed():
    evaluation, engine = against_stock(augserve_per_s=1.0)
    stock = stock_capacities(evaluation, engine)
    reached, missed = capacities(evaluation, stock, compare(evaluation, stock, engine), engine)
    assert reached["augmentation-mix"]["p"]["augserve"] is None
    assert missed["augmentation-mix"]["p"]["augserve"] == stock["augmentation-mix"]["p"]["vllm"] / 2


def test_capacity_is_of_all_seeds_together():
    class Lucky(KnownEngine):
        def __call__(self, cell):  # one seed of two bears anything; 0.6 in time is not 0.9
            self.rates = dict.fromkeys(("vllm", "augserve"), 10.0 if cell.seed == 1 else 100.0)
            return super().__call__(cell)

    both = ("vllm", "augserve")
    params = PARAMS.changed(seeds=2, capacity_rounds=6, capacity_policies=both, loads=(0.9, 2.0))
    evaluation = Evaluation(params, 1, SchedulerSettings(), guess_per_s=12.0)
    found = searched(evaluation, Lucky({}))["augmentation-mix"]["p"]
    assert found["vllm"] == pytest.approx(10.0, abs=0.05)
    assert 9.4 <= found["augserve"] <= 10.0


def test_capacity_on_traces_is_found_however_far_from_the_mix_s(tmp_path, monkeypatch):
    (tmp_path / "coding").mkdir()
    (tmp_path / "coding" / "turns.parquet").touch()
    monkeypatch.setattr("augserve.pipeline.project.paths.TRACES", tmp_path)
    params = PARAMS.changed(workloads=("coding",), capacity_rounds=6)
    evaluation = Evaluation(params, 1, SchedulerSettings(), guess_per_s=12.0)
    found = stock_capacities(evaluation, KnownEngine({"vllm": 0.3}))["coding"]["p"]["vllm"]
    assert found == pytest.approx(0.3, rel=0.01)


def test_capacity_on_another_engine_is_searched_about_its_own_guess():
    guesses = {("augmentation-mix", "p"): 0.5}
    params = PARAMS.changed(capacity_rounds=6)
    evaluation = Evaluation(params, 1, SchedulerSettings(), guess_per_s=500.0, guesses=guesses)
    engine = KnownEngine({"vllm": 0.3})
    assert stock_capacities(evaluation, engine)["augmentation-mix"]["p"]["vllm"] == pytest.approx(0.3, rel=0.01)
    assert max(engine.tried) <= 1.0  # a rate far beyond it would simulate for hours


def test_cells_state_the_step_times_of_their_own_engine():
    own = StepTime(0.1, 0.2, 0.3, 0.4)
    settings = SchedulerSettings(profile="tuned-on")
    params = PARAMS.changed(profiles=("tuned-on", "p"))
    evaluation = Evaluation(params, 1, settings, guess_per_s=1.0, step_times={"tuned-on": settings.step_time, "p": own})
    cells = [evaluation.cell(("augmentation-mix", profile), "augserve", 5.0) for profile in params.profiles]
    assert cells[0].settings == settings  # what was tuned is not changed
    assert cells[1].settings == dataclasses.replace(settings, step_time=own, profile="p")


def test_stock_vllm_without_a_capacity_is_an_error():
    evaluation = Evaluation(PARAMS, 1, SchedulerSettings(), guess_per_s=12.0)
    with pytest.raises(StageError, match=r"from 6\.0 sessions/s on"):
        stock_capacities(evaluation, KnownEngine({"vllm": 0.0}))


def test_ablations_and_oracles_run_at_the_highest_load_alone():
    params = PARAMS.changed(ablations=("augserve-no-context",), oracles=("sjf-oracle",))
    at = functools.partial(params.policies_at, "augmentation-mix")
    assert at(1.0) == ("vllm", "augserve")
    assert at(2.0) == ("vllm", "augserve", "sjf-oracle", "augserve-no-context")


def test_seeds_are_of_different_sessions_and_policies_share_them():
    evaluation = Evaluation(PARAMS, 1, SchedulerSettings(), guess_per_s=12.0)
    cells = [evaluation.cell(("augmentation-mix", "p"), policy, 5.0, n) for policy in PARAMS.policies for n in (0, 1)]
    assert [cell.seed for cell in cells] == [1, 1001, 1, 1001]


def test_the_runs_of_a_comparison_are_counted_beforehand():
    params = PARAMS.changed(
        policies=("vllm", "vllm-tuned", "augserve"),
        ablations=("augserve-no-context",),
        seeds=2,
        capacity_policies=("vllm", "augserve"),
        capacity_rounds=3,
    )
    # 3 policies at 2 loads and 1 ablation, 6 rates of stock vLLM and 2 of ours, all twice; 11 for vllm-tuned
    assert planned_runs(params, 11) == 2 * (3 * 2 + 1 + 6 + 2) + 11


def test_a_long_comparison_names_its_commit_engine_and_training_sets():
    text = conditions("some-engine", ["here", "there"], "0123456789abcdef")
    assert all(name in text for name in ("0123456789ab", "some-engine", "here, there"))


SWINGING = PARAMS.changed(
    workloads=("augmentation-mix", MIX_SWING),
    swing_policies=("vllm", "augserve-static-budget", "augserve"),
    target_loads=(0.5, 2.0, 3.0),
    target_policies=("vllm",),
)


class CountingEngine:
    """Every cell keeps its SLO up to 10 sessions/s."""

    def __init__(self):
        self.cells = []

    def __call__(self, cell):
        self.cells.append(cell)
        future = Future()
        metrics = {"attainment": 1.0 if cell.rate_per_s <= 10.0 else 0.2}
        future.set_result(Evidence(metrics, 10.0, [], [], [], [], [], [], [], [], []))
        return future


def test_a_swing_runs_its_own_policies_at_its_mean_load_in_multiples_of_the_steady_mix_s_capacity():
    params, engine = SWINGING.changed(capacity_policies=("vllm", "augserve")), CountingEngine()
    evaluation = Evaluation(params, 1, SchedulerSettings(), guess_per_s=12.0)
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


def test_at_the_loads_of_targets_few_policies_run_and_none_twice():
    evaluation, engine = Evaluation(SWINGING, 1, SchedulerSettings(), guess_per_s=12.0), CountingEngine()
    found = compare(evaluation, {name: {"p": {"vllm": 10.0}} for name in SWINGING.workloads}, engine)
    steady = {load: set(cells) for (workload, _, load), cells in found.items() if workload == "augmentation-mix"}
    assert steady == {"0.5": {"vllm"}, "1": {"vllm", "augserve"}, "2": {"vllm", "augserve"}, "3": {"vllm"}}
    assert len(engine.cells) == len(set(engine.cells)) == 6 + 3
    assert planned_runs(SWINGING, 11) == 6 + 3 + 2 + 2  # and two static budgets on the swing


def test_a_static_budget_without_any_to_choose_from_is_refused():
    with pytest.raises(ValueError, match="static_budgets"):
        SWINGING.changed(static_budgets=())
    PARAMS.changed(static_budgets=())  # where it does not run none is asked for


def test_a_swing_without_its_yardstick_is_refused():
    with pytest.raises(ValueError, match="swing_policies"):
        SWINGING.changed(swing_policies=("augserve",))
    PARAMS.changed(swing_policies=())  # where no swing runs it is not asked for


def test_a_load_of_165_swings_between_the_bounds_that_the_targets_name():
    assert SWING.bounds(1.65) == pytest.approx((0.3, 3.0))
