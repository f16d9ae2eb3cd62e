from pathlib import Path
from typing import Any

from augserve.data.tables.files import rows_to_table, write_table
from augserve.models.learning.training_set import split_sessions
from augserve.pipeline.prepare.training_turns import read_training_turns


def turn(session: str, **more: Any) -> dict[str, Any]:
    row = {"source": "s", "session_id": session, "turn": 0, "arrival_s": 0.0, "prompt_tokens": 9, "output_tokens": 9}
    return row | more


def test_a_sub_agent_is_in_the_part_of_its_tree(tmp_path: Path) -> None:
    rows = [turn(f"root-{number}") for number in range(40)]
    rows += [turn(f"agent-{number}", parent_session_id=f"root-{number}") for number in range(40)]
    rows += [turn(f"below-{number}", parent_session_id=f"agent-{number}") for number in range(40)]
    write_table(tmp_path / "turns.parquet", "turns", rows_to_table("turns", rows))
    turns = read_training_turns([tmp_path])
    groups = {(one.source, one.past.session_id): one.split_group for one in turns}
    parts = split_sessions(set(groups), 0.2, 0.3, groups)
    for number in range(40):
        assert len({parts["s", f"{name}-{number}"] for name in ("root", "agent", "below")}) == 1
    assert set(parts.values()) == {"train", "validation", "test"}
