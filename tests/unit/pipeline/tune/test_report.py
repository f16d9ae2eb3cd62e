"""From a study to what is written of it, on simulations that are known; other sessions are those of `select`."""

import dataclasses
import json
import math
from concurrent.futures import Future

import optuna
import pandas as pd
import pytest

from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.data.workload.mix import MIX, MIX_SWING
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.evaluate.run import read_tuned
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.results.tuning import Selection
from augserve.pipeline.tune import run as tune
from augserve.pipeline.tune.bench import Bench
from augserve.pipeline.tune.report import importances, pareto_front, trial_rows, write_reports
from augserve.pipeline.tune.score import Job, Tally, Yardstick, jobs_of, stock_jobs
from augserve.pipeline.tune.select import Judged, candidates, choose, judge, over_tuning

UNITS = {MIX: 10.0}
pytestmark = pytest.mark.usefixtures("in_folder")


class Engine:
    """Answers cells; on the sessions of `select`, a weight of `uncached` below `spoiled` serves nothing."""

    def __init__(self, searching, spoiled=0.0):
        self._searching = searching
        self._spoiled = spoiled
        self.cells = []

    def __call__(self, cell):
        self.cells.append(cell)
        found = self._searching.known(None, cell.settings, False)
        if cell.policy == "vllm":
            found = dict(self._searching.STOCK)
        elif cell.seed >= SPLIT_SEEDS["select"] and cell.settings.weights.uncached < self._spoiled:
            found |= {"effective_throughput": 1.0}
        future = Future()
        future.set_result(found | {"attainment": 1.0 if cell.rate_per_s < 12 else 0.0})
        return future


