import pytest

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.evaluate.capacities import capacities, shown_attainments, stock_capacities
from augserve.pipeline.evaluate.comparison import compare
from augserve.pipeline.evaluate.evaluation import Evaluation
from augserve.pipeline.project.stage import StageError

from .comparing import PARAMS, KnownEngine, answer, evaluation_of


def against_stock(augserve_per_s):
    """The capacity of stock vLLM is 10 sessions/s."""
    params = PARAMS.changed(capacity_policies=("augserve", "vllm"), capacity_rounds=6)
    engine = KnownEngine({"vllm": 10.0, "augserve": augserve_per_s})
    return evaluation_of(params), engine


def test_a_capacity_search_starts_from_the_cells():
    evaluation, engine = against_stock(augserve_per_s=15.0)
    stock = stock_capacities(evaluation, engine)
    evidences = compare(evaluation, stock, engine)
    unit = stock["augmentation-mix"]["p"]["vllm"]
    assert unit == pytest.approx(10.0, abs=0.05)
    assert shown_attainments(evidences, ("augmentation-mix", "p"), "augserve", unit) == {unit: 1.0, 2 * unit: 0.2}
    engine.cells.clear()
    reached, missed = (of["augmentation-mix"]["p"] for of in capacities(evaluation, stock, evidences, engine))
    assert reached["augserve"] <= 15.0 < missed["augserve"]
    assert missed["augserve"] - reached["augserve"] <= 0.0601 * unit
    assert unit < min(engine.tried)  # no rate of a cell runs again
    assert max(engine.tried) < 2 * unit
    assert reached["vllm"] == unit
    assert "vllm" not in missed


def test_a_number_of_agents_is_no_rate():
    runs = {"vllm": [answer({"attainment": 0.5}).result()]}
    evidences = {("mix", "p", "2x"): runs, ("mix", "p", "16"): runs}
    assert shown_attainments(evidences, ("mix", "p"), "vllm", 10.0) == {20.0: 0.5}


def test_without_a_capacity_the_lowest_missed_rate_is_given():
    evaluation, engine = against_stock(augserve_per_s=1.0)
    stock = stock_capacities(evaluation, engine)
    reached, missed = capacities(evaluation, stock, compare(evaluation, stock, engine), engine)
    assert reached["augmentation-mix"]["p"]["augserve"] is None
    assert missed["augmentation-mix"]["p"]["augserve"] == stock["augmentation-mix"]["p"]["vllm"] / 2


def test_a_capacity_is_that_of_all_seeds_together():
    class Lucky(KnownEngine):
        def __call__(self, cell):  # one of two seeds has no limit; the mean of 0.6 is below 0.9
            self.rates = dict.fromkeys(("vllm", "augserve"), 10.0 if cell.seed == 1 else 100.0)
            return super().__call__(cell)

    both = ("vllm", "augserve")
    params = PARAMS.changed(seeds=2, capacity_rounds=6, capacity_policies=both, loads=(0.9, 2.0))
    evaluation = evaluation_of(params)
    engine = Lucky({})
    stock = stock_capacities(evaluation, engine)
    found = capacities(evaluation, stock, compare(evaluation, stock, engine), engine)[0]["augmentation-mix"]["p"]
    assert found["vllm"] == pytest.approx(10.0, abs=0.05)
    assert 9.4 <= found["augserve"] <= 10.0


def test_a_capacity_on_traces_may_be_far_from_that_of_the_mix(tmp_path, monkeypatch):
    (tmp_path / "coding").mkdir()
    (tmp_path / "coding" / "turns.parquet").touch()
    monkeypatch.setattr("augserve.pipeline.project.paths.TRACES", tmp_path)
    params = PARAMS.changed(workloads=("coding",), capacity_rounds=6)
    evaluation = evaluation_of(params)
    found = stock_capacities(evaluation, KnownEngine({"vllm": 0.3}))["coding"]["p"]["vllm"]
    assert found == pytest.approx(0.3, rel=0.01)


def test_a_capacity_on_another_engine_is_searched_around_its_own_guess():
    guesses = {("augmentation-mix", "p"): 0.5}
    params = PARAMS.changed(capacity_rounds=6)
    evaluation = Evaluation(params, 1, SchedulerSettings(), guess_per_s=500.0, guesses=guesses)
    engine = KnownEngine({"vllm": 0.3})
    assert stock_capacities(evaluation, engine)["augmentation-mix"]["p"]["vllm"] == pytest.approx(0.3, rel=0.01)
    assert max(engine.tried) <= 1.0  # a rate far beyond it would simulate for hours


def test_stock_vllm_without_a_capacity_is_an_error():
    evaluation = evaluation_of(PARAMS)
    with pytest.raises(StageError, match=r"6\.0 sessions/s"):
        stock_capacities(evaluation, KnownEngine({"vllm": 0.0}))
