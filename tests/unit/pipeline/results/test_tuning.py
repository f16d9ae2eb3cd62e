import dataclasses
import json

import pytest

from augserve.pipeline.results.metrics_file import ResultsError
from augserve.pipeline.results.tuning import Selection, origin_of, report_score, tuning_table

from .conftest import cell


@pytest.fixture
def evaluated(results):
    """Both settings ran at two loads. Stock vLLM has collapsed at 2x, another rival has not."""
    by_load = results.cells["mix"]["p"]
    by_load["1x"]["augserve-default"] = cell(9)
    by_load["2x"] |= {"augserve-default": cell(8), "vllm": cell(0)}
    return results


def test_a_selection_comes_back_as_written(tmp_path, selection):
    path = tmp_path / "selection.json"
    path.write_text(json.dumps(dataclasses.asdict(selection)))
    assert Selection.read(path) == selection


@pytest.mark.parametrize("text", [None, "{", "[]", '{"chosen": "x"}'])
def test_a_foreign_file_is_one_line_with_its_name(tmp_path, text):
    path = tmp_path / "selection.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ResultsError, match=r"selection\.json") as error:
        Selection.read(path)
    assert "\n" not in str(error.value)


def test_the_origin_separates_given_settings_from_searched_ones():
    assert len({origin_of(name) for name in ("defaults", "champion", "trial 7")}) == 3


def test_the_report_score_is_the_geometric_mean_ratio_to_the_best_rival_where_both_settings_ran(evaluated, selection):
    assert report_score(evaluated, selection, "augserve") == pytest.approx((9 / 9 * 10 / 5) ** 0.5)
    assert report_score(evaluated, selection, "augserve-default") == pytest.approx((9 / 9 * 8 / 5) ** 0.5)


def test_without_a_scenario_of_the_selection_there_is_no_report_score(evaluated, selection):
    missing = dataclasses.replace(selection, scenarios=(("mix", "p", "3x"), ("none", "p", "1x")))
    assert report_score(evaluated, missing, "augserve") is None


def test_the_table_has_the_chosen_settings_first_with_their_origin(evaluated, selection):
    table = tuning_table(evaluated, dataclasses.replace(selection, chosen="trial 3"))
    assert table["settings"].tolist() == ["trial 3", "defaults"]
    assert table["origin"].tolist() == ["this search", "hand-set defaults"]
    assert table["report sessions"].tolist() == ["1.414", "1.265"]


def test_a_candidate_that_was_not_evaluated_has_no_report_score(evaluated, selection):
    scores = {**selection.scores, "trial 9": {"tune": 1.1, "select": 1.1}}
    table = tuning_table(evaluated, dataclasses.replace(selection, scores=scores)).set_index("settings")
    assert table.loc["trial 9", "report sessions"] == "–"
