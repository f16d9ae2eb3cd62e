import pytest

from augserve.data.workload.coding_agents.tables import EFFECTS_FILE, FIGURES_FILE, load_kinds
from augserve.data.workload.model import WorkloadError


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("swe-agent,turns,,,65", "swe-agent,turns,,,0", "count"),
        ("swe-agent,turns,,", "swe-agent,turn,,", "figure"),
        ("swe-agent,turns,,", "swe-agent,turns,middle,", "stage"),
        ("swe-agent,turns,,,65,3,3,3", "swe-agent,turns,,,65,9,3,3", "do not rise"),
        ("swe-agent,turns,,,65,3", "swe-agent,turns,,,65,nan", "quantiles"),
        ("swe-agent,turns,", "swe-robot,turns,", "no row of"),
    ],
)
def test_a_wrong_figure_is_named(tmp_path, old, new, message):
    path = tmp_path / "figures.csv"
    text = FIGURES_FILE.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(WorkloadError, match=message):
        load_kinds(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("swe-agent,pause,", "swe-agent,pauses,", "effect"),
        ("swe-agent,turns,1", "swe-agent,turns,3", "between"),
        ("swe-agent,turns,1,1", "swe-agent,turns,1,2", "turns"),
        ("swe-agent,turns,", "swe-robot,turns,", "no row of turns"),
    ],
)
def test_a_wrong_effect_is_named(tmp_path, old, new, message):
    path = tmp_path / "effects.csv"
    text = EFFECTS_FILE.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(WorkloadError, match=message):
        load_kinds(effects=path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(WorkloadError, match=r"none\.csv"):
        load_kinds(tmp_path / "none.csv")


def test_a_tool_of_the_whole_session_has_one_share_in_both_stages():
    kind = load_kinds()["swe-agent"]
    shares = [
        stage.turns[[tool.name for tool in stage.tools].index("Task")] / sum(stage.turns)
        for stage in (kind.early, kind.late)
    ]
    assert shares[0] == pytest.approx(shares[1])
