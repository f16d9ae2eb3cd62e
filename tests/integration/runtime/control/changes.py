"""Changes that a test posts, and what they did."""

from functools import partial
from typing import Any

from augserve.models.serving.predictor import Predictor
from augserve.models.serving.settings import SchedulerSettings
from augserve.runtime import AugServeScheduler
from augserve.runtime.control.control import Control
from augserve.runtime.control.watcher import Change
from augserve.runtime.parts import Parts, trained_forecaster

from ..conftest import Constant, Engine


def control(engine: Engine) -> Control:
    assert isinstance(engine.scheduler, AugServeScheduler)
    return engine.scheduler.control


def post(engine: Engine, **change: Any) -> None:
    control(engine).post(Change(**change))


def parts(version: str, predictor: Predictor | None = None, settings: SchedulerSettings | None = None) -> Parts:
    forecaster = partial(trained_forecaster, predictor or Constant(), None)
    return Parts(settings or SchedulerSettings(), forecaster, version)


def changes(engine: Engine, result: str) -> float:
    assert isinstance(engine.scheduler, AugServeScheduler)
    return engine.scheduler.engine.metrics.value("bundle_changes", result=result)


def decides(engine: Engine, version: str, mode: str = "active") -> bool:
    assert isinstance(engine.scheduler, AugServeScheduler)
    metrics = engine.scheduler.engine.metrics
    return metrics.value("info", version=version, mode=mode) == metrics.value("info") == 1
