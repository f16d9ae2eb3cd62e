import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from augserve.data.exporters.run import ExportError, export_traces
from augserve.data.exporters.weka import GLOBAL, NESTED, OTHER_BLOCKS
from augserve.data.importers.run import import_traces
from augserve.data.tables.files import read_table, rows_to_table, write_table

from .made_trees import Made, Rows, forests

RESOLUTION_S = 2e-6
REQUEST_KEYS = {
    *("t", "type", "model", "in", "out", "hash_ids", "input_types", "output_types", "stop"),
    *("api_time", "think_time", "ttft"),
}
AGENT_KEYS = {
    *("t", "type", "agent_id", "subagent_type", "duration_ms", "total_tokens", "tool_use_count", "status"),
    *("requests", "models", "tool_tokens", "system_tokens"),
}
TRACE_KEYS = {"id", "models", "block_size", "hash_id_scope", "tool_tokens", "system_tokens", "requests"}


def write(folder: Path, turns: Rows, calls: Sequence[dict[str, Any]] = ()) -> Path:
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", turns))
    write_table(folder / "tool_calls.parquet", "tool_calls", rows_to_table("tool_calls", calls))
    return folder


def exported(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(folder.iterdir())]


def tables(folder: Path) -> tuple[Rows, Rows]:
    turns = sorted(read_table(folder, "turns").to_pylist(), key=lambda row: (row["session_id"], row["turn"]))
    calls = read_table(folder, "tool_calls").to_pylist()
    return turns, sorted(calls, key=lambda row: (row["session_id"], row["turn"], row["call"]))


def check(requests: list[dict[str, Any]], block_tokens: int) -> None:
    """The rules of aiperf's loader, but for sub-agents of sub-agents."""
    for entry in requests:
        if entry["type"] == "subagent":
            assert set(entry) == AGENT_KEYS
            assert isinstance(entry["duration_ms"], int)
            assert all(inner["t"] >= entry["t"] for inner in entry["requests"])
            check(entry["requests"], block_tokens)
        else:
            assert set(entry) <= REQUEST_KEYS
            assert entry["type"] == ("s" if "ttft" in entry else "n")  # only streamed requests have a ttft
            assert len(entry["hash_ids"]) == entry["in"] // block_tokens


def request(t: float, tokens: int, out: int, blocks: list[int], **more: object) -> dict[str, Any]:
    return {"t": t, "type": "n", "model": "m", "in": tokens, "out": out, "hash_ids": blocks, **more}


def agent(t: float, duration_ms: int, name: str, *requests: dict[str, Any]) -> dict[str, Any]:
    entry = {"t": t, "type": "subagent", "agent_id": name, "duration_ms": duration_ms, "requests": list(requests)}
    return entry | {"tool_tokens": 40, "system_tokens": 30}


USES, BRINGS = {"stop": "tool_use", "output_types": ["tool_use"]}, {"input_types": ["tool_result"]}
RAW = {
    "id": "one",
    "block_size": 64,
    "hash_id_scope": "local",
    "tool_tokens": 100,
    "system_tokens": 28,
    "requests": [
        request(0.0, 200, 20, [1, 2, 3], api_time=4.5, **USES),
        request(7.0, 260, 30, [1, 2, 3, 4], api_time=2.0, ttft=0.5, **BRINGS, **USES),
        agent(
            20.0, 9000, "a", request(0.0, 130, 5, [7, 8], api_time=1.0, **USES), request(5.0, 140, 5, [7, 8], **BRINGS)
        ),
        agent(18.0, 7500, "b", request(0.0, 130, 5, [7, 9], api_time=1.25)),
        request(21.0, 320, 10, [1, 2, 3, 4, 5], think_time=1.0, **BRINGS, **USES),
        request(30.0, 100, 10, [6], think_time=2.0, stop="max_tokens", **BRINGS),  # compacted
        request(40.0, 50, 10, [], api_time=1.0, stop="end_turn"),
    ],
}


def test_what_was_imported_is_the_same_after_an_export_and_another_import(tmp_path: Path) -> None:
    (tmp_path / "raw.json").write_text(json.dumps(RAW))
    first, again = tmp_path / "first", tmp_path / "again"
    import_traces("kv-cache-tester", [tmp_path / "raw.json"], first, "set", strict=True)
    summary = export_traces("weka", [first], tmp_path / "out")
    assert (summary.trees, summary.agents, summary.turns, summary.notes) == (1, 2, 8, {})
    import_traces("kv-cache-tester", [tmp_path / "out"], again, "set", strict=True)
    for before, after in zip(tables(first), tables(again), strict=True):
        assert len(before) == len(after)
        for row, other in zip(before, after, strict=True):
            assert other == {
                name: pytest.approx(value, abs=RESOLUTION_S) if isinstance(value, float) else value
                for name, value in row.items()
            }
    (trace,) = exported(tmp_path / "out")
    assert set(trace) == TRACE_KEYS
    check(trace["requests"], 64)


