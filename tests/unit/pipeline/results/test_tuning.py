import dataclasses

import pytest

from augserve.data.atomic import write_json
from augserve.pipeline.results.metrics_file import Evaluated, ResultsError
from augserve.pipeline.results.tuning import Selection, longest_waits, over_tuning, report_gain

from .conftest import cell

SCORES = {"trial 7": {"tune": 1.5, "select": 1.3}, "defaults": {"tune": 1.25, "select": 1.25}}
SELECTION = Selection("trial 7", "p", "mix", (2.0, 1.0), 5.0, SCORES)


def cells(vllm, by_hand, ours, wait_s=0.5):
    return {
        "vllm": cell(vllm) | {"longest_wait_s": wait_s},
        "augserve-default": cell(by_hand),
        "augserve": cell(ours) | {"longest_wait_s": 2 * wait_s},
    }


@pytest.fixture
def evaluated():
    """Stock vLLM collapses at 2x: there the ratio is to its 10 at 1x."""
    by_load = {"1": cells(10, 10, 10), "2": cells(0, 14, 16, 20.0), "0.5": cells(5, 5, 5)}
    return Evaluated({"mix": {"p": by_load}}, {}, {})


def test_the_gains_of_three_sets_of_sessions_stand_side_by_side(evaluated):
    # searched on 1.5 / 1.25, chosen on 1.3 / 1.25, reported (1.0 + 1.6) / (1.0 + 1.4)
    assert report_gain(evaluated, SELECTION) == pytest.approx(2.6 / 2.4 - 1)
    assert over_tuning(evaluated, SELECTION) == (
        "Tuning (trial 7) gained, over the settings by hand and as a mean over 1×, 2×, +20.0 % on the sessions "
        "searched on and +4.0 % on those that chose among the best; on those reported, which did neither, +8.3 %: "
        "+16.0 points of over-tuning by the search, −4.3 points by the choice."
    )


def test_a_load_that_was_not_reported_is_said_and_not_made_up(evaluated):
    del evaluated.results["mix"]["p"]["2"]["augserve-default"]
    assert report_gain(evaluated, SELECTION) is None
    assert over_tuning(evaluated, SELECTION).endswith("on those reported it was not measured at these loads.")


def test_settings_by_hand_that_were_not_judged_leave_nothing_to_say(evaluated):
    alone = dataclasses.replace(SELECTION, scores={"trial 7": SCORES["trial 7"]})
    assert over_tuning(evaluated, alone) == ""


def test_the_longest_wait_is_told_by_the_load_up_to_which_it_is_kept(evaluated):
    assert longest_waits(evaluated, SELECTION) == (
        "A longest wait of 5 s, which tuning asks wherever stock vLLM keeps it, is kept by stock vLLM up to 1× "
        "(20.0 s at 2×), by AugServe up to 1× (40.0 s at 2×)."
    )
    patient = dataclasses.replace(SELECTION, longest_wait_s=60.0)
    assert "by AugServe at every load up to 2×." in longest_waits(evaluated, patient)
    strict = dataclasses.replace(SELECTION, longest_wait_s=0.1)
    assert "by AugServe at no load (1.0 s at 0.5×)." in longest_waits(evaluated, strict)


def test_what_is_written_is_read(tmp_path):
    write_json(tmp_path / "selection.json", dataclasses.asdict(SELECTION))
    assert Selection.read(tmp_path / "selection.json") == SELECTION


@pytest.mark.parametrize("text", [None, "{", "[]", '{"chosen": "defaults", "loads": [1.0], "scores": {}}'])
def test_a_selection_of_an_older_version_is_one_clear_line(tmp_path, text):
    path = tmp_path / "selection.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ResultsError, match=r"selection\.json: not what `tune` writes here.*dvc repro tune") as error:
        Selection.read(path)
    assert "\n" not in str(error.value)
