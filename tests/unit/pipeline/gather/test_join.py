from pathlib import Path

import pytest

from augserve.data.tables.files import rows_to_table, write_table
from augserve.data.tables.pseudonyms import Pseudonyms
from augserve.pipeline.gather.join import JoinError, join_turns
from augserve.pipeline.gather.session import GatheredTurn, SessionSeen


def seen(turns: int = 2, output_tokens: int = 5) -> list[SessionSeen]:
    return [
        SessionSeen(
            tuple(
                GatheredTurn(
                    session_id="s",
                    kind="math",
                    turn=turn,
                    style="word",
                    tool_called="python" if turn == 0 else None,
                    prompt_tokens=10,
                    output_tokens=output_tokens,
                )
                for turn in range(turns)
            ),
            (),
        )
    ]


def record(folder: Path, turns: int = 2) -> Path:
    rows = [
        {
            "source": "t",
            "session_id": Pseudonyms.kept_in(folder).of("s"),
            "turn": turn,
            "arrival_s": float(turn),
            "prompt_tokens": 10,
            "output_tokens": 5,
        }
        for turn in reversed(range(turns))
    ]
    write_table(folder / "turns-0.parquet", "turns", rows_to_table("turns", rows))
    return folder


def test_turns_are_sorted_by_arrival_with_the_planned_tool(tmp_path: Path) -> None:
    table = join_turns(record(tmp_path), seen())
    assert table.column("turn").to_pylist() == [0, 1]
    assert table.column("session_id").to_pylist() == ["s", "s"]
    assert table.column("tool_called").to_pylist() == ["python", None]


def test_an_unrecorded_turn_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JoinError, match="1 are missing"):
        join_turns(record(tmp_path), seen(turns=3))


def test_an_unknown_recorded_turn_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JoinError, match="1 are unknown"):
        join_turns(record(tmp_path), seen(turns=1))


def test_different_token_counts_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(JoinError, match="turn 0 of s"):
        join_turns(record(tmp_path), seen(output_tokens=6))
