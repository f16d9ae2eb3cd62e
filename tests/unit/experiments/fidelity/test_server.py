import logging

import pytest

from augserve.models.serving.bundle import BundleError
from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import load_params
from augserve.pipeline.project.stage import StageError
from experiments.fidelity.params import FidelityParams
from experiments.fidelity.server import bundle_to_serve, retargeted


def test_a_missing_model_is_reported_before_a_missing_bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match=r"models/smollm2: no model there; run `dvc repro model`"):
        bundle_to_serve()
    paths.MODEL.mkdir(parents=True)
    (paths.MODEL / "config.json").touch()
    with pytest.raises(BundleError, match="models/bundle"):
        bundle_to_serve()
    assert logging.getLogger("httpx").level == logging.WARNING


def test_a_served_bundle_has_the_slo_and_step_times_of_this_machine():
    step_time, params = StepTime(0.03, 1e-3, 2e-3, 4e-7), load_params(FidelityParams)
    here = retargeted(SchedulerSettings(max_wait_s=9.0), params, step_time)
    assert (here.slo, here.step_time, here.profile, here.max_wait_s) == (params.slo, step_time, "cpu", 9.0)
