import argparse
import stat
from pathlib import Path

import pytest
import yaml

from augserve.data.tables.files import TraceError, read_table, rows_to_table, write_table
from augserve.data.workload.mix import MIX
from augserve.models.serving.settings import Slo
from augserve.pipeline.cli import retrain
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import PARAMS_FILE
from augserve.pipeline.project.slo import load_slo
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

slo:
  # Longest time to first token.
  ttft_s: 1.0
  tpot_s: 0.1  # of a further token
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / PARAMS_FILE).write_text(PARAMS)
    monkeypatch.chdir(folder)
    return folder


def record(folder: Path, run: int, sessions: int) -> Path:
    """Write the files of a recorder that saw no tool names."""
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


def run(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    retrain.configure(parser)
    retrain.run(parser.parse_args(arguments))


def test_recordings_are_added_and_the_rest_of_the_parameters_is_unchanged(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(str(record(tmp_path / "mine", 1, 4)))
    assert PARAMS_FILE.read_text() == PARAMS.replace("azure-conv]", "azure-conv, mine]")
    copied = {path.name for path in (paths.TRACES / "mine").iterdir()}
    assert copied == {"turns-1-000000.parquet", "steps-1-000000.parquet"}
    said = capsys.readouterr().out
    assert said.startswith("mine")
    assert "params.yaml: data.sources: [gathered, azure-conv, mine]\n" in said


def test_the_slo_is_kept_with_the_parameters(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = record(tmp_path / "mine", 1, 4)
    run(str(folder), "--slo-ttft-s", "2.5")
    assert capsys.readouterr().out.endswith("params.yaml: slo: TTFT 2.5 s, TPOT 0.1 s\n")
    run(str(folder), "--slo-tpot-s", "0.05")
    assert load_slo() == Slo(ttft_s=2.5, tpot_s=0.05)


def test_an_slo_out_of_range_changes_nothing(root: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"slo\.tpot_s: 0 s"):
        run(str(record(tmp_path / "mine", 1, 4)), "--slo-tpot-s", "0")
    assert PARAMS_FILE.read_text() == PARAMS
    assert list(paths.TRACES.glob("**/*.parquet")) == []


def test_recordings_keep_their_permissions(root: Path, tmp_path: Path) -> None:
    folder = record(tmp_path / "server", 1, sessions=3)
    for path in folder.iterdir():
        path.chmod(0o600)
    retrain.add_recordings(folder, "mine")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (paths.TRACES / "mine").glob("*.parquet")} == {0o600}


def test_a_second_run_adds_new_recordings_and_keeps_the_old_ones(root: Path, tmp_path: Path) -> None:
    folder = record(record(tmp_path / "mine", 1, 4), 2, 3)
    run(str(folder))
    before = PARAMS_FILE.read_bytes()
    (folder / "turns-1-000000.parquet").unlink()  # the server keeps its folder below a size
    record(record(folder, 2, 6), 3, 5)
    run(str(folder))
    assert PARAMS_FILE.read_bytes() == before
    assert read_table(paths.TRACES / "mine", "turns").num_rows == 4 + 6 + 5


def test_a_folder_below_data_traces_is_only_named(root: Path) -> None:
    run(str(record(paths.TRACES / "mine", 1, 3)))
    assert yaml.safe_load(PARAMS_FILE.read_text())["data"]["sources"][-1] == "mine"
    assert len(list((paths.TRACES / "mine").iterdir())) == 2


def test_too_few_sessions_change_nothing(root: Path, tmp_path: Path) -> None:
    folder = record(tmp_path / "mine", 1, 2)
    with pytest.raises(StageError, match="mine: 2 sessions"):
        run(str(folder))
    assert PARAMS_FILE.read_text() == PARAMS
    assert list(root.rglob("*.parquet")) == []


@pytest.mark.parametrize("table", ["turns", "steps"])
def test_a_damaged_file_is_named_and_changes_nothing(root: Path, tmp_path: Path, table: str) -> None:
    folder = record(tmp_path / "mine", 1, 4)
    (folder / f"{table}-2-000000.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(TraceError) as caught:
        run(str(folder))
    assert f"{folder}/{table}-2-000000.parquet" in str(caught.value)
    assert PARAMS_FILE.read_text() == PARAMS
    assert list(root.rglob("*.parquet")) == []


@pytest.mark.parametrize(("folder", "message"), [("", "TRACES"), ("nowhere", "nowhere")])
def test_a_folder_without_recordings_is_an_error_of_one_line(root: Path, folder: str, message: str) -> None:
    with pytest.raises(StageError, match=message) as caught:
        run(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gathered", MIX, "public", "my traces", "azure-conv", "cpu", "llama-3.1-8b-h100"])
def test_a_taken_or_invalid_name_is_an_error(root: Path, tmp_path: Path, name: str) -> None:
    for part in ("public", "upstream"):
        (root / "data" / part).symlink_to(PROJECT / "data" / part)
    with pytest.raises(StageError, match=repr(name)):
        run(str(record(tmp_path / name, 1, 4)))
    run(str(tmp_path / name), "mine")
    assert (paths.TRACES / "mine").is_dir()
