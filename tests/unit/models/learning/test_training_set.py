import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.learning.training_set import (
    PARTS,
    TrainingError,
    TrainingSet,
    read_training_set,
    split_sessions,
    write_training_set,
)
from augserve.models.serving.target import OUTPUT_LENGTH, TOOL_DURATION

MakeSet = Callable[..., TrainingSet]


def test_training_set_round_trip(tmp_path: Path, make_set: MakeSet) -> None:
    data, path = make_set(OUTPUT_LENGTH), tmp_path / "set.parquet"
    write_training_set(path, data)
    read = read_training_set(path, OUTPUT_LENGTH)
    for column in ("rows", "values", "sources", "sessions", "parts", "groups"):
        np.testing.assert_array_equal(getattr(read, column), getattr(data, column))


def test_an_empty_table_is_refused(make_set: MakeSet) -> None:
    with pytest.raises(TrainingError, match="output_length: no rows to learn from"):
        make_set(OUTPUT_LENGTH).select(np.zeros(400, bool))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_invalid_value_is_refused(make_set: MakeSet, value: float) -> None:
    data = make_set(OUTPUT_LENGTH)
    values = data.values.copy()
    values[3] = value
    with pytest.raises(TrainingError, match="1 of 400 values are NaN, infinite or negative"):
        dataclasses.replace(data, values=values)


def test_features_of_another_target_or_release_are_refused(tmp_path: Path, make_set: MakeSet) -> None:
    path = tmp_path / "set.parquet"
    write_training_set(path, make_set(OUTPUT_LENGTH))
    with pytest.raises(TrainingError, match="made for another target"):
        read_training_set(path, TOOL_DURATION)
    table = pq.ParquetFile(path).read()
    metadata = dict(table.schema.metadata) | {b"augserve.features_version": b"0"}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(TrainingError, match="feature version"):
        read_training_set(path, OUTPUT_LENGTH)


def test_missing_or_invalid_file_raises_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="run `dvc repro prepare`"):
        read_training_set(tmp_path / "nowhere.parquet", OUTPUT_LENGTH)
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(TrainingError, match="not a readable training table"):
        read_training_set(tmp_path / "bad.parquet", OUTPUT_LENGTH)


@given(
    sessions=st.sets(st.text(max_size=6), min_size=3, max_size=60),
    validation=st.floats(0.01, 0.32),
    test=st.floats(0.01, 0.32),
)
def test_every_session_is_in_one_part_and_no_part_is_empty(sessions: set[str], validation: float, test: float) -> None:
    keys = [("made", session) for session in sessions]
    parts = split_sessions(keys, validation, test)
    assert set(parts) == set(keys)
    assert set(parts.values()) == set(PARTS)
    assert parts == split_sessions(reversed(keys), validation, test)


def test_a_source_of_a_single_session_is_refused() -> None:
    with pytest.raises(TrainingError, match="source 'small' has 1 sessions"):
        split_sessions([("small", "a"), *(("large", str(index)) for index in range(9))], 0.15, 0.2)


def test_split_of_a_source_ignores_other_sources() -> None:
    keys = [("small", str(index)) for index in range(3)] + [("large", str(index)) for index in range(300)]
    parts = split_sessions(keys, 0.15, 0.2)
    assert {part for (source, _), part in parts.items() if source == "small"} == set(PARTS)
    assert sum(part == "test" for (source, _), part in parts.items() if source == "large") in range(45, 76)


def test_small_source_has_heavier_rows_and_less_total_weight(make_set: MakeSet) -> None:
    data = make_set(OUTPUT_LENGTH)
    sources = np.array(["small"] * 4 + ["large"] * 396)
    weights = dataclasses.replace(data, sources=sources).weights
    assert np.isclose(weights.mean(), 1)
    assert weights[0] > weights[-1]
    assert weights[:4].sum() < weights[4:].sum()


def test_sessions_of_one_split_group_are_in_one_part() -> None:
    keys = [("made", str(index)) for index in range(60)]
    groups = {key: f"conversation {int(key[1]) % 20}" for key in keys}
    parts = split_sessions(keys, 0.15, 0.2, groups)
    assert len({(groups[key], part) for key, part in parts.items()}) == 20
    assert set(parts.values()) == set(PARTS)


def test_rows_of_unequal_width_are_refused(tmp_path: Path, make_set: MakeSet) -> None:
    path = tmp_path / "set.parquet"
    write_training_set(path, make_set(OUTPUT_LENGTH))
    table = pq.ParquetFile(path).read()
    rows = table.column("features").to_pylist()
    rows[0].append(rows[1].pop())
    at = table.schema.get_field_index("features")
    features = pa.array(rows, pa.list_(pa.float32()))
    pq.write_table(table.set_column(at, table.schema.field(at), features), path)
    with pytest.raises(TrainingError, match="a row has not"):
        read_training_set(path, OUTPUT_LENGTH)
