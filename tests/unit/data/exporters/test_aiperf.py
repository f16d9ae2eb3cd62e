import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from augserve.data.exporters.aiperf import COMPACTED, FILE, PADDED, UNPAUSED
from augserve.data.exporters.run import ExportSummary, export_traces
from augserve.data.tables.files import rows_to_table, write_table

from .made_trees import Made, Rows, forests


def exported(folder: Path, turns: Rows, calls: Rows) -> tuple[dict[str, dict[str, Any]], ExportSummary]:
    """Conversations by name."""
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", turns))
    write_table(folder / "tool_calls.parquet", "tool_calls", rows_to_table("tool_calls", calls))
    summary = export_traces("aiperf", [folder], folder / "out")
    lines = [json.loads(line) for line in (folder / "out" / FILE).read_text().splitlines()]
    assert len({line["session_id"] for line in lines}) == len(lines)
    return {line["session_id"]: line for line in lines}, summary


def words(turn: dict[str, Any]) -> int:
    return sum(len(message["content"].split()) for message in turn["messages"])


def row(session: str, turn: int, tokens: int, output: int = 10, **more: Any) -> dict[str, Any]:
    times = {"arrival_s": 100.0 * turn, "finish_s": 100.0 * turn + 1}
    identity = {"source": "s", "session_id": session, "turn": turn}
    return {**identity, **times, "prompt_tokens": tokens, "output_tokens": output, **more}


def test_turns_send_new_text_only_and_wait_as_recorded(tmp_path: Path) -> None:
    lines, summary = exported(tmp_path, [row("a", 0, 50, 20), row("a", 1, 100), row("a", 2, 105)], [])
    turns = lines["a"]["turns"]
    assert [words(turn) for turn in turns] == [50, 30, 1]  # the last prompt lacks a part of the output before it
    assert [turn["delay"] for turn in turns] == [0.0, 99_000.0, 99_000.0]
    assert [turn["max_tokens"] for turn in turns] == [20, 10, 10]
    assert turns[0]["extra"] == {"ignore_eos": True, "min_tokens": 20}
    assert summary.notes == {PADDED: 1}


def test_a_turn_waits_for_the_sub_agents_before_it_and_its_pause_begins_at_their_end(tmp_path: Path) -> None:
    times = {"parent_session_id": "a", "arrival_s": 2.0}
    agents = [row("b", 0, 50, **times | {"finish_s": 30.0}), row("c", 0, 50, **times | {"finish_s": 60.0})]
    lines, summary = exported(tmp_path, [row("a", 0, 50), row("a", 1, 100), *agents], [])
    first, second = lines["a"]["turns"]
    assert (first["spawns"], second["spawns"]) == (["b", "c"], [])
    assert second["delay"] == 40_000.0
    assert summary.notes == {UNPAUSED: 3}


def test_a_shared_prefix_is_the_same_system_prompt(tmp_path: Path) -> None:
    shared = {"prefix_id": "p", "prefix_tokens": 30}
    lines, _ = exported(tmp_path, [row("a", 0, 50, **shared), row("b", 0, 50, **shared), row("c", 0, 50)], [])
    first, second, other = (lines[name]["turns"][0]["messages"] for name in "abc")
    assert [message["role"] for message in first] == ["system", "user"]
    assert first[0] == second[0]
    assert len(first[0]["content"].split()) == 30
    assert len({first[1]["content"], second[1]["content"], other[0]["content"]}) == 3


def test_a_compacted_context_is_a_round_of_its_own(tmp_path: Path) -> None:
    lines, summary = exported(tmp_path, [row("a", 0, 50), row("a", 1, 100), row("a", 2, 40), row("a", 3, 80)], [])
    assert lines["a"] == {
        "session_id": "a",
        "orchestrator": True,
        "rounds": [{"spawns": ["a#0"], "think_time_ms": 0.0}, {"spawns": ["a#1"], "think_time_ms": 99_000.0}],
    }
    assert [[words(turn) for turn in lines[name]["turns"]] for name in ("a#0", "a#1")] == [[50, 40], [40, 30]]
    assert lines["a#1"]["turns"][0]["delay"] == 0.0
    assert summary.notes == {COMPACTED: 1}


@given(made=forests())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_every_session_is_there_once_with_its_sub_agents_tokens_and_pauses(
    tmp_path_factory: pytest.TempPathFactory, made: Made
) -> None:
    lines, summary = exported(tmp_path_factory.mktemp("t"), made.turns, made.calls)
    sessions: dict[str, Rows] = {}
    for turn in made.turns:
        sessions.setdefault(turn["session_id"], []).append(turn)
    spawned: list[str] = []
    for name, recorded in sessions.items():
        line = lines[name]
        parts = [lines[one["spawns"][0]] for one in line["rounds"]] if "rounds" in line else [line]
        turns = [turn for part in parts for turn in part["turns"]]
        assert len(turns) == len(recorded)
        assert [turn["max_tokens"] for turn in turns] == [max(turn["output_tokens"], 1) for turn in recorded]
        pauses_ms = [one["think_time_ms"] for one in line.get("rounds", ())]
        pauses_ms += [turn["delay"] for turn in turns]
        waited = sum(bool(turn["spawns"]) for turn in turns[:-1])
        expected_ms = [
            1000 * (later["arrival_s"] - turn["finish_s"])
            for turn, later, sent in zip(recorded, recorded[1:], turns, strict=False)
            if not sent["spawns"]
        ]
        if not waited:
            assert sum(pauses_ms) == pytest.approx(sum(expected_ms), abs=0.01)
        context = 0
        for turn, sent in zip(recorded, turns, strict=True):
            begins = any(sent is part["turns"][0] for part in parts)
            context = (0 if begins else context) + words(sent)
            assert context >= turn["prompt_tokens"]
            context += sent["max_tokens"]
            spawned += sent["spawns"]
    assert sorted(spawned) == sorted(
        turn["session_id"] for turn in made.turns if "/" in turn["session_id"] and not turn["turn"]
    )
    assert summary.notes.keys() <= {PADDED, COMPACTED, UNPAUSED}
