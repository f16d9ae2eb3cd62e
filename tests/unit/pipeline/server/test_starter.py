"""The bundle of a clone where the pipeline has not run: stages really run, on fewer sessions."""

import shutil
from pathlib import Path

import pytest

from augserve.models.serving.bundle import load_bundle
from augserve.pipeline.project import paths
from augserve.pipeline.server import starter

ROOT = Path(__file__).parents[4]


@pytest.mark.slow
def test_a_clone_without_a_bundle_gets_a_starter_once_and_a_packaged_one_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle_folder: Path
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(starter, "SESSIONS", 60)
    bundle = starter.ready_bundle()
    assert bundle == starter.FOLDER / paths.BUNDLE
    version = load_bundle(bundle, "0.32.0").version
    assert load_bundle(starter.ready_bundle(), None).version == version
    shutil.copytree(bundle_folder, paths.BUNDLE)
    assert starter.ready_bundle() == paths.BUNDLE
