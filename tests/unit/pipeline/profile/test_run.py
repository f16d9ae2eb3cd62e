import csv
import json
from pathlib import Path

import pytest

from augserve.pipeline.profile import run as profile
from augserve.pipeline.profile.engines import ENGINES
from augserve.pipeline.project import paths
from augserve.pipeline.simulator.profile import StepProfile


@pytest.fixture(scope="module")
def made(tmp_path_factory, steps_file):
    """A folder in which the stage ran."""
    folder = tmp_path_factory.mktemp("profile")
    steps = folder / paths.GATHERED_TRACES / "steps.parquet"
    steps.parent.mkdir(parents=True)
    steps_file(steps, 200)
    (folder / "params.yaml").write_text("profile: {gpu_memory_utilization: 0.92}\n")
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
    assert set(metrics) == {*ENGINES, "cpu"}
    for name, found in metrics.items():
        loaded = StepProfile.load(made / paths.PROFILES / f"{name}.json")
        assert (loaded.name, loaded.limits.kv_tokens) == (name, found["kv_tokens"])
        rows = list(csv.DictReader((reports / f"{name}.csv").open()))
        assert all(float(row["measured_s"]) > 0 and float(row["fitted_s"]) > 0 for row in rows)


def test_step_time_is_plotted_by_context_length(made):
    rows = list(csv.DictReader((made / "reports/profile/context.csv").open()))
    assert {row["profile"] for row in rows} == set(ENGINES)
    assert {row["region"] for row in rows} == {"decode", "prefill"}
    longest = max(int(row["context_tokens"]) for row in rows if row["profile"] == "llama-3.1-8b-h100")
    assert longest > 90_000
    assert Path(made / "reports/profile/context.svg").read_text().startswith("<?xml")
