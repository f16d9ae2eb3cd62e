"""From a study to its reports, on made-up simulations."""

import dataclasses
import json
import math
from concurrent.futures import Future

import optuna
import pandas as pd
import pytest

from augserve.data.atomic import write_json
from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.data.workload.mix import MIX
from augserve.models.serving.settings import Slo, StepTime
from augserve.pipeline.evaluate.run import guessed_on, read_tuned
from augserve.pipeline.project import paths
from augserve.pipeline.project.own_workloads import OwnWorkload
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.results.tuning import Selection
from augserve.pipeline.tune import run as tune
from augserve.pipeline.tune.own import with_own
from augserve.pipeline.tune.report import importances, pareto_front, trial_rows, write_reports
from augserve.pipeline.tune.score import Score
from augserve.pipeline.tune.select import Selected, choose, finalists, gains, judge, kept
from augserve.pipeline.tune.simulations import TuningSimulations

from ..step_times.recording import FLAT

UNITS = {(MIX, "p"): 10.0}
pytestmark = pytest.mark.usefixtures("in_folder")


class Engine:
    """Answers cells. On the sessions of selection a weight of `uncached` below `spoiled` has no goodput."""

    def __init__(self, searching, spoiled=0.0):
        self._searching = searching
        self._spoiled = spoiled
        self.cells = []

    def __call__(self, cell):
        self.cells.append(cell)
        found = self._searching.simulate(None, cell.settings, False)
        if cell.policy != "augserve":
            found = dict(self._searching.STOCK)
        elif cell.seed >= SPLIT_SEEDS["select"] and cell.settings.weights.uncached < self._spoiled:
            found |= {"effective_throughput": 1.0}
        future = Future()
        reached = cell.rate_per_s is not None and cell.rate_per_s < 12
        future.set_result(found | {"attainment": 1.0 if reached else 0.0})
        return future


