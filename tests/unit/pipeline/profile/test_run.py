import csv
import json
from pathlib import Path

import pytest

from augserve.data.tables.files import rows_to_table, write_table
from augserve.pipeline.profile import run as profile
from augserve.pipeline.profile.engines import BUILT_IN, ENGINES
from augserve.pipeline.profile.own import WORST_ERROR
from augserve.pipeline.project import paths
from augserve.pipeline.simulator.profile import StepProfile

from ..step_times.recording import FLAT, record

SESSIONS = 15


def write_turns(folder):
    """Sessions of one turn each."""
    sizes = {"prompt_tokens": 600, "output_tokens": 20}
    rows = [
        {"source": "own", "session_id": f"s{number}", "turn": 0, "arrival_s": float(number), **sizes}
        for number in range(SESSIONS)
    ]
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", rows))


@pytest.fixture(scope="module")
def made(tmp_path_factory, steps_file):
    """A folder in which the stage ran, with two sets of its own. One has no steps, and had a profile before."""
    folder = tmp_path_factory.mktemp("profile")
    steps = folder / paths.GATHERED_TRACES / "steps.parquet"
    steps.parent.mkdir(parents=True)
    steps_file(steps, 200)
    data = "data: {sources: [gathered, mine, stepless], mirror: none}\n"
    (folder / "params.yaml").write_text("profile: {gpu_memory_utilization: 0.92}\n" + data)
    record(folder / paths.TRACES / "mine", FLAT, 1.5)
    for name in ("mine", "stepless"):
        write_turns(folder / paths.TRACES / name)
    (folder / paths.PROFILES).mkdir()
    (folder / paths.PROFILES / "stepless.json").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        profile.main()
    return folder


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_an_impossible_share_of_memory_is_named(share):
    with pytest.raises(ValueError, match="gpu_memory_utilization"):
        profile.ProfileParams(gpu_memory_utilization=share)


def test_the_stage_writes_a_profile_and_a_plot_for_every_engine(made):
    reports = made / "reports/profile"
    metrics = json.loads((reports / "metrics.json").read_text())
    assert set(metrics) == {*BUILT_IN, "mine"}
    for name, found in metrics.items():
        loaded = StepProfile.load(made / paths.PROFILES / f"{name}.json")
        assert (loaded.name, loaded.limits.kv_tokens) == (name, found["kv_tokens"])
        if name == "mine":
            continue
        rows = list(csv.DictReader((reports / f"{name}.csv").open()))
        assert all(float(row["measured_s"]) > 0 and float(row["fitted_s"]) > 0 for row in rows)


def test_the_profile_of_an_own_set_states_its_error_its_factor_and_the_engine_that_it_was_made_of(made):
    found = json.loads((made / "reports/profile/metrics.json").read_text())["mine"]
    assert found["nearest"] in BUILT_IN
    assert found["median_relative_error"] < WORST_ERROR
    assert found["factor"] > 0


def test_a_set_without_a_fit_has_no_profile(made):
    assert not (made / paths.PROFILES / "stepless.json").exists()


def test_step_time_is_plotted_by_context_length(made):
    rows = list(csv.DictReader((made / "reports/profile/context.csv").open()))
    assert {row["profile"] for row in rows} == set(ENGINES)
    assert {row["region"] for row in rows} == {"decode", "prefill"}
    longest = max(int(row["context_tokens"]) for row in rows if row["profile"] == "llama-3.1-8b-h100")
    assert longest > 90_000
    assert Path(made / "reports/profile/context.svg").read_text().startswith("<?xml")
