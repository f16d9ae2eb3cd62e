import io
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from augserve.data.importers.contract import Context
from augserve.data.importers.mlperf_agentic.importer import import_records
from augserve.data.importers.reading.members import Member
from augserve.data.importers.reading.problems import ImportingError, Problems
from augserve.data.importers.run import import_traces
from augserve.data.tables.files import read_table
from augserve.data.tables.tool_arguments import text_hash
from augserve.data.workload.steady_state import NOMINAL_TOKEN_S

Rows = list[dict[str, Any]]
TOOLS = [{"type": "function", "function": {"name": "bash"}}]


class Words:
    exact = True
    counted_texts = 0

    def count(self, text: str) -> int:
        return len(text.split())

    def ids(self, text: str) -> list[int]:
        return [len(word) for word in text.split()]


def run(*files: Sequence[object], problems: Problems | None = None) -> tuple[Rows, Rows]:
    members = [
        Member(f"{number}.jsonl", io.BytesIO("\n".join(map(json.dumps, lines)).encode()))
        for number, lines in enumerate(files)
    ]
    turns: Rows = []
    calls: Rows = []
    for name, row in import_records(members, Context(problems or Problems(strict=True), Words())):
        (turns if name == "turns" else calls).append(dict(row))
    return turns, calls


def row(turn: int, role: str, name: str = "c1", **more: object) -> dict[str, Any]:
    return {"conversation_id": name, "turn": turn, "role": role, **more}


def use(call_id: str, **arguments: object) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "bash", "arguments": json.dumps(arguments)}}


def result(call_id: str, text: str) -> dict[str, Any]:
    return {"tool_call_id": call_id, "content": text}


ASKS = row(1, "user", content="fix the bug", system="you are brief", tools=TOOLS, model="m", max_new_tokens=64)
CALLS = [use("a", command="ls -l"), use("b", command="pwd")]
CONVERSATION = [
    ASKS,
    row(
        2, "assistant", reasoning_content="look first", tool_calls=[use("a", command="ls -l"), use("b", command="pwd")]
    ),
    row(3, "tool", tool_results=[result("b", "/x"), result("a", "one two")], delay_seconds=1.5),
    row(4, "assistant", content="done"),
    row(5, "user", content="thanks a lot", delay_seconds=30.0),
    row(6, "assistant", content="you are welcome"),
]


def test_answers_are_turns_whose_prompts_hold_all_that_came_before() -> None:
    turns, _ = run(CONVERSATION)
    prefix = 3 + len(json.dumps(TOOLS).split())
    outputs = [2 + len(["bash", '{"command":', '"ls', '-l"}']) + len(["bash", '{"command":', '"pwd"}']), 1, 3]
    prompts = [prefix + 3, prefix + 3 + outputs[0] + 3, prefix + 3 + outputs[0] + 3 + 1 + 3]
    assert [(turn["prompt_tokens"], turn["output_tokens"]) for turn in turns] == list(
        zip(prompts, outputs, strict=True)
    )
    assert [(turn["session_id"], turn["turn"], turn["tool_called"]) for turn in turns] == [
        ("c1", 0, "bash"),
        ("c1", 1, None),
        ("c1", 2, None),
    ]
    assert {(turn["model"], turn["max_tokens"], turn["tools_offered"]) for turn in turns} == {("m", 64, 1)}
    assert [sum(turn["tail_counts"]) for turn in turns] == [2 * 3 - 1, 2 * 2 - 1, 2 * 3 - 1]


def test_delays_are_the_pauses_and_calls_that_return_together_last_equally_long() -> None:
    turns, calls = run(CONVERSATION)
    pauses = [later["arrival_s"] - turn["finish_s"] for turn, later in pairwise(turns)]
    assert pauses == pytest.approx([1.5, 30.0])
    assert turns[0]["arrival_s"] == 0.0
    lengths = [turn["finish_s"] - turn["arrival_s"] for turn in turns]
    assert lengths == pytest.approx([turn["output_tokens"] * NOMINAL_TOKEN_S for turn in turns])
    assert [(call["turn"], call["call"], call["duration_s"], call["result_tokens"]) for call in calls] == [
        (0, 0, 1.5, 2),
        (0, 1, 1.5, 1),
    ]
    assert [call["argument_head"] for call in calls] == [text_hash("ls"), text_hash("pwd")]
    assert {(call["tool"], call["timing"], call["start_s"]) for call in calls} == {
        ("bash", "pause", turns[0]["finish_s"])
    }