@given(made=forests())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_tokens_parents_and_pauses_survive_an_export_and_an_import(
    tmp_path_factory: pytest.TempPathFactory, made: Made
) -> None:
    folder = tmp_path_factory.mktemp("t")
    (folder / "in").mkdir()
    write(folder / "in", made.turns, made.calls)
    export_traces("weka", [folder / "in"], folder / "out")
    for trace in exported(folder / "out"):
        check(trace["requests"], 64)
    import_traces("kv-cache-tester", [folder / "out"], folder / "again", "made")
    (before, calls), (after, calls_after) = tables(folder / "in"), tables(folder / "again")
    same = ("session_id", "turn", "parent_session_id", "prompt_tokens", "output_tokens", "model", "finish_reason")
    assert [[row[name] for name in same] for row in after] == [[row[name] for name in same] for row in before]
    starts_s = {row["session_id"]: row["arrival_s"] for row in before if row["turn"] == 0}
    for row, other in zip(before, after, strict=True):
        offset_s = starts_s[row["session_id"].partition("/")[0]]
        assert other["arrival_s"] == pytest.approx(row["arrival_s"] - offset_s, abs=RESOLUTION_S)
        assert other["finish_s"] == pytest.approx(row["finish_s"] - offset_s, abs=RESOLUTION_S)
    agents = [[call["session_id"], call["turn"], call["agent_session_id"]] for call in calls]
    assert [[call["session_id"], call["turn"], call["agent_session_id"]] for call in calls_after] == agents
    for call, other in zip(calls, calls_after, strict=True):
        assert other["duration_s"] == pytest.approx(call["duration_s"], abs=1e-3)  # of sub-agents in milliseconds


def row(session: str, turn: int, tokens: int, output: int = 10, **more: Any) -> dict[str, Any]:
    times = {"arrival_s": 100.0 * turn, "finish_s": 100.0 * turn + 1}
    identity = {"source": "s", "session_id": session, "turn": turn}
    return {**identity, **times, "prompt_tokens": tokens, "output_tokens": output, **more}


def hashes(folder: Path, turns: Rows) -> dict[str, list[list[int]]]:
    """Block numbers of each turn, by session."""
    export_traces("weka", [write(folder, turns)], folder / "out")
    found: dict[str, list[list[int]]] = {}

    def add(name: str, requests: list[dict[str, Any]]) -> None:
        found[name] = [entry["hash_ids"] for entry in requests if entry["type"] != "subagent"]
        for entry in requests:
            if entry["type"] == "subagent":
                add(entry["agent_id"], entry["requests"])

    for trace in exported(folder / "out"):
        add(trace["id"], trace["requests"])
    return found


def test_without_recorded_hashes_a_turn_extends_the_one_before_and_prefixes_are_equal(tmp_path: Path) -> None:
    shared = {"prefix_id": "p", "prefix_tokens": 130}
    turns = [row("r", 0, 300, **shared), row("r", 1, 400, **shared), row("r", 2, 200, cached_tokens=150, **shared)]
    turns += [row("r", 3, 260, **shared), row("c", 0, 200, parent_session_id="r", **shared)]
    turns += [row("d", 0, 200, parent_session_id="r")]
    found = hashes(tmp_path, turns)
    first, second, compacted, after = found["r"]
    assert list(map(len, found["r"])) == [4, 6, 3, 4]
    assert second[:4] == first
    assert compacted[:2] == first[:2]
    assert compacted[2] not in second
    assert after[:3] == compacted
    assert found["c"][0][:2] == first[:2]
    assert not set(found["c"][0][2:]) & {*first, *second, *compacted, *after}
    assert not set(found["d"][0]) & {*first, *second, *compacted, *after, *found["c"][0]}


def test_recorded_hashes_are_kept_and_what_the_format_cannot_tell_is_counted(tmp_path: Path) -> None:
    blocks = {"block_hashes": [5, -9], "block_tokens": 16, "block_scope": "s"}
    turns = [row("r", 0, 40, **blocks), row("r", 1, 80), row("c", 0, 40, parent_session_id="r", **blocks)]
    turns += [row("g", 0, 40, parent_session_id="c", **blocks)]
    summary = export_traces("weka", [write(tmp_path, turns)], tmp_path / "out")
    (trace,) = exported(tmp_path / "out")
    assert (trace["block_size"], trace["hash_id_scope"]) == (16, "global")
    assert [entry["hash_ids"] for entry in trace["requests"] if entry["type"] == "n"] == [[5, -9], []]
    assert summary.notes == {NESTED: 1, GLOBAL: 1, OTHER_BLOCKS: 1}


def test_sessions_without_a_parent_there_or_in_a_circle_are_exported_as_roots(tmp_path: Path) -> None:
    turns = [row("a", 0, 40, parent_session_id="gone"), row("b", 0, 40, parent_session_id="c")]
    turns += [row("c", 0, 40, parent_session_id="b")]
    summary = export_traces("weka", [write(tmp_path, turns)], tmp_path / "out")
    assert (summary.trees, summary.agents) == (2, 1)
    assert {trace["id"] for trace in exported(tmp_path / "out")} == {"a", "b"}


@pytest.mark.parametrize("name", ["other", "weka"])
def test_an_unknown_format_and_a_folder_in_use_are_one_line(tmp_path: Path, name: str) -> None:
    write(tmp_path, [row("a", 0, 40)])
    with pytest.raises(ExportError, match="unknown format" if name == "other" else "not an empty folder"):
        export_traces(name, [tmp_path], tmp_path)


def test_traces_without_a_session_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no session"):
        export_traces("weka", [write(tmp_path, [])], tmp_path / "out")
