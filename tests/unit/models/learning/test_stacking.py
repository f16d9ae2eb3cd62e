import dataclasses

import numpy as np
import pytest

from augserve.models.learning.cross_fit import Learned, learn
from augserve.models.learning.evaluation import pinball_loss
from augserve.models.learning.forest import FitSettings
from augserve.models.learning.stacking import MIN_TOOL_ROWS, fit_tables, stacked
from augserve.models.learning.training_set import TrainingSet
from augserve.models.serving.target import OUTPUT_LENGTH, QUANTILES, TARGETS, TOOL_DURATION
from augserve.models.serving.tool_tables import EXPECTED_DURATION, TABLES

from ..conftest import MakeSet

TYPICAL = {"sql": 3.0, "python": 300.0}


@pytest.fixture(scope="module")
def by_tool(make_set: MakeSet, fit_settings: FitSettings) -> Learned:
    """Values that follow from the tool, which no feature tells."""
    data: TrainingSet = make_set(OUTPUT_LENGTH)
    noise = np.exp(np.random.default_rng(1).normal(0, 0.2, len(data)))
    values = np.array([TYPICAL[group] for group in data.groups.tolist()]) * noise
    return learn([dataclasses.replace(data, values=values)], fit_settings)[0]


def test_what_only_the_tool_tells_is_taken_from_the_table(by_tool: Learned) -> None:
    data, tables = by_tool.training, fit_tables([by_tool], 0)
    assert max(tables.sets["made"][OUTPUT_LENGTH.name].shares) < 0.1
    blended = stacked(tables, data, by_tool.models.predict(data.rows))
    for tool, typical in TYPICAL.items():
        np.testing.assert_allclose(blended[data.groups == tool, 1], typical, rtol=0.2)


def test_what_only_the_features_tell_is_taken_from_the_forest(learned: list[Learned]) -> None:
    tables = fit_tables(learned, 0)
    assert min(tables.sets["made"][OUTPUT_LENGTH.name].shares) > 0.8


def test_a_blend_of_held_out_predictions_loses_no_more_than_its_parts(learned: list[Learned]) -> None:
    length = learned[TARGETS.index(OUTPUT_LENGTH)]
    tables, test = fit_tables(learned, 0), length.training
    forest = length.models.predict(test.rows)
    blended = stacked(tables, test, forest)
    for number, quantile in enumerate(QUANTILES):
        losses = [pinball_loss(test.values, part[:, number].astype(float), quantile) for part in (blended, forest)]
        assert losses[0] < 1.05 * losses[1]


def test_called_and_expected_calls_have_tables_of_their_own(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data: TrainingSet = make_set(TOOL_DURATION)
    rows = data.rows.copy()
    rows[:, [part.name for part in TOOL_DURATION.features].index("expected")] = np.arange(len(data)) % 2
    values = np.where(np.arange(len(data)) % 2, 50.0, 0.5)
    few_trees = dataclasses.replace(fit_settings, max_rounds_only_forest=2)
    tables = fit_tables(learn([dataclasses.replace(data, rows=rows, values=values)], few_trees), 0)
    medians = {table: [logs[1] for logs in part.quantiles.values()] for table, part in tables.sets["made"].items()}
    assert medians[TOOL_DURATION.name] == pytest.approx([np.log(0.5)] * 2, abs=1e-3)
    assert medians[EXPECTED_DURATION] == pytest.approx([np.log(50)] * 2, abs=1e-3)


def test_a_rare_tool_has_no_table(by_tool: Learned) -> None:
    groups = by_tool.training.groups.astype("<U9").copy()
    groups[: MIN_TOOL_ROWS - 1] = "rare"
    rare = dataclasses.replace(by_tool, training=dataclasses.replace(by_tool.training, groups=groups))
    tables = fit_tables([rare], 0)
    assert tables.row("rare") == 0
    assert tables.row("sql") > 0


def test_one_seed_gives_the_same_tables_and_another_a_different_key(learned: list[Learned]) -> None:
    first, second = fit_tables(learned, 0), fit_tables(learned, 0)
    assert first.render(TABLES) == second.render(TABLES)
    assert first.key != fit_tables(learned, 1).key
