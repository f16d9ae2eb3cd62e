import dataclasses
import json

import pytest

from augserve.data.atomic import write_json
from augserve.models.serving.settings import SchedulerSettings, SettingsError, StepTime
from augserve.pipeline.evaluate.run import evaluation_of, read_tuned
from augserve.pipeline.project import paths
from augserve.pipeline.project.own_workloads import OwnWorkload
from augserve.pipeline.project.stage import StageError
from experiments.compare import conditions

from ..step_times.recording import FLAT
from .comparing import PARAMS


def test_tuned_settings_are_read_back_as_written(tmp_path):
    (tmp_path / "scheduler.json").write_text(json.dumps(SchedulerSettings().to_json()))
    (tmp_path / "capacity.json").write_text('{"sessions_per_s": 11.5}')
    assert read_tuned(tmp_path) == (SchedulerSettings(), 11.5)


def test_missing_or_foreign_tuned_files_are_named_with_their_remedy(tmp_path):
    with pytest.raises(StageError, match=r"scheduler\.json.*dvc repro tune"):
        read_tuned(tmp_path)
    (tmp_path / "scheduler.json").write_text("{}")
    (tmp_path / "capacity.json").write_text("[]")
    with pytest.raises(StageError, match="dvc repro tune"):
        read_tuned(tmp_path)
    (tmp_path / "capacity.json").write_text('{"sessions_per_s": 1}')
    with pytest.raises(SettingsError):
        read_tuned(tmp_path)


@pytest.mark.parametrize("fitted", [True, False])
def test_settings_of_an_own_engine_do_not_hide_what_tuning_knows_of_the_mix(tmp_path, monkeypatch, fitted):
    monkeypatch.chdir(tmp_path)
    own = f"own-{fitted}"
    for name in ("steady", own):
        dataclasses.replace(FLAT, name=name, linear=StepTime(base_s=0.02)).save(paths.PROFILES / f"{name}.json")
    shares = "prepare: {validation_share: 0.1, test_share: 0.2}\n"
    (tmp_path / "params.yaml").write_text("base: {seed: 1}\n" + shares)
    write_json(paths.TUNED_SETTINGS, SchedulerSettings(profile=own).to_json())
    write_json(paths.TUNED_CAPACITY, {"profile": "steady", "sessions_per_s": 11.5})
    params = PARAMS.changed(profiles=("steady",))
    found = evaluation_of(params, [OwnWorkload("coding-agents", 3, own if fitted else None)])
    assert (found.guesses, found.guess_per_s) == ({}, 11.5)
    assert found.agent_jobs == [("coding-agents", own if fitted else "steady")]
    assert set(found.step_times) == ({"steady", own} if fitted else {"steady"})


def test_a_long_comparison_names_its_commit_engine_and_training_sets():
    text = conditions("some-engine", ["here", "there"], "0123456789abcdef")
    assert all(name in text for name in ("0123456789ab", "some-engine", "here, there"))