@pytest.fixture(scope="module")
def study(searching, folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        storage = f"sqlite:///{tmp_path_factory.mktemp('study')}/optuna.db"
        return searching.search(searching.PARAMS.changed(storage=storage, trials=24))


@pytest.fixture
def simulations(searching):
    return TuningSimulations(searching.PARAMS, 1, (0.1, 0.2), Engine(searching))


def selected_by(engine, simulations, searching, study):
    judged = judge(simulations, UNITS, searching.BASELINE, finalists(study, 3))
    selection = dataclasses.replace(simulations, use="select", submit=engine)
    return tune.select(selection, UNITS, searching.BASELINE, judged)


@pytest.fixture
def selected(searching, simulations, study):
    return selected_by(Engine(searching), simulations, searching, study)


def test_the_best_few_and_the_defaults_run_in_whole(study):
    found = finalists(study, 3)
    scores = sorted((t.value for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE), reverse=True)
    assert [one.screened for one in found[:3]] == scores[:3]
    assert [one.name for one in found[3:]] == ["defaults"]


def test_candidates_run_in_every_scenario_and_the_best_come_first(searching, simulations, study):
    judged = judge(simulations, UNITS, searching.BASELINE, finalists(study, 3))
    assert all(set(one.score.ratios) == set(searching.PARAMS.planned()) for one in judged)
    assert [one.score.penalised for one in judged] == sorted((one.score.penalised for one in judged), reverse=True)
    assert [one.candidate.name for one in kept(judged, 2)][2:] == ["defaults"]


def test_the_selection_runs_on_sessions_of_its_own(searching, simulations, study):
    engine = Engine(searching)
    selected_by(engine, simulations, searching, study)
    assert {cell.seed for cell in engine.cells} == {1 + SPLIT_SEEDS["select"]}
    assert {(cell.rate_per_s, cell.agents) for cell in engine.cells} == {(10.0, None), (20.0, None), (None, 3)}


def test_a_candidate_without_goodput_on_other_sessions_is_not_chosen(searching, simulations, study):
    spoiled = 1e-9 + max(one.settings.weights.uncached for one in finalists(study, 3)[:3])
    selected = selected_by(Engine(searching, spoiled), simulations, searching, study)
    winner = choose(selected)
    assert winner.candidate.name == "defaults"
    loser = next(one for one in selected if one is not winner)
    assert gains(loser, winner)["over_tuning_gap"] > 0.5


def test_a_candidate_that_violates_a_constraint_on_other_sessions_is_not_chosen(searching, study):
    found = finalists(study, 2)
    selected = []
    for candidate, goodput, wait_s in ((found[0], 100.0, 5.05), (found[1], 55.0, 1.0)):
        score = Score(searching.BASELINE)
        for scenario in searching.PARAMS.planned():
            score.add(scenario, {"effective_throughput": goodput, "throughput": 60.0, "longest_wait_s": wait_s})
        selected.append(Selected(candidate, score, score))
    assert selected[0].score.penalised > selected[1].score.penalised + 0.5
    assert choose(selected) is selected[1]
    assert choose(selected[:1]) is selected[0]  # where none is feasible, the best of all


@pytest.mark.parametrize(
    ("goodputs", "chosen"),
    [
        ((60.0, 62.0, 61.0), 1),  # better than the defaults at every load
        ((90.0, 40.0, 55.0), 0),  # better in the mean, by less than what loads differ by
        ((40.0, 41.0, 42.0), 0),
    ],
)
def test_the_defaults_stay_unless_the_gain_over_them_exceeds_one_standard_error(searching, study, goodputs, chosen):
    default = dataclasses.replace(finalists(study, 1)[0], name="defaults")
    selected = []
    for candidate, by_load in ((default, (50.0,) * 3), (finalists(study, 2)[1], goodputs)):
        score = Score(searching.BASELINE)
        for scenario, goodput in zip(searching.PARAMS.planned(), by_load, strict=True):
            score.add(scenario, {"effective_throughput": goodput, "throughput": 60.0, "longest_wait_s": 1.0})
        selected.append(Selected(candidate, score, score))
    assert choose(selected) is selected[chosen]


def test_the_reports_are_written_and_the_same_study_gives_the_same_bytes(searching, study, selected, tmp_path):
    for folder in ("one", "two"):
        write_reports(tmp_path / folder, study, searching.SPACE, selected, choose(selected), ["mine: a tie"])
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {
        "metrics.json", "trials.csv", "importance.csv", "importance.svg", "pareto.csv", "pareto.svg", "table.md"
    }  # fmt: skip
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    metrics = json.loads((tmp_path / "one/metrics.json").read_text())
    assert metrics["trials"] + metrics["failed"] == 24
    assert metrics["default_score"] == pytest.approx(1.0)
    assert metrics["over_tuning_gap"] == pytest.approx(metrics["gain_tune"] - metrics["gain_select"])
    table = (tmp_path / "one/table.md").read_text()
    assert "hand-set defaults" in table
    assert "this search" in table
    assert "24 trials finished" in table
    assert "mine: a tie" in table
    assert "longest wait" in (tmp_path / "one/pareto.svg").read_text()


def test_every_trial_is_a_row(searching, study):
    rows = trial_rows(study, searching.SPACE)
    assert len(rows) == 24
    assert rows["score"].notna().all()
    assert rows["weights.uncached"].between(0.1, 10).all()


def test_the_only_parameter_with_an_effect_is_the_most_important(searching, study):
    rows = importances(study, searching.SPACE)
    assert rows["parameter"].tolist()[0] == "weights.uncached"
    assert rows["importance"].iloc[0] > 0.8
    assert rows["importance"].sum() == pytest.approx(1.0)


def test_too_few_trials_have_no_importances(searching):
    rows = importances(optuna.create_study(), searching.SPACE)
    assert rows["importance"].tolist() == [0.0, 0.0]


def test_the_front_has_the_trials_that_none_beats_in_score_and_wait():
    rows = [(0, 1.5, 9.0), (1, 1.2, 3.0), (2, 1.1, 5.0), (3, 0.9, 1.0), (4, 0.8, 1.0), (5, math.nan, math.nan)]
    trials = pd.DataFrame(rows, columns=["trial", "score", "longest_wait_s"])
    trials["state"] = ["complete"] * 5 + ["fail"]
    assert pareto_front(trials)["trial"].tolist() == [0, 1, 3]


def test_evaluate_reads_the_files_of_tune(searching, selected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    winner = choose(selected)
    tune.write_tuned(winner, selected, UNITS, searching.PARAMS)
    assert read_tuned(tmp_path / "models/tuned") == (winner.candidate.settings, 10.0)
    selection = Selection.read(tmp_path / "models/tuned/selection.json")
    assert selection.chosen == winner.candidate.name
    assert selection.scenarios == ((MIX, "p", "2x"), (MIX, "p", "1x"), ("coding-agents", "p", "3"))
    assert selection.scores["defaults"]["tune"] == pytest.approx(1.0)


def test_the_capacity_and_the_rivals_are_measured_once_a_study(searching, study):
    engine = Engine(searching)
    simulations = TuningSimulations(searching.PARAMS, 1, (0.1, 0.2), engine)
    units, baseline = tune.measured(study, simulations, searching.SPACE.defaults)
    assert units[MIX, "p"] == pytest.approx(10.0)
    assert set(baseline.rivals[searching.PARAMS.planned()[2]]) == {"vllm", "session-limit@sessions=2"}
    count = len(engine.cells)
    again = tune.measured(study, simulations, searching.SPACE.defaults)
    assert len(engine.cells) == count
    assert again[1].rivals == baseline.rivals


def test_the_settings_are_for_the_deployment_s_own_engine_and_slo(searching, params, in_folder, monkeypatch):
    monkeypatch.setattr(tune, "study_name", lambda simulations, space: "own")  # it would need models
    text = "prepare: {validation_share: 0.1, test_share: 0.2}\nslo: {ttft_s: 3.0, tpot_s: 0.2}\n"
    (in_folder / "params.yaml").write_text(text)
    for name, base_s in (("p", 0.01), ("own-of-tune", 0.03)):
        engine = dataclasses.replace(FLAT, name=name, linear=StepTime(base_s=base_s))
        engine.save(paths.PROFILES / f"{name}.json")
    own = [OwnWorkload("mixed", 5, "own-of-tune")]
    engine = Engine(searching)
    tune.tune(with_own(params.changed(trials=2), own), own, 1, engine, long=False)
    settings, _ = read_tuned(paths.TUNED)
    assert (settings.profile, settings.step_time.base_s) == ("own-of-tune", 0.03)
    assert settings.slo == Slo(3.0, 0.2)
    assert {cell.settings.slo for cell in engine.cells} == {settings.slo}
    assert guessed_on(paths.TUNED) == "p"
    assert {cell.profile.stem for cell in engine.cells if cell.workload == "mixed"} == {"own-of-tune"}
    assert {cell.settings.step_time.base_s for cell in engine.cells if cell.workload == MIX} == {0.01}


def test_a_capacity_below_the_bounds_is_an_error(searching):
    params = searching.PARAMS.changed(capacity_low=13.0)
    with pytest.raises(StageError, match=r"tune\.capacity_low"):
        TuningSimulations(params, 1, (0.1, 0.2), Engine(searching)).capacities(searching.SPACE.defaults)


def test_a_study_starts_from_the_hand_set_defaults_and_the_champion(searching, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = searching.SPACE
    assert tune.starts(space) == [("defaults", space.defaults)]
    write_json(paths.CHAMPION, {"format": 1, "settings": {"weights.uncached": 3.0}})
    found = dict(tune.starts(space))
    assert list(found) == ["defaults", "champion"]
    assert found["champion"].weights.uncached == 3.0
