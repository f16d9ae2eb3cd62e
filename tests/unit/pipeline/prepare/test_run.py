import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from augserve.data.tables.buckets import bucketed
from augserve.data.tables.files import TraceError
from augserve.data.tables.prompt_tail import TAIL_BUCKETS, TAIL_TOKENS, tail_counts
from augserve.data.workload.mix import MIX, augmentation_sessions
from augserve.data.workload.token_ids import prompt_token_ids
from augserve.features import feature
from augserve.features.past import vectorize
from augserve.features.turn import TAIL_AT, TURN_FEATURES
from augserve.models.learning.training_set import NO_GROUP, TrainingError, read_training_set
from augserve.models.serving.target import OUTPUT_LENGTH, SESSION_REMAINING, TARGETS, TOOL_DURATION
from augserve.pipeline.prepare import run as prepare
from augserve.pipeline.prepare.mix_turns import mix_turns
from augserve.pipeline.prepare.training_turns import read_training_turns
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import ParamsError

Rows = list[dict[str, Any]]
MakeRows = Callable[[int], tuple[Rows, Rows]]
SaveTraces = Callable[[Path, Rows, Rows], None]
NAMES = [part.name for part in TURN_FEATURES]


def test_each_turn_and_call_becomes_its_rows(root: Path, make_rows: MakeRows) -> None:
    prepare.main()
    turns, calls = make_rows(20)
    sets = {target.name: read_training_set(paths.TRAINING / f"{target.name}.parquet", target) for target in TARGETS}
    gathered = {name: data.select(data.sources == "gathered") for name, data in sets.items()}
    assert sorted(gathered["output_length"].values) == sorted(row["output_tokens"] for row in turns)
    durations = sorted(2 * [row["duration_s"] for row in calls])  # of the call as made, and as expected at arrival
    np.testing.assert_allclose(sorted(gathered["tool_duration"].values), durations, atol=1e-6)
    calling = {(row["session_id"], row["turn"]) for row in calls}
    assert gathered["ends_in_tool"].values.sum() == len(calling)
    lengths = [
        max(row["turn"] for row in turns if row["session_id"] == name) for name in {row["session_id"] for row in turns}
    ]
    assert sorted(gathered["session_remaining"].values) == sorted(
        left + 1 for last in lengths for left in range(last + 1)
    )
    rows = json.loads(prepare.METRICS.read_text())["rows"]["output_length"]
    assert set(rows) == {"gathered", MIX}
    assert set(rows["gathered"]) == {"train", "validation", "test"}


def test_a_session_is_in_one_part_of_all_tables(root: Path) -> None:
    prepare.main()
    parts: dict[tuple[str, str], set[str]] = {}
    for target in TARGETS:
        data = read_training_set(paths.TRAINING / f"{target.name}.parquet", target)
        for source, session, part in zip(
            data.sources.tolist(), data.sessions.tolist(), data.parts.tolist(), strict=True
        ):
            parts.setdefault((source, session), set()).add(part)
    assert {len(found) for found in parts.values()} == {1}


def test_the_same_input_gives_the_same_tables(root: Path) -> None:
    prepare.main()
    first = {path.name: path.read_bytes() for path in paths.TRAINING.iterdir()}
    prepare.main()
    assert {path.name: path.read_bytes() for path in paths.TRAINING.iterdir()} == first


def test_traces_beyond_a_bucket_give_the_same_rows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare.main()
    first = {path.name: path.read_bytes() for path in paths.TRAINING.iterdir()}
    metrics = prepare.METRICS.read_bytes()
    monkeypatch.setattr(prepare, "bucketed", partial(bucketed, bucket_turns=10))
    prepare.main()
    assert {path.name: path.read_bytes() for path in paths.TRAINING.iterdir()} == first
    assert prepare.METRICS.read_bytes() == metrics


