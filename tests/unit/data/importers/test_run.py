import csv
import io
import json
import lzma
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augserve.data.importers.reading.problems import ImportingError
from augserve.data.importers.run import import_traces
from augserve.data.tables.files import read_table, rows_to_table, write_table
from augserve.pipeline.cli.__main__ import main
from augserve.pipeline.prepare.training_turns import read_training_turns

REAL = Path(__file__).parents[5] / "shared" / "data"
PUBLIC = {
    "infercept": ("infercept-mix", 2054, 1841, 397),
    "mooncake": ("mooncake-conv", 12031, 0, 12031),
    "azure": ("azure-conv", 19366, 0, 19366),
}
SECONDS = st.floats(0, 6e5)  # below 7 days
TOKENS = st.integers(0, 1 << 20)


def turns(folder: Path) -> list[dict[str, object]]:
    return list(read_table(folder, "turns").to_pylist())


def calls(folder: Path) -> list[dict[str, object]]:
    return list(read_table(folder, "tool_calls").to_pylist())


@given(st.lists(st.tuples(st.integers(0, 10**9), TOKENS, TOKENS), min_size=1, max_size=20))
@settings(deadline=None, max_examples=25)
def test_mooncake_loses_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("m")
    lines = [
        json.dumps({"timestamp": a, "input_length": p, "output_length": o, "hash_ids": []}) for a, p, o in requests
    ]
    (folder / "t.jsonl.xz").write_bytes(lzma.compress("\n".join(lines).encode()))
    summary = import_traces("mooncake", [folder], folder / "out")
    found = [(row["arrival_s"], row["prompt_tokens"], row["output_tokens"]) for row in turns(folder / "out")]
    assert found == [(a / 1000, p, o) for a, p, o in requests]
    assert summary.turns == summary.sessions == len(requests)
    assert not summary.skipped


@given(st.lists(st.tuples(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)), TOKENS, TOKENS), min_size=1))  # noqa: DTZ001
@settings(deadline=None, max_examples=25)
def test_azure_loses_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[datetime, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("a")
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
    rows.writerows([f"{at:%Y-%m-%d %H:%M:%S.%f}0", prompt, output] for at, prompt, output in requests)
    (folder / "t.csv").write_text(text.getvalue())
    import_traces("azure", [folder / "t.csv"], folder / "out")
    found = turns(folder / "out")
    assert [(row["prompt_tokens"], row["output_tokens"]) for row in found] == [(p, o) for _, p, o in requests]
    expected = [at.replace(tzinfo=UTC).timestamp() for at, _, _ in requests]
    assert [row["arrival_s"] for row in found] == pytest.approx(expected, abs=1e-6)


@given(
    st.dictionaries(
        st.text(), st.lists(st.tuples(TOKENS, TOKENS, SECONDS, TOKENS), min_size=1, max_size=5), min_size=1, max_size=8
    )
)
@settings(deadline=None, max_examples=25)
def test_infercept_keeps_order_and_durations(
    tmp_path_factory: pytest.TempPathFactory, sessions: dict[str, list[tuple[int, int, float, int]]]
) -> None:
    folder = tmp_path_factory.mktemp("i")
    names = ("prompt_tokens", "completion_tokens", "api_time", "api_token_length")
    value = {key: [dict(zip(names, part, strict=True)) for part in parts] for key, parts in sessions.items()}
    (folder / "t.json").write_text(json.dumps(value))
    summary = import_traces("infercept", [folder / "t.json"], folder / "out")
    found = [
        (row["session_id"], row["turn"], row["prompt_tokens"], row["output_tokens"]) for row in turns(folder / "out")
    ]
    assert found == [(key, turn, *part[:2]) for key, parts in sessions.items() for turn, part in enumerate(parts)]
    durations = [(row["session_id"], row["duration_s"], row["result_tokens"]) for row in calls(folder / "out")]
    assert durations == [(key, *part[2:]) for key, parts in sessions.items() for part in parts]
    assert summary.sessions == len(sessions)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.text(), SECONDS, TOKENS), min_size=1, max_size=30))
@settings(deadline=None, max_examples=25)
def test_own_recordings_come_through_unchanged(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, float, int]]
) -> None:
    folder = tmp_path_factory.mktemp("own")
    table = rows_to_table(
        "turns",
        [
            {"source": source, "session_id": session, "turn": number, "arrival_s": number + at, "prompt_tokens": tokens}
            | {"output_tokens": tokens, "features": [float(tokens)], "tail_counts": [number]}
            for number, (source, session, at, tokens) in enumerate(rows)
        ],
    ).sort_by("arrival_s")
    write_table(folder / "in" / "turns-0.parquet", "turns", table)
    import_traces("augserve", [folder / "in"], folder / "out")
    assert read_table(folder / "out", "turns") == table
    import_traces("augserve", [folder / "in"], folder / "named", source="mine")
    assert {row["source"] for row in turns(folder / "named")} == {"mine"}


