import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from augserve.data.tables.files import read_table, rows_to_table, write_table
from augserve.pipeline.profile.engines import BUILT_IN
from augserve.pipeline.profile.own import WORST_ERROR, named, own_engine, refuse_taken
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import StageError

from ..step_times.recording import FLAT, record


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A project with the set `mine`, whose engine takes 1.5 times as long as FLAT."""
    folder = tmp_path / paths.TRACES / "mine"
    folder.parent.mkdir(parents=True)
    record(folder, FLAT, 1.5)
    turn = {"source": "mine", "session_id": "s", "turn": 0, "arrival_s": 1.0, "prompt_tokens": 3_000}
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", [turn | {"output_tokens": 100}]))
    return tmp_path


def with_times(root: Path, noise: float) -> None:
    """Steps that start at other times, with a random factor on each step's time."""
    path = root / paths.TRACES / "mine" / "steps.parquet"
    steps = read_table(path, "steps")
    times_s = steps.column("step_s").to_numpy() * np.random.default_rng(2).lognormal(0.0, noise, len(steps))
    changed = {"step_s": times_s, "start_s": np.append(0.0, np.cumsum(times_s))[:-1]}
    for name, values in changed.items():
        steps = steps.set_column(steps.schema.get_field_index(name), name, pa.array(values))
    write_table(path, "steps", steps)


def test_the_engine_of_a_set_is_a_profile_with_the_set_s_name(recorded: Path) -> None:
    engine = own_engine("mine", [FLAT], recorded)
    assert engine is not None
    profile = named("mine", engine)
    assert (profile.name, engine.profile.name) == ("mine", "flat")
    assert engine.factor == pytest.approx(1.5, rel=1e-3)
    assert profile.residual["median_relative_error"] == engine.median_error < 0.01
    assert profile.step_s(100, 5, 1_000) == pytest.approx(1.5 * FLAT.step_s(100, 5, 1_000), rel=1e-2)
    assert profile.limits.kv_tokens == pytest.approx(50_000, rel=1e-3)


def test_moderate_noise_is_no_bad_fit(recorded: Path) -> None:
    with_times(recorded, noise=0.2)
    assert own_engine("mine", [FLAT], recorded) is not None


@pytest.mark.parametrize("problem", ["no steps", "few steps", "bad fit"])
def test_steps_that_do_not_tell_the_engine_are_one_line_that_names_the_set(
    recorded: Path, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = recorded / paths.TRACES / "mine"
    steps = folder / "steps.parquet"
    if problem == "no steps":
        steps.unlink()
    elif problem == "few steps":
        write_table(steps, "steps", read_table(steps, "steps").slice(0, 20))
    else:
        with_times(recorded, noise=4 * WORST_ERROR)
    with caplog.at_level(logging.WARNING):
        assert own_engine("mine", [FLAT], recorded) is None
    (line,) = caplog.messages
    assert str(folder) in line
    assert "params.yaml" in line
    assert "\n" not in line


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_set_with_the_name_of_a_profile_is_refused(name: str) -> None:
    refuse_taken(["mine"])
    with pytest.raises(StageError, match=repr(name)) as caught:
        refuse_taken(["mine", name])
    assert "\n" not in str(caught.value)