def test_a_larger_source_is_learned_from_a_sample_of_its_sessions(
    root: Path, make_rows: MakeRows, save_traces: SaveTraces, change_params: Callable[..., None]
) -> None:
    turns, calls = make_rows(100)
    save_traces(root / "data/traces/gathered", turns, calls)
    change_params(prepare={"mix_sessions": 0})
    prepare.main()
    whole = read_training_set(paths.TRAINING / "output_length.parquet", OUTPUT_LENGTH)
    change_params(prepare={"mix_sessions": 0, "max_turns": len(turns) // 2})
    prepare.main()
    sample = read_training_set(paths.TRAINING / "output_length.parquet", OUTPUT_LENGTH)
    kept = np.isin(whole.sessions, np.unique(sample.sessions))
    assert 0.3 * len(whole) < len(sample) < 0.7 * len(whole)
    np.testing.assert_array_equal(sample.rows, whole.rows[kept])  # all turns are history
    np.testing.assert_array_equal(sample.values, whole.values[kept])


def test_recorded_features_are_taken_as_they_are(root: Path, make_rows: MakeRows, save_traces: SaveTraces) -> None:
    turns, calls = make_rows(20)
    vector = [float(index) for index in range(len(TURN_FEATURES))]
    vector[3] = float("nan")
    turns[0] |= {"features": vector, "features_version": feature.VERSION}
    turns[1] |= {"features": vector, "features_version": feature.VERSION + 1}
    save_traces(root / "data/traces/gathered", turns, calls)
    prepare.main()
    data = read_training_set(paths.TRAINING / "output_length.parquet", OUTPUT_LENGTH)
    same = [row for row in data.rows if np.array_equal(row, np.array(vector, np.float32), equal_nan=True)]
    assert len(same) == 1
    assert json.loads(prepare.METRICS.read_text())["turns_with_rebuilt_features"] == len(turns) - 1


def test_rebuilt_features_leave_what_is_not_recorded_unknown(
    root: Path, make_rows: MakeRows, save_traces: SaveTraces
) -> None:
    turns, calls = make_rows(20)
    turns[0] |= {"max_tokens": None, "tail_counts": [3] * TAIL_BUCKETS}
    save_traces(root / "data/traces/gathered", turns, calls)
    vectors = {
        (one.past.session_id, one.past.facts.turn): one.turn_features
        for one in vectorize(turn.past for turn in read_training_turns([root / "data/traces/gathered"]))
    }
    first, other = vectors[turns[0]["session_id"], 0], vectors[turns[-1]["session_id"], 0]
    told = [NAMES.index(name) for name in ("max_tokens", "temperature", "top_p", "structured", "tools_offered")]
    assert np.isnan(first[told]).tolist() == [True, True, True, True, False]
    assert (first[TAIL_AT:] == 3).all()
    assert np.isnan(other[TAIL_AT:]).all()


def test_an_aborted_turn_teaches_no_length_and_its_session_no_end(
    root: Path, make_rows: MakeRows, save_traces: SaveTraces, change_params: Callable[..., None]
) -> None:
    turns, calls = make_rows(20)
    session = turns[0]["session_id"]
    max((row for row in turns if row["session_id"] == session), key=lambda row: row["turn"])["finish_reason"] = "abort"
    save_traces(root / "data/traces/gathered", turns, calls)
    change_params(prepare={"mix_sessions": 0})
    prepare.main()
    lengths = read_training_set(paths.TRAINING / "output_length.parquet", OUTPUT_LENGTH)
    remaining = read_training_set(paths.TRAINING / "session_remaining.parquet", SESSION_REMAINING)
    assert len(lengths) == len(turns) - 1
    assert remaining.censored[remaining.sessions == session].all()
    assert not remaining.censored[remaining.sessions == "session-2"].any()


def test_an_output_cut_at_its_limit_is_only_a_lower_bound(
    root: Path, make_rows: MakeRows, save_traces: SaveTraces, change_params: Callable[..., None]
) -> None:
    turns, calls = make_rows(20)
    turns[0] |= {"finish_reason": "length", "output_tokens": 256}
    turns[1] |= {"finish_reason": None, "output_tokens": 256}  # as many as max_tokens
    save_traces(root / "data/traces/gathered", turns, calls)
    change_params(prepare={"mix_sessions": 0})
    prepare.main()
    lengths = read_training_set(paths.TRAINING / "output_length.parquet", OUTPUT_LENGTH)
    assert lengths.values[lengths.censored].tolist() == [256, 256]
    assert json.loads(prepare.METRICS.read_text())["censored_rows"]["output_length"] == {"gathered": 2}


def test_calls_made_at_once_are_rows_of_their_own_and_one_pause(
    root: Path, make_rows: MakeRows, save_traces: SaveTraces, change_params: Callable[..., None]
) -> None:
    turns, calls = make_rows(20)
    first = calls[0]
    calls.append(first | {"call": 1, "tool": "python", "duration_s": first["duration_s"] / 2})
    save_traces(root / "data/traces/gathered", turns, calls)
    change_params(prepare={"mix_sessions": 0})
    prepare.main()
    durations = read_training_set(paths.TRAINING / "tool_duration.parquet", TOOL_DURATION)
    assert len(durations) == 2 * (len(calls) - 1) + 1
    assert np.isclose(durations.values, first["duration_s"] / 2).sum() == 1
    assert np.isclose(durations.values, first["duration_s"], atol=1e-6).sum() == 2


def test_sets_of_single_turns_tell_nothing_of_sessions(
    root: Path, make_rows: MakeRows, save_traces: SaveTraces
) -> None:
    turns, _ = make_rows(20)
    alone = [row | {"finish_s": None, "finish_reason": None} for row in turns if not row["turn"]]
    save_traces(root / "data/traces/gathered", alone, [])
    prepare.main()
    rows = json.loads(prepare.METRICS.read_text())["rows"]
    assert sum(rows["output_length"]["gathered"].values()) == len(alone)
    for target in ("session_remaining", "session_remaining_tokens", "ends_in_tool", "tool_duration"):
        assert set(rows[target]) == {MIX}


def test_sessions_of_one_split_group_are_in_one_part(root: Path, make_rows: MakeRows, save_traces: SaveTraces) -> None:
    turns, calls = make_rows(20)
    for row in turns:
        row["split_group"] = f"group {int(row['session_id'].removeprefix('session-')) // 4}"
    save_traces(root / "data/traces/gathered", turns, calls)
    prepare.main()
    data = read_training_set(paths.TRAINING / "output_length.parquet", OUTPUT_LENGTH)
    gathered = data.select(data.sources == "gathered")
    parts: dict[str, set[str]] = {}
    for group, part in zip(gathered.sessions.tolist(), gathered.parts.tolist(), strict=True):
        parts.setdefault(group, set()).add(part)
    assert set(parts) == {f"group {number}" for number in range(5)}
    assert {len(found) for found in parts.values()} == {1}


def test_a_pause_without_a_recorded_call_is_a_call_of_an_unknown_tool(
    root: Path, make_rows: MakeRows, save_traces: SaveTraces, change_params: Callable[..., None]
) -> None:
    turns, calls = make_rows(20)
    save_traces(root / "data/traces/gathered", turns, calls[1:])
    change_params(prepare={"mix_sessions": 0})
    prepare.main()
    durations = read_training_set(paths.TRAINING / "tool_duration.parquet", TOOL_DURATION).values
    assert np.isclose(durations, calls[0]["duration_s"], atol=1e-6).sum() == 2
    assert len(durations) == 2 * len(calls)


def test_generated_turns_have_the_tail_that_the_simulator_sends() -> None:
    for session in augmentation_sessions(5, 1.0, 3):
        for index, turn in enumerate(mix_turns(session)):
            ids = prompt_token_ids(session, index)
            assert turn.past.facts.prompt_tokens == len(ids)
            assert turn.past.facts.tail == tail_counts(ids[-TAIL_TOKENS:])
            assert turn.past.output_tokens == session.turns[index].output_tokens


def test_a_trace_with_a_missing_column_is_named_and_nothing_written(root: Path) -> None:
    path = root / "data/traces/gathered/turns.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["arrival_s"]), path)
    with pytest.raises(TraceError, match=r"turns\.parquet.*arrival_s"):
        prepare.main()
    assert not paths.TRAINING.exists()
    assert not prepare.METRICS.exists()


def test_empty_traces_alone_are_refused(
    root: Path, save_traces: SaveTraces, change_params: Callable[..., None]
) -> None:
    save_traces(root / "data/traces/gathered", [], [])
    change_params(prepare={"mix_sessions": 0})
    with pytest.raises(TrainingError, match="mix_sessions"):
        prepare.main()
    assert not paths.TRAINING.exists()


def test_a_single_session_is_refused(root: Path, make_rows: MakeRows, save_traces: SaveTraces) -> None:
    save_traces(root / "data/traces/gathered", *make_rows(1))
    with pytest.raises(TrainingError, match="gathered"):
        prepare.main()


@pytest.mark.parametrize(("key", "value"), [("mix_rate_per_s", -1.0), ("test_share", 0.9), ("mix_sessions", -1)])
def test_a_parameter_out_of_range_is_named(
    root: Path, change_params: Callable[..., None], key: str, value: float
) -> None:
    change_params(prepare={key: value})
    with pytest.raises(ParamsError, match=rf"prepare\.{key}"):
        prepare.main()


def test_history_over_sessions_is_that_of_one_model(
    root: Path, make_rows: MakeRows, save_traces: SaveTraces, change_params: Callable[..., None]
) -> None:
    turns, calls = make_rows(20)
    odd = [row | {"model": f"model-{int(row['session_id'].removeprefix('session-')) % 2}"} for row in turns]
    longer = [row | {"output_tokens": 5000} if row["model"] == "model-0" else row for row in odd]
    change_params(prepare={"mix_sessions": 0})
    at = NAMES.index("recent_output_log")

    def of_model_one(rows: Rows) -> np.ndarray[Any, Any]:
        save_traces(root / "data/traces/gathered", rows, calls)
        prepare.main()
        data = read_training_set(paths.TRAINING / "output_length.parquet", OUTPUT_LENGTH)
        other = np.array([int(session.removeprefix("session-")) % 2 == 1 for session in data.sessions.tolist()])
        return data.rows[other][:, at]

    np.testing.assert_array_equal(of_model_one(odd), of_model_one(longer))


def test_pauses_of_a_set_without_tool_calls_are_training_rows(
    root: Path, make_rows: MakeRows, change_params: Callable[..., None]
) -> None:
    _, calls = make_rows(20)
    (root / "data/traces/gathered/tool_calls.parquet").unlink()
    change_params(prepare={"mix_sessions": 0})
    with pytest.raises(TrainingError, match="ends_in_tool"):
        prepare.main()  # no set records tool calls; with a second set that does, this set's pauses are rows
    change_params(prepare={"mix_sessions": 40})
    prepare.main()
    durations = read_training_set(paths.TRAINING / "tool_duration.parquet", TOOL_DURATION)
    mine = durations.select(durations.sources == "gathered")
    assert set(mine.groups.tolist()) == {NO_GROUP}
    assert len(mine) == 2 * len(calls)


def test_a_session_that_the_server_met_again_after_a_restart_is_two_in_one_part(
    root: Path, make_rows: MakeRows, save_traces: SaveTraces, change_params: Callable[..., None]
) -> None:
    turns, calls = make_rows(20)
    day_s = 86_400.0
    again = [row | {"arrival_s": row["arrival_s"] + day_s, "finish_s": row["finish_s"] + day_s} for row in turns]
    save_traces(
        root / "data/traces/gathered",
        turns + again,
        calls + [row | {"start_s": row["start_s"] + day_s, "tool": "later"} for row in calls],
    )
    change_params(prepare={"mix_sessions": 0})
    prepare.main()
    remaining = read_training_set(paths.TRAINING / "session_remaining.parquet", SESSION_REMAINING)
    longest = max(row["turn"] for row in turns) + 1
    assert len(remaining) == 2 * len(turns)
    assert remaining.values.max() == longest  # not one session of both
    assert set(remaining.sessions.tolist()) == {row["session_id"] for row in turns}  # each in one part with its double
    groups = read_training_set(paths.TRAINING / "tool_duration.parquet", TOOL_DURATION).groups.tolist()
    assert groups.count("later") >= len(calls)
