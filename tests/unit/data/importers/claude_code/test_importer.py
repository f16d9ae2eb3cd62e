import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augserve.data.importers.claude_code.importer import OPEN_SESSIONS, import_records, task_group
from augserve.data.importers.contract import Context, Record
from augserve.data.importers.reading.members import Member, open_members
from augserve.data.importers.reading.problems import ImportingError, Problems
from augserve.data.tables.tool_arguments import text_hash

REAL = Path(__file__).parents[6] / "shared" / "data" / "claude-code-swe" / "sessions.tar.xz"


class Words:
    """Counts words; a word's id is its length."""

    def __init__(self, exact: bool = True) -> None:
        self.exact = exact

    def count(self, text: str) -> int:
        return len(text.split())

    def ids(self, text: str) -> list[int]:
        return [len(word) for word in text.split()]


def at(second: float) -> str:
    return f"2026-02-07T01:00:{second:06.3f}Z"


def user(second: float, content: object, uuid: str, **more: object) -> dict[str, Any]:
    return {
        "type": "user",
        "sessionId": "s",
        "uuid": uuid,
        "timestamp": at(second),
        "message": {"role": "user", "content": content},
        **more,
    }


def said(second: float, message: str, block: dict[str, Any], uuid: str, **more: Any) -> dict[str, Any]:
    told = {key: more.pop(key) for key in ("usage", "stop_reason", "model") if key in more}
    return {
        "type": "assistant",
        "sessionId": "s",
        "uuid": uuid,
        "timestamp": at(second),
        "message": {"id": message, "role": "assistant", "model": "m", "content": [block], **told},
        **more,
    }


def use(call: str, tool: str = "Bash", **arguments: object) -> dict[str, Any]:
    return {"type": "tool_use", "id": call, "name": tool, "input": arguments}


