from pathlib import Path

import pytest

from augserve.data.tables.files import rows_to_table, write_table
from augserve.pipeline.cli.__main__ import main


def turn(session: str, **more: object) -> dict[str, object]:
    row = {"source": "s", "session_id": session, "turn": 0, "arrival_s": 0.0, "prompt_tokens": 90, "output_tokens": 9}
    return row | more


@pytest.mark.parametrize(("name", "files"), [("weka", {"trace_0000.json"}), ("aiperf", {"sessions.dag.jsonl"})])
def test_the_command_writes_files_and_prints_what_they_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, files: set[str]
) -> None:
    tree = [turn("a"), turn("b", parent_session_id="a"), turn("c", parent_session_id="b")]
    write_table(tmp_path / "in" / "turns.parquet", "turns", rows_to_table("turns", tree))
    main(["export", name, str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "3 turns of 1 sessions and 2 sub-agents" in printed
    assert ("changed: " in printed) == (name == "weka")  # sub-agents of sub-agents
    assert {file.name for file in (tmp_path / "out").iterdir()} == files


def test_a_folder_without_traces_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "weka", str(tmp_path), "--out", str(tmp_path / "out")])
    assert "no turns*.parquet" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
