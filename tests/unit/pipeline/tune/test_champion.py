import json

import pytest

from augserve.pipeline.tune.champion import read_champion, write_champion
from augserve.pipeline.tune.score import Score
from augserve.pipeline.tune.select import Candidate, Selected


@pytest.fixture
def written(searching, tmp_path):
    settings = searching.SPACE.settings({"weights.uncached": 3.0})
    score = Score(searching.BASELINE)
    for scenario in searching.PARAMS.planned():
        score.add(scenario, searching.STOCK)
    better = Score(searching.BASELINE)
    for scenario in searching.PARAMS.planned():
        better.add(scenario, searching.STOCK | {"effective_throughput": 62.5})
    winner = Selected(Candidate("trial 5", 5, settings, 1.5), better, score)
    write_champion(tmp_path / "champion.json", winner, {"name": "tune-1", "trials": {"finished": 9}})
    return tmp_path / "champion.json"


def test_a_champion_is_read_on_the_engine_of_the_search(searching, written):
    champion = read_champion(written, searching.SPACE)
    assert champion is not None
    assert champion.weights.uncached == 3.0
    assert champion.step_time == searching.SPACE.defaults.step_time


def test_a_champion_tells_its_study(written):
    study = json.loads(written.read_text())["study"]
    assert (study["name"], study["trials"]["finished"]) == ("tune-1", 9)
    assert study["scores"] == {"search": 1.25, "selection": 1.0}
    assert study["revision"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 99, "settings": {}}',
        '{"format": 1, "settings": {"weights.none": 1.0}}',
        '{"format": 1}',
    ],
)
def test_a_foreign_champion_is_one_line_and_the_search_goes_on(searching, tmp_path, caplog, text):
    path = tmp_path / "champion.json"
    path.write_text(text)
    assert read_champion(path, searching.SPACE) is None
    assert len(caplog.records) == 1
    assert "champion.json" in caplog.text


def test_a_search_without_a_champion_warns_of_nothing(searching, tmp_path, caplog):
    assert read_champion(tmp_path / "champion.json", searching.SPACE) is None
    assert not caplog.records