def result(call: str, text: str = "ok") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call, "content": text}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def run(
    *files: Sequence[object], problems: Problems | None = None, exact: bool = True, name: str = "a.jsonl"
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Turns and calls of files, each given as lines: JSON values, or bytes as they are."""
    return run_files([(name, lines) for lines in files], problems, exact)


def run_files(
    files: Sequence[tuple[str, Sequence[object]]], problems: Problems | None = None, exact: bool = True
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    members = []
    for name, lines in files:
        data = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        members.append(Member(name, io.BytesIO(data)))
    context = Context(problems or Problems(strict=True), Words(exact))
    return tables(list(import_records(members, context)))


def tables(records: Sequence[Record]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    turns: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for name, row in records:
        if name == "tool_calls":
            assert (row["session_id"], row["turn"]) in {(turn["session_id"], turn["turn"]) for turn in turns}
        (turns if name == "turns" else calls).append(dict(row))
    return turns, calls


USAGE = {"input_tokens": 5, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 100, "output_tokens": 1}
SESSION = [
    {"type": "summary", "summary": "a title"},
    user(0, "please fix this", "u1"),
    said(2, "m1", text("I will look at these files"), "a1", usage=USAGE),
    said(2.5, "m1", use("c1", command="cd /x && pytest -q"), "a2", usage=USAGE),
    said(3, "m1", use("c2", "Read", file_path="/x/y.py"), "a3", usage=USAGE, stop_reason="tool_use"),
    user(3.5, [result("c2", "def f pass")], "u2"),
    user(7.5, [result("c1", "1 passed in 4 s")], "u3"),
    said(9, "m2", text("done"), "a4", usage={"input_tokens": 150, "output_tokens": 40}, stop_reason="end_turn"),
]


def test_records_of_one_message_are_one_turn() -> None:
    problems = Problems()
    turns, _ = run(SESSION, problems=problems)
    first, second = turns
    seconds = [row["arrival_s"] - turns[0]["arrival_s"] for row in turns]
    assert seconds == pytest.approx([0, 7.5])  # the last of the parallel results is what the second answers
    assert first["finish_s"] - first["arrival_s"] == pytest.approx(3)
    assert second["finish_s"] - second["arrival_s"] == pytest.approx(1.5)
    assert (first["session_id"], first["turn"], first["model"], first["request_id"]) == ("s", 0, "m", "m1")
    assert (first["prompt_tokens"], first["cached_tokens"], first["finish_reason"]) == (125, 100, "stop")
    assert (second["prompt_tokens"], second["cached_tokens"], second["finish_reason"]) == (150, None, "stop")
    assert (first["tool_called"], second["tool_called"]) == ("Bash", None)
    assert problems.left_out == {"records of type summary": 1}
    assert not problems.skipped


def test_an_output_length_that_the_text_belies_is_counted() -> None:
    turns, _ = run(SESSION)
    words = ["I will look at these files", 'Bash {"command": "cd /x && pytest -q"}', 'Read {"file_path": "/x/y.py"}']
    assert turns[0]["output_tokens"] == len(" ".join(words).split())  # its usage says 1
    assert turns[1]["output_tokens"] == 40  # its usage may be right: thinking is not always in the file


def test_parallel_calls_are_rows_of_their_own() -> None:
    _, calls = run(SESSION)
    by_number = sorted(calls, key=lambda row: row["call"])
    assert [(row["turn"], row["call"], row["tool"], row["timing"]) for row in by_number] == [
        (0, 0, "Bash", "call"),
        (0, 1, "Read", "call"),
    ]
    assert [row["duration_s"] for row in by_number] == pytest.approx([5.0, 0.5])
    assert [row["argument_head"] for row in by_number] == [text_hash("pytest"), text_hash("y.py")]
    assert [row["argument_count"] for row in by_number] == [1, 1]
    assert [row["result_tokens"] for row in by_number] == [5, 3]


def test_results_that_stand_out_of_order_are_answered_after_the_latest() -> None:
    turns, _ = run([*SESSION[:5], SESSION[6], SESSION[5], SESSION[7]])
    assert turns[1]["arrival_s"] - turns[0]["arrival_s"] == pytest.approx(7.5)


def test_the_tail_is_what_the_prompt_ends_with() -> None:
    turns, _ = run(SESSION)
    assert [sum(turn["tail_counts"]) for turn in turns] == [2 * 3 - 1, 2 * 5 - 1]  # uni- and bigrams
    long = [user(0, "word " * 5000, "u"), said(1, "m1", text("ok"), "a")]
    assert sum(run(long)[0][0]["tail_counts"]) == 2 * 48 - 1
    assert run(long, exact=False)[0][0]["tail_counts"] is None


def test_without_usage_the_text_so_far_is_counted() -> None:
    turns, _ = run(
        [
            user(0, "one two three", "u1"),
            said(1, "m1", text("four five"), "a1"),
            user(2, "six", "u2"),
            said(3, "m2", text("seven"), "a2"),
            user(4, "the story so far", "u3", isCompactSummary=True),
            said(5, "m3", text("eight"), "a3"),
        ]
    )
    assert [turn["prompt_tokens"] for turn in turns] == [3, 6, 4]
    assert [turn["output_tokens"] for turn in turns] == [2, 1, 1]


def test_sub_agents_are_child_sessions() -> None:
    agent: dict[str, Any] = {"isSidechain": True}
    problems = Problems(strict=True)
    turns, calls = run(
        [
            user(0, "go", "u1"),
            said(1, "m1", use("t1", "Task", prompt="look"), "a1"),
            user(1.1, "look", "x1", **agent),
            user(1.1, "look there", "y1", **agent),
            said(2, "n1", use("c1", "Grep", pattern="p"), "x2", parentUuid="x1", **agent),
            said(2.5, "o1", text("nothing"), "y2", parentUuid="y1", **agent),
            user(3, [result("c1")], "x3", parentUuid="x2", **agent),
            said(4, "n2", text("found"), "x4", parentUuid="x3", **agent),
            user(5, [result("t1", "found")], "u2"),
            said(6, "m2", text("done"), "a2"),
        ],
        problems=problems,
    )
    sessions = defaultdict(list)
    for turn in turns:
        sessions[turn["session_id"]].append(turn["turn"])
    assert sessions == {"s": [0, 1], "s/agent-1": [0, 1], "s/agent-2": [0]}
    assert {turn["split_group"] for turn in turns} == {"s"}
    assert {(call["session_id"], call["tool"]): pytest.approx(call["duration_s"]) for call in calls} == {
        ("s", "Task"): 4.0,
        ("s/agent-1", "Grep"): 1.0,
    }
    assert parents(turns) == {"s": None, "s/agent-1": "s", "s/agent-2": "s"}
    assert agents(calls) == {("s", 0, 0): "s/agent-1", ("s/agent-1", 0, 0): None}
    assert problems.left_out == {"sub-agents whose call is not known": 1}  # the second


def parents(turns: list[dict[str, Any]]) -> dict[str, str | None]:
    return {turn["session_id"]: turn["parent_session_id"] for turn in turns}


def agents(calls: list[dict[str, Any]]) -> dict[tuple[str, int, int], str | None]:
    """The sub-agent of each call, by session, turn and call."""
    return {(call["session_id"], call["turn"], call["call"]): call["agent_session_id"] for call in calls}


def chain(second: float, name: str, prompt: str, **more: Any) -> list[dict[str, Any]]:
    """The records of a sub-agent of one turn."""
    more = {"isSidechain": True, **more}
    return [
        user(second, prompt, f"{name}1", **more),
        said(second + 0.5, f"{name}m", text("found"), f"{name}2", parentUuid=f"{name}1", **more),
    ]


def test_parallel_sub_agents_are_told_apart_by_their_prompts() -> None:
    turns, calls = run(
        [
            user(0, "go", "u1"),
            said(1, "m1", use("t0", "Task"), "a0"),  # refused: it has no prompt
            user(1.1, [result("t0", "InputValidationError")], "u0"),
            said(2, "m1", use("t1", "Task", prompt="first"), "a1"),
            said(2, "m1", use("t2", "Task", prompt="second"), "a2"),
            said(2, "m1", use("t3", "Agent", prompt="third"), "a3"),
            *chain(3, "y", "second"),
            *chain(3, "x", "first"),
            *chain(4, "z", "third, rewritten"),  # by then the only call without a sub-agent
            user(5, [result("t1")], "u2"),
            user(5, [result("t2")], "u3"),
            user(5, [result("t3")], "u4"),
        ]
    )
    assert parents(turns) == {"s": None, **dict.fromkeys(("s/agent-1", "s/agent-2", "s/agent-3"), "s")}
    expected = {0: None, 1: "s/agent-2", 2: "s/agent-1", 3: "s/agent-3"}
    assert agents(calls) == {("s", 0, call): agent for call, agent in expected.items()}


def test_a_sub_agent_within_a_sub_agent_is_its_child() -> None:
    start = user(2, "outer", "x1", isSidechain=True)
    asks = said(3, "n1", use("t2", "Task", prompt="inner"), "x2", parentUuid="x1", isSidechain=True)
    gets = user(6, [result("t2")], "x3", parentUuid="x2", isSidechain=True)
    begin = [user(0, "go", "u1"), said(1, "m1", use("t1", "Task", prompt="outer"), "a1")]
    turns, calls = run([*begin, start, asks, *chain(4, "y", "inner"), gets, user(7, [result("t1")], "u2")])
    assert parents(turns) == {"s": None, "s/agent-1": "s", "s/agent-2": "s/agent-1"}
    assert agents(calls) == {("s", 0, 0): "s/agent-1", ("s/agent-1", 0, 0): "s/agent-2"}


@pytest.mark.parametrize("own_first", [False, True])
@pytest.mark.parametrize("folder", ["p", "p/s/subagents", "p/subagents"])
def test_sub_agents_in_files_of_their_own_belong_to_the_session_beside_them(folder: str, own_first: bool) -> None:
    finished = {"toolUseResult": {"status": "completed", "agentId": "a1b2"}}
    main = [
        user(0, "go", "u1"),
        said(1, "m1", use("t1", "Task", prompt="look"), "a1"),
        user(5, [result("t1", "found")], "u2", **finished),
        said(6, "m2", text("done"), "a2"),
    ]
    named = [("p/s.jsonl", main), (f"{folder}/agent-a1b2.jsonl", chain(2, "x", "look", agentId="a1b2"))]
    other = [("q/s.jsonl", main)]  # another attempt, with the same ids
    turns, calls = run_files([*(named[::-1] if own_first else named), *other])
    assert parents(turns) == {"s": None, "s/a1b2": "s", "s:2": None}
    assert agents(calls) == {("s", 0, 0): "s/a1b2", ("s:2", 0, 0): "s:2/a1b2"}
    assert {turn["split_group"] for turn in turns} == {"s"}


def test_a_sub_agents_own_file_is_of_the_group_of_its_attempt() -> None:
    folder = "x/owner__name-12/attempt_1"
    files = [
        (f"{folder}/s/subagents/agent-a.jsonl", chain(0, "x", "look", agentId="a")),
        (f"{folder}/s.jsonl", SESSION),
    ]
    assert {turn["split_group"] for turn in run_files(files)[0]} == {"owner__name"}


def test_a_compacted_conversation_stays_one_session() -> None:
    turns, _ = run([*GOOD, user(3, "the story so far", "u3", isCompactSummary=True), said(4, "m2", text("on"), "a2")])
    assert [(turn["session_id"], turn["turn"]) for turn in turns] == [("s", 0), ("s", 1)]


def test_a_session_id_that_a_later_file_repeats_is_told_apart() -> None:
    turns, _ = run(SESSION, SESSION, name="all/owner__name-12/attempt_1/trace.jsonl", problems=Problems())
    assert [(turn["session_id"], turn["turn"]) for turn in turns] == [("s", 0), ("s", 1), ("s:2", 0), ("s:2", 1)]
    assert {turn["split_group"] for turn in turns} == {"owner__name"}


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("x.tar.xz/experiments/haiku/dask__dask-5510/attempt_2/trace.jsonl", "dask__dask"),
        ("tasks/a task/run-3/x.jsonl", "a task"),
        ("/home/me/.claude/projects/-home-me-project/1234.jsonl", None),
        ("trace.jsonl", None),
    ],
)
def test_attempts_at_a_repositorys_tasks_are_one_group(name: str, group: str | None) -> None:
    assert task_group(name) == group


def test_many_sessions_of_one_file_are_read_with_bounded_state() -> None:
    lines = []
    for number in range(3 * OPEN_SESSIONS):
        lines += [
            {**user(0, "go", f"u{number}"), "sessionId": f"s{number}"},
            {**said(1, f"m{number}", text("ok"), f"a{number}"), "sessionId": f"s{number}"},
        ]
    turns, _ = run(lines)
    assert [turn["session_id"] for turn in turns] == [f"s{number}" for number in range(3 * OPEN_SESSIONS)]


def test_a_turn_without_a_record_before_it_has_no_end() -> None:
    problems = Problems()
    turns, _ = run([said(1, "m1", text("hello"), "a1")], problems=problems)
    assert turns[0]["finish_s"] is None
    assert problems.left_out == {"turns without a record before them: their end is unknown": 1}


def test_calls_without_a_result_and_made_up_messages_are_noted() -> None:
    problems = Problems(strict=True)
    turns, calls = run(
        [
            user(0, "go", "u1"),
            said(1, "m1", use("c1", command="ls"), "a1", stop_reason="max_tokens"),
            said(2, "m2", text("API Error"), "a2", model="<synthetic>"),
        ],
        problems=problems,
    )
    assert [(turn["tool_called"], turn["finish_reason"]) for turn in turns] == [("Bash", "length")]
    assert not calls
    assert problems.left_out == {"tool calls without a result": 1, "messages that the client made up": 1}


GOOD = [user(0, "go", "u1"), said(1, "m1", use("c1", command="ls"), "a1"), user(2, [result("c1")], "u2")]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"7", "no record: not an object with a type"),
        ({"type": "assistant"}, "assistant record without a message"),
        ({**user(3, "x", "u9"), "timestamp": "soon"}, "no timestamp, or none that is ISO 8601"),
        ({**user(3, "x", "u9"), "timestamp": None}, "no timestamp, or none that is ISO 8601"),
        (user(3, 7, "u9"), "message without content"),
        (user(3, ["x"], "u9"), "content block of an unknown form"),
        (user(3, [{"type": "tool_result"}], "u9"), "tool_result without tool_use_id"),
        (said(3, "m9", {"type": "tool_use", "id": "c9", "name": "Bash"}, "a9"), "tool_use without id, name or input"),
        (user(3, [result("c9")], "u9"), "tool_result without an open tool_use"),
        (user(3, [result("c1")], "u9"), "tool_result without an open tool_use"),
        (said(3, "m1", use("c1", command="ls"), "a9"), "tool_use id of an earlier call"),
        (GOOD[1], "record of the same uuid as an earlier one"),
    ],
)
def test_a_malformed_record_is_named_and_the_rest_imported(line: object, cause: str) -> None:
    problems = Problems()
    turns, calls = run([*GOOD, line, said(4, "m2", text("done"), "a2")], problems=problems)
    assert problems.skipped == {cause: 1}
    assert problems.named == [f"a.jsonl:4: {cause}"]
    assert [turn["request_id"] for turn in turns] == ["m1", "m2"]
    assert len(calls) == 1
    with pytest.raises(ImportingError, match=r"a\.jsonl:4"):
        run([*GOOD, line], problems=Problems(strict=True))


def test_a_message_id_of_an_earlier_turn_is_a_problem() -> None:
    problems = Problems()
    turns, _ = run(
        [*GOOD, said(3, "m2", text("a"), "a2"), user(4, "b", "u3"), said(5, "m1", text("c"), "a3")], problems=problems
    )
    assert problems.skipped == {"message id of an earlier turn": 1}
    assert len(turns) == 2


def test_a_line_of_ten_megabytes_is_read() -> None:
    turns, _ = run([user(0, "word " * 2_000_000, "u1"), said(1, "m1", text("ok"), "a1")])
    assert turns[0]["prompt_tokens"] == 2_000_000


def test_arguments_nested_deeply_are_read() -> None:
    deep: Any = "x"
    for _ in range(150):
        deep = [deep]
    _, calls = run([user(0, "go", "u1"), said(1, "m1", use("c1", command=deep), "a1"), user(2, [result("c1")], "u2")])
    assert calls[0]["argument_count"] == 1


@pytest.mark.skipif(not REAL.exists(), reason="the public traces are not here")
def test_the_public_traces_have_their_published_durations() -> None:
    problems = Problems(strict=True)
    context = Context(problems, Words(exact=False))
    turns, calls = tables_of_real(context)
    assert (len(turns), len(calls)) == (3933, 4505)
    assert len({turn["session_id"] for turn in turns}) == 126  # 111 files and the sub-agents of 15 Task calls
    assert problems.left_out == {"records of type summary": 341, "messages that the client made up": 2}
    children = parents([turn for turn in turns if turn["parent_session_id"] is not None])
    assert (len(children), len(set(children.values()))) == (15, 14)
    assert children == {call["agent_session_id"]: call["session_id"] for call in calls if call["agent_session_id"]}
    local = {turn["session_id"] for turn in turns if str(turn["model"]).startswith("unsloth/GLM")}
    assert len(local) == 56
    durations: dict[tuple[bool, str], list[float]] = defaultdict(list)
    for call in calls:
        durations[call["session_id"] in local, call["tool"]].append(call["duration_s"])

    def quantiles(is_local: bool, tool: str) -> list[float]:
        return [float(value) for value in np.quantile(durations[is_local, tool], [0.5, 0.9, 1.0])]

    assert quantiles(False, "Bash") == pytest.approx([0.94, 2.6, 121], rel=0.03)
    assert quantiles(True, "Bash")[:2] == pytest.approx([6.6, 10.8], rel=0.03)
    assert quantiles(False, "Task") == pytest.approx([92, 182, 362], rel=0.01)
    assert quantiles(False, "WebSearch")[0] == pytest.approx(12.9, rel=0.01)
    assert quantiles(False, "WebFetch")[0] == pytest.approx(8.1, rel=0.01)
    assert quantiles(True, "Read")[0] == pytest.approx(0.013, abs=0.001)
    assert quantiles(False, "Read")[0] == pytest.approx(0.04, abs=0.005)
    output = [turn["output_tokens"] for turn in turns if turn["session_id"] in local]
    assert np.median(output) == pytest.approx(144, rel=0.05)


def tables_of_real(context: Context) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    turns: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for name, row in import_records(open_members([REAL], (".jsonl",)), context):
        (turns if name == "turns" else calls).append(dict(row))
    return turns, calls
