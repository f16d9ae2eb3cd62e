import json

import pytest

from augserve.models.serving.settings import SchedulerSettings, SettingsError
from augserve.pipeline.evaluate.run import read_tuned
from augserve.pipeline.project.stage import StageError
from experiments.compare import conditions


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


def test_a_long_comparison_names_its_commit_engine_and_training_sets():
    text = conditions("some-engine", ["here", "there"], "0123456789abcdef")
    assert all(name in text for name in ("0123456789ab", "some-engine", "here, there"))