def test_a_session_that_came_back_after_a_restart_is_imported_whole(
    tmp_path: Path,
) -> None:
    turn = {"source": "live", "session_id": "s", "prompt_tokens": 5, "output_tokens": 2, "finish_reason": "stop"}
    call = {"source": "live", "session_id": "s", "call": 0, "tool": "sql", "duration_s": 1.0, "timing": "call"}
    for began_s in (10.0, 500.0):
        rows = [turn | {"turn": n, "arrival_s": began_s + 5 * n, "finish_s": began_s + 5 * n + 1} for n in range(3)]
        write_table(tmp_path / f"in/turns-{began_s:.0f}.parquet", "turns", rows_to_table("turns", rows))
        made = rows_to_table("tool_calls", [call | {"turn": n, "start_s": began_s + 5 * n + 1} for n in range(2)])
        write_table(tmp_path / f"in/tool_calls-{began_s:.0f}.parquet", "tool_calls", made)
    summary = import_traces("augserve", [tmp_path / "in"], tmp_path / "out", strict=True)
    assert (summary.turns, summary.tool_calls, summary.skipped) == (6, 4, {})
    found, recorded = read_training_turns([tmp_path / "out"]), read_training_turns([tmp_path / "in"])
    assert [turn.past for turn in found] == [turn.past for turn in recorded]
    assert [(one.past.session_id, len(one.past.pause.calls)) for one in found if one.past.pause] == [
        *(("s", 1), ("s", 1), ("s#1", 1), ("s#1", 1))
    ]


def test_a_row_that_was_recorded_into_two_files_is_imported_once(tmp_path: Path) -> None:
    row = {"source": "live", "session_id": "s", "turn": 0, "arrival_s": 1.0, "prompt_tokens": 5, "output_tokens": 2}
    for number in range(2):
        write_table(tmp_path / f"in/turns-{number}.parquet", "turns", rows_to_table("turns", [row]))
    summary = import_traces("augserve", [tmp_path / "in"], tmp_path / "out")
    assert (summary.turns, summary.skipped) == (1, {"duplicate session and turn": 1})


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_sets_are_imported_whole(tmp_path: Path, name: str) -> None:
    folder, turn_count, call_count, sessions = PUBLIC[name]
    if not (REAL / folder).is_dir():
        pytest.skip("the public traces are not here")
    summary = import_traces(name, [REAL / folder], tmp_path / "out", strict=True)
    assert (summary.turns, summary.tool_calls, summary.sessions) == (turn_count, call_count, sessions)
    assert summary.turns == len(turns(tmp_path / "out"))
    if name == "infercept":
        assert summary.tools.loc["ve", "p50_s"] == pytest.approx(0.086, abs=0.01)
        assert summary.tools.loc["image", "p50_s"] == pytest.approx(11.5, abs=1)


REQUEST = '{"timestamp": 1, "input_length": 2, "output_length": 3}\n'


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    path.write_text(REQUEST + "nonsense\n" + REQUEST)
    return path


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr, beside the progress bar."""
    with pytest.raises(SystemExit) as ended:
        main(["import", *map(str, arguments)])
    assert ended.value.code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_the_command_prints_imported_and_skipped_records(
    tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["import", "mooncake", str(trace), "--out", str(tmp_path / "out"), "--source", "mine"])
    printed = capsys.readouterr().out
    assert "2 turns of 2 sessions, 0 tool calls, 0 steps" in printed
    assert "skipped: not valid JSON: 1" in printed
    assert f"{trace}:2: not valid JSON" in printed
    assert {row["source"] for row in turns(tmp_path / "out")} == {"mine"}


def test_an_estimate_of_tokens_is_named_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.json").write_text('{"s": [{"prompt": "a text", "completion": "b"}]}')
    main(["import", "infercept", str(tmp_path / "t.json"), "--out", str(tmp_path / "out")])
    assert "ESTIMATED" in capsys.readouterr().out


def test_strict_leaves_no_folder_behind(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, "mooncake", trace, "--out", tmp_path / "out", "--strict")
    assert message.startswith(f"error: {trace}:2")
    assert list(tmp_path.iterdir()) == [trace]


def test_a_truncated_file_leaves_no_folder_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.jsonl.xz"
    path.write_bytes(lzma.compress(REQUEST.encode() * 100)[:-10])
    assert str(path) in fails(capsys, "mooncake", path, "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


def test_a_wrong_argument_is_named_in_one_line(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert "moon" in fails(capsys, "moon", trace, "--out", out)
    assert str(tmp_path / "no") in fails(capsys, "mooncake", tmp_path / "no", "--out", out)
    (tmp_path / "empty").mkdir()
    assert ".jsonl" in fails(capsys, "mooncake", tmp_path / "empty", "--out", out)
    assert str(tmp_path) in fails(capsys, "mooncake", trace, "--out", tmp_path)
    assert str(trace) in fails(capsys, "mooncake", trace, "--out", trace)
    blocked = trace / "below" / "a" / "file"
    assert str(blocked) in fails(capsys, "mooncake", trace, "--out", blocked)
    assert "no.json" in fails(capsys, "mooncake", trace, "--out", out, "--tokenizer", tmp_path / "no.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_line(
    tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot be written" in fails(capsys, "mooncake", trace, "--out", tmp_path / "locked" / "out")


def test_a_file_without_any_record_is_an_error_that_names_the_first_problem(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("nonsense\n")
    with pytest.raises(ImportingError, match=r"mooncake.*t\.jsonl:1"):
        import_traces("mooncake", [path], tmp_path / "out")


def test_duplicate_sessions_are_named_once_each(tmp_path: Path) -> None:
    segment = '[{"prompt_tokens": 1, "completion_tokens": 2}]'
    (tmp_path / "t.json").write_text(f'{{"s": {segment}, "s": {segment}}}')
    summary = import_traces("infercept", [tmp_path / "t.json"], tmp_path / "out")
    assert (summary.turns, summary.skipped) == (1, {"duplicate session and turn": 1})
    assert "session 's'" in summary.named[0]
