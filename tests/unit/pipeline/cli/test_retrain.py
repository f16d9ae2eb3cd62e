import sys
from pathlib import Path

import pytest
import yaml

from augserve.data.tables.files import TraceError, read_table, rows_to_table, write_table
from augserve.data.workload.mix import MIX
from augserve.pipeline.cli import retrain
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import PARAMS_FILE
from augserve.pipeline.project.stage import StageError

PROJECT = Path(__file__).parents[4]
PARAMS = """# Every stage reads its own section.
base:
  seed: 1

data:
  # Sets to learn from.

  sources: [gathered,
            azure-conv]  # in this order
  mirror: ../shared/data

prepare: {mix_sessions: 3}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / PARAMS_FILE).write_text(PARAMS)
    monkeypatch.chdir(folder)
    return folder


def record(folder: Path, run: int, sessions: int) -> Path:
    """As a recorder of a server does that sees no tools named."""
    rows = [
        {
            "source": "live",
            "session_id": f"{run}-{number}",
            "turn": 0,
            "arrival_s": 1.7e9 + number,
            "prompt_tokens": 5,
            "output_tokens": 2,
        }
        for number in range(sessions)
    ]
    for table, content in (("turns", rows_to_table("turns", rows)), ("steps", rows_to_table("steps", []))):
        write_table(folder / f"{table}-{run}-000000.parquet", "turns" if table == "turns" else "steps", content)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["retrain", *arguments])
    retrain.main()


def test_recordings_are_taken_in_and_named_and_all_else_stays(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, str(record(tmp_path / "mine", 1, 4)))
    assert PARAMS_FILE.read_text() == PARAMS.replace("azure-conv]", "azure-conv, mine]")
    assert [path.name for path in (paths.TRACES / "mine").iterdir()] == ["turns-1-000000.parquet"]
    said = capsys.readouterr().out
    assert said.startswith("mine")
    assert said.endswith("params.yaml: data.sources: [gathered, azure-conv, mine]\n")


def test_the_same_command_adds_what_was_recorded_since_and_loses_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = record(record(tmp_path / "mine", 1, 4), 2, 3)
    run(monkeypatch, str(folder))
    before = PARAMS_FILE.read_bytes()
    (folder / "turns-1-000000.parquet").unlink()  # the server keeps its folder below a size
    record(record(folder, 2, 6), 3, 5)
    run(monkeypatch, str(folder))
    assert PARAMS_FILE.read_bytes() == before
    assert read_table(paths.TRACES / "mine", "turns").num_rows == 4 + 6 + 5


def test_a_folder_that_lies_there_already_is_only_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, str(record(paths.TRACES / "mine", 1, 3)))
    assert yaml.safe_load(PARAMS_FILE.read_text())["data"]["sources"][-1] == "mine"
    assert len(list((paths.TRACES / "mine").iterdir())) == 2


def test_too_few_sessions_to_split_change_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = record(tmp_path / "mine", 1, 2)
    with pytest.raises(StageError, match=r"/mine: 2 sessions: at least 3 are needed, .*; record more$"):
        run(monkeypatch, str(folder))
    assert PARAMS_FILE.read_text() == PARAMS
    assert list(root.rglob("*.parquet")) == []


def test_a_damaged_file_is_named_where_it_lies_and_changes_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = record(tmp_path / "mine", 1, 4)
    (folder / "turns-2-000000.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(TraceError) as caught:
        run(monkeypatch, str(folder))
    assert str(caught.value).startswith(f"{folder}/turns-2-000000.parquet: not a readable Parquet file: ")
    assert PARAMS_FILE.read_text() == PARAMS
    assert list(root.rglob("*.parquet")) == []


@pytest.mark.parametrize(
    ("folder", "message"),
    [("", "TRACES is not given; name the folder"), ("nowhere", r"nowhere: no turns\*\.parquet in it: no server has")],
)
def test_a_folder_without_recordings_is_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, folder: str, message: str
) -> None:
    with pytest.raises(StageError, match=message) as caught:
        run(monkeypatch, folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gathered", MIX, "public", "my traces", "azure-conv"])
def test_a_name_that_is_taken_or_none_asks_for_another(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for part in ("public", "upstream"):
        (root / "data" / part).symlink_to(PROJECT / "data" / part)
    with pytest.raises(StageError, match=f"{name!r} is .*; give NAME=…"):
        run(monkeypatch, str(record(tmp_path / name, 1, 4)))
    run(monkeypatch, str(tmp_path / name), "mine")
    assert (paths.TRACES / "mine").is_dir()


@pytest.mark.parametrize("sources", ["\n  - gathered", " gathered", " [gathered, [x]]"])
def test_sources_of_another_form_are_left_to_the_user(sources: str) -> None:
    with pytest.raises(StageError, match=r"data\.sources is no list in brackets; add 'mine' to it by hand"):
        retrain.with_source(f"data:\n  sources:{sources}\n  mirror: x\n", "mine")


def test_the_projects_own_parameters_take_one_more_set() -> None:
    text = (PROJECT / PARAMS_FILE).read_text()
    before, after = yaml.safe_load(text), yaml.safe_load(retrain.with_source(text, "mine"))
    assert after["data"]["sources"] == [*before["data"]["sources"], "mine"]
    assert after | {"data": before["data"]} == before