def test_the_same_system_prompt_and_tools_are_one_prefix() -> None:
    def asks(name: str, **more: object) -> list[dict[str, Any]]:
        return [{**ASKS, "conversation_id": name, **more}, row(2, "assistant", name, content="done")]

    conversations = [*asks("a"), *asks("b"), *asks("c", system="you are verbose"), *asks("d", system="", tools=[])]
    turns, _ = run(conversations, asks("a"))
    assert [turn["session_id"] for turn in turns] == ["a", "b", "c", "d", "a:2"]
    ids = [turn.get("prefix_id") for turn in turns]
    assert ids[0] == ids[1] == ids[4] != ids[2]
    assert ids[3] is None
    assert turns[0]["prefix_tokens"] == turns[0]["prompt_tokens"] - 3
    starts_s = [turn["arrival_s"] for turn in turns]
    assert starts_s == sorted(set(starts_s))  # one after the other


def test_tasks_of_one_repository_are_one_split_group() -> None:
    rows = [{**row, "conversation_id": name} for name in ("o__n-1", "o__n-22", "other") for row in CONVERSATION]
    turns, _ = run(rows)
    assert {turn["session_id"]: turn["split_group"] for turn in turns} == {
        "o__n-1": "o__n",
        "o__n-22": "o__n",
        "other": "other",
    }


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (7, "row is no object"),
        (row(3, "user", "", content="x"), "row without conversation_id"),
        ({**row(3, "user", content="x"), "turn": "3"}, "row without a turn number"),
        (row(3, "system", content="x"), "role is none of user, assistant, tool"),
        (row(3, "user", content=""), "user row without content"),
        (row(3, "assistant"), "assistant row without content and tool_calls"),
        (row(3, "tool"), "tool row without tool_results"),
        (row(3, "tool", tool_results=[{}]), "tool result without tool_call_id or content"),
        (row(3, "assistant", tool_calls=[{}]), "tool call without id or function"),
        (row(3, "assistant", tool_calls=[{"id": "a", "function": {}}]), "tool call without a name or arguments"),
        (row(3, "assistant", content="again"), "assistant row without a message to answer"),
        (row(2, "user", content="x"), "turn number is not above that of the row before"),
        (row(3, "tool", tool_results=[result("z", "x")]), "tool result without a call of its id"),
    ],
)
def test_a_malformed_row_is_named_and_the_rest_imported(bad: object, cause: str) -> None:
    problems = Problems()
    rows = [
        ASKS,
        row(2, "assistant", content="done"),
        bad,
        row(5, "user", content="x"),
        row(6, "assistant", content="y"),
    ]
    turns, _ = run(rows, problems=problems)
    assert problems.named == [f"0.jsonl:3: {cause}"]
    assert [turn["turn"] for turn in turns] == [0, 1]
    with pytest.raises(ImportingError, match=r"0\.jsonl:3"):
        run(rows)


def test_a_row_apart_from_its_conversation_is_named() -> None:
    problems = Problems()
    turns, _ = run([*CONVERSATION, {**ASKS, "conversation_id": "c2"}, row(7, "user", content="x")], problems=problems)
    assert problems.named == ["0.jsonl:8: row apart from the others of its conversation"]
    assert problems.left_out == {"messages without an answer after them": 1}
    assert len(turns) == 3


@pytest.mark.parametrize("delay", [-1.0, "soon", True])
def test_a_delay_that_is_none_is_named_and_taken_as_no_delay(delay: object) -> None:
    problems = Problems()
    turns, calls = run(
        [*CONVERSATION[:2], {**CONVERSATION[2], "delay_seconds": delay}, CONVERSATION[3]], problems=problems
    )
    assert problems.skipped == {"delay_seconds is negative or no number: taken as 0": 1}
    assert {call["duration_s"] for call in calls} == {0.0}
    assert turns[1]["arrival_s"] == turns[0]["finish_s"]


def test_a_file_is_imported_with_its_metadata_left_out(tmp_path: Path) -> None:
    lines = [{"_type": "dataset_metadata", "version": 1}, *CONVERSATION]
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, lines)))
    summary = import_traces("mlperf-agentic", [tmp_path / "set.jsonl"], tmp_path / "out", strict=True)
    assert (summary.turns, summary.tool_calls, summary.sessions, summary.agents) == (3, 2, 1, 0)
    assert summary.left_out == {"rows about the whole set": 1}
    assert {row["source"] for row in read_table(tmp_path / "out", "turns").to_pylist()} == {"mlperf-agentic"}
