from pathlib import Path

import pyarrow as pa
import pytest

from augserve.data.tables.files import read_table, rows_to_table, write_table
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.step_times.steps import RecordedSteps

from .recording import FLAT, STEEP, record


def test_steps_that_are_scheduled_ahead_tell_of_asynchronous_scheduling(tmp_path: Path) -> None:
    for ahead in (False, True):
        assert record(tmp_path / str(ahead), FLAT, 1.0, ahead).are_scheduled_ahead is ahead


@pytest.mark.parametrize("ahead", [False, True])
def test_a_step_takes_the_time_until_the_next_one_begins_to_run(tmp_path: Path, ahead: bool) -> None:
    steps = record(tmp_path / "steps", STEEP, 1.0, ahead)
    known = steps.known()
    sizes = zip(*(column.astype(int).tolist() for column in (known.prefill_tokens, known.decodes)), strict=True)
    expected_s = [STEEP.step_s(*size, context) for size, context in zip(sizes, known.context_tokens, strict=True)]
    assert known.seconds == pytest.approx(expected_s, rel=1e-4)


def test_of_several_engines_the_steps_of_the_busiest_count(tmp_path: Path) -> None:
    alone = record(tmp_path / "alone", STEEP, 1.7)
    table = read_table(tmp_path / "alone", "steps")
    parts = {"0-aa": table.slice(0, 120), "0-bb": table.slice(120), "1-cc": table.slice(50, 90)}
    for engine, rows in parts.items():
        named = rows.set_column(rows.schema.get_field_index("engine"), "engine", pa.array([engine] * len(rows)))
        write_table(tmp_path / "both" / f"steps-{engine}.parquet", "steps", named)
    write_table(tmp_path / "both" / "turns.parquet", "turns", rows_to_table("turns", []))
    both = RecordedSteps.read(tmp_path / "both")
    assert both.columns["start_s"].tolist() == alone.columns["start_s"].tolist()


def test_too_few_steps_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="too few") as caught:
        record(tmp_path / "few", FLAT, 1.0, count=10)
    assert "\n" not in str(caught.value)