@pytest.fixture(scope="module")
def study(searching, folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        storage = f"sqlite:///{tmp_path_factory.mktemp('study')}/optuna.db"
        return searching.search(dataclasses.replace(searching.PARAMS, storage=storage, trials=24))


@pytest.fixture
def judged(searching, study):
    bench = Bench(searching.PARAMS, 1, (0.1, 0.2), Engine(searching), "select")
    return judge(bench, UNITS, searching.YARDSTICK, candidates(study, 2))


def test_the_best_few_and_the_defaults_are_judged(study):
    found = candidates(study, 2)
    scores = sorted((t.value for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE), reverse=True)
    assert [one.tuned for one in found[:2]] == scores[:2]
    assert [one.name for one in found[2:]] == ["defaults"]


def test_the_judge_sees_sessions_that_chose_nothing(searching, study):
    engine = Engine(searching)
    bench = Bench(searching.PARAMS, 1, (0.1, 0.2), engine, "select")
    judge(bench, UNITS, searching.YARDSTICK, candidates(study, 2))
    assert {cell.seed for cell in engine.cells} == {1 + SPLIT_SEEDS["select"]}
    assert {cell.rate_per_s for cell in engine.cells} == {10.0, 20.0}


def test_what_does_badly_on_other_sessions_is_not_chosen(searching, study):
    found = candidates(study, 2)
    spoiled = 1e-9 + max(one.settings.weights.uncached for one in found[:2])
    bench = Bench(searching.PARAMS, 1, (0.1, 0.2), Engine(searching, spoiled), "select")
    judged = judge(bench, UNITS, searching.YARDSTICK, found)
    winner = choose(judged)
    assert winner.candidate.name == "defaults"
    assert over_tuning(judged[0], winner, jobs_of(searching.PARAMS))["over_tuning_gap"] > 0.5


def test_what_breaks_a_constraint_on_other_sessions_is_not_chosen_however_much_it_serves(searching, study):
    found = candidates(study, 2)
    judged = []
    for one, served, wait_s in ((found[0], 100.0, 5.05), (found[1], 55.0, 1.0)):
        tally = Tally(searching.YARDSTICK)
        for job in jobs_of(searching.PARAMS):
            tally.add(job, {"effective_throughput": served, "throughput": 60.0, "longest_wait_s": wait_s})
        judged.append(Judged(one, tally))
    assert judged[0].tally.standing > judged[1].tally.standing + 0.5
    assert choose(judged) is judged[1]
    assert choose(judged[:1]) is judged[0]  # where none keeps them all, the one that loses least


def test_the_best_few_are_judged_on_a_swing_that_no_trial_ran(searching, study, tmp_path):
    params = dataclasses.replace(searching.PARAMS, select_workloads=(MIX, MIX_SWING))
    engine = Engine(searching)
    bench = Bench(params.selecting(), 1, (0.1, 0.2), engine, "select")
    yardstick = Yardstick(bench.params, 60.0, dict.fromkeys(stock_jobs(bench.params), searching.STOCK))
    judged = judge(bench, UNITS | {MIX_SWING: 10.0}, yardstick, candidates(study, 2))
    swing = [cell for cell in engine.cells if cell.workload == MIX_SWING]
    assert {(cell.rate_per_s, cell.schedule.window_s) for cell in swing} == {(15.0, 6.0)}
    assert Job(MIX_SWING, 1.5, 0) in judged[0].tally.ratios
    write_reports(tmp_path, study, searching.SPACE, params, judged, choose(judged))
    assert "| augmentation-mix-swing_load1.5 |" in (tmp_path / "table.md").read_text()


def test_the_gap_of_over_tuning_is_taken_at_the_loads_that_both_saw(searching, study):
    params = dataclasses.replace(searching.PARAMS, select_workloads=(MIX, MIX_SWING))
    bench = Bench(params.selecting(), 1, (0.1, 0.2), Engine(searching), "select")
    stock = dict.fromkeys(stock_jobs(bench.params), searching.STOCK)
    judged = judge(bench, UNITS | {MIX_SWING: 10.0}, Yardstick(bench.params, 60.0, stock), candidates(study, 2))
    default = next(one for one in judged if one.candidate.name == "defaults")
    default.tally.ratios[Job(MIX_SWING, 1.5, 0)] = 99.0
    assert over_tuning(judged[0], default, jobs_of(params))["over_tuning_gap"] == pytest.approx(0.0)


def test_the_reports_are_written_and_the_same_study_gives_the_same_bytes(searching, study, judged, tmp_path):
    for folder in ("one", "two"):
        write_reports(tmp_path / folder, study, searching.SPACE, searching.PARAMS, judged, choose(judged))
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {
        "metrics.json", "trials.csv", "importance.csv", "importance.svg", "pareto.csv", "pareto.svg", "table.md"
    }  # fmt: skip
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    metrics = json.loads((tmp_path / "one/metrics.json").read_text())
    assert metrics["trials"] + metrics["pruned"] + metrics["failed"] == 24
    assert metrics["default_score"] == pytest.approx(1.0)
    assert metrics["over_tuning_gap"] == pytest.approx(metrics["gain_tune"] - metrics["gain_select"])
    table = (tmp_path / "one/table.md").read_text()
    assert "| defaults | 1.000 |" in table
    assert "of over-tuning." in table
    assert "longest wait" in (tmp_path / "one/pareto.svg").read_text()


def test_a_row_a_trial_with_its_settings_and_none_for_what_was_stopped(searching, study):
    rows = trial_rows(study, searching.SPACE)
    assert len(rows) == 24
    pruned = rows[rows["state"] == "pruned"]
    assert len(pruned)
    assert pruned["score"].isna().all()
    assert rows["first_simulation"].notna().all()
    assert rows["weights.uncached"].between(0.1, 10).all()


def test_the_parameter_that_alone_matters_is_the_most_important(searching, study):
    rows = importances(study, searching.SPACE)
    assert rows["parameter"].tolist()[0] == "weights.uncached"
    assert rows["importance"].iloc[0] > 0.8
    assert rows["importance"].sum() == pytest.approx(1.0)


def test_too_few_trials_have_no_importances(searching):
    rows = importances(optuna.create_study(), searching.SPACE)
    assert rows["importance"].tolist() == [0.0, 0.0]


def test_the_front_holds_what_nothing_beats_in_both():
    rows = [(0, 1.5, 9.0), (1, 1.2, 3.0), (2, 1.1, 5.0), (3, 0.9, 1.0), (4, 0.8, 1.0), (5, math.nan, math.nan)]
    trials = pd.DataFrame(rows, columns=["trial", "score", "longest_wait_s"])
    trials["state"] = ["complete"] * 5 + ["pruned"]
    trials["feasible"] = True
    assert pareto_front(trials)["trial"].tolist() == [0, 1, 3]


def test_what_is_written_is_what_evaluate_reads(searching, study, judged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    winner = choose(judged)
    tune.write_tuned(winner, judged, UNITS, searching.PARAMS)
    assert read_tuned(tmp_path / "models/tuned") == (winner.candidate.settings, 10.0)
    selection = Selection.read(tmp_path / "models/tuned/selection.json")
    assert (selection.chosen, selection.workload, selection.loads) == (winner.candidate.name, MIX, (2.0, 1.0))
    assert selection.scores["defaults"]["tune"] == pytest.approx(1.0)
    assert selection.gain("tune") == pytest.approx(winner.candidate.tuned - 1.0)


def test_the_capacity_and_stock_results_are_measured_once_a_study(searching, study):
    engine = Engine(searching)
    bench = Bench(searching.PARAMS, 1, (0.1, 0.2), engine)
    units, yardstick = tune.measured(study, bench, searching.SPACE.defaults)
    assert units[MIX] == pytest.approx(10.0)
    count = len(engine.cells)
    again = tune.measured(study, bench, searching.SPACE.defaults)
    assert len(engine.cells) == count
    assert again[1].stock == yardstick.stock


def test_a_capacity_below_what_is_searched_is_one_line(searching):
    params = dataclasses.replace(searching.PARAMS, capacity_low=13.0)
    with pytest.raises(StageError, match=r"misses the SLO at every rate tried, from 13.0 sessions/s"):
        Bench(params, 1, (0.1, 0.2), Engine(searching)).capacities(SchedulerSettings())


def test_a_study_starts_from_the_hand_set_defaults_and_the_starts_of_params(searching):
    space, params = searching.SPACE, dataclasses.replace(searching.PARAMS, starts=({"weights.uncached": 3.0},))
    found = dict(tune.starts(space, params))
    assert list(found) == ["defaults", "start 1"]
    assert found["defaults"] == space.defaults
    assert found["start 1"].weights.uncached == 3.0


@pytest.mark.parametrize(
    "change",
    [{"trials": 0}, {"loads": (-1.0,)}, {"capacity_low": 20.0}, {"window_s": 0.0}, {"processes": 0}, {"reduction": 1},
     {"workloads": ("none",)}, {"select_workloads": ()}, {"select_workloads": ("none",)},
     {"workloads": (MIX_SWING,)}, {"swing_load": 0.0}, {"min_goodput_ratio": 1.5}, {"candidates": 0}, {"seeds": 0}],
)  # fmt: skip
def test_a_parameter_out_of_range_is_named(searching, change):
    with pytest.raises(ValueError, match=f"tune.{next(iter(change))}"):
        dataclasses.replace(searching.PARAMS, **change)
