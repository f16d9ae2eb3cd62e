from pathlib import Path

from augserve.data.tables.files import read_table, rows_to_table, write_table
from augserve.data.tables.forgetting import forget_tenants


def turn(session: str, tenant: str | None) -> dict[str, object]:
    facts = {"source": "s", "turn": 0, "arrival_s": 1.0, "prompt_tokens": 5, "output_tokens": 3}
    return facts | {"session_id": session, "tenant": tenant}


def call(session: str) -> dict[str, object]:
    facts = {"source": "s", "turn": 0, "call": 0, "tool": "sql", "start_s": 2.0, "duration_s": 1.0, "timing": "pause"}
    return facts | {"session_id": session}


def write(folder: Path) -> None:
    mixed = [turn("a", "mine"), turn("b", "other"), turn("c", None), turn("a", "mine")]
    for name, rows in (("turns-1", mixed), ("turns-2", [turn("d", "mine")]), ("turns-3", [turn("e", None)])):
        write_table(folder / f"{name}.parquet", "turns", rows_to_table("turns", rows))
    calls = [call(each) for each in "abcde"]
    write_table(folder / "tool_calls-1.parquet", "tool_calls", rows_to_table("tool_calls", calls))


def test_a_tenant_s_turns_and_calls_go_and_all_others_stay(tmp_path: Path) -> None:
    write(tmp_path)
    untouched = (tmp_path / "turns-3.parquet").read_bytes()
    assert forget_tenants(tmp_path, {"mine", "unknown"}) == 3
    turns = read_table(tmp_path, "turns")
    assert turns["session_id"].to_pylist() == ["b", "c", "e"]
    assert read_table(tmp_path, "tool_calls")["session_id"].to_pylist() == ["b", "c", "e"]
    assert not (tmp_path / "turns-2.parquet").exists()
    assert (tmp_path / "turns-3.parquet").read_bytes() == untouched
    assert (tmp_path / "turns-1.parquet").stat().st_mode & 0o777 == 0o600
    assert forget_tenants(tmp_path, {"mine"}) == 0


def test_an_empty_folder_has_nothing_to_forget(tmp_path: Path) -> None:
    assert forget_tenants(tmp_path, {"mine"}) == 0
