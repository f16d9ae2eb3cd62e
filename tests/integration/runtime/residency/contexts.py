"""What an engine does with contexts."""

from typing import Any

from augserve.models.serving.settings import Residency, SchedulerSettings, StepTime
from augserve.runtime import AugServeScheduler
from augserve.runtime.residency.pins import Pins

from ..conftest import Engine, EngineMaker, TestedScheduler

SLOW_PREFILL = StepTime(base_s=0.01, per_prefill_token_s=0.1)  # makes every context worth pinning
NOTHING_HEAVY = SchedulerSettings(step_time=SLOW_PREFILL, residency=Residency(heavy_s=3600.0))
STEP = StepTime(base_s=0.0, per_prefill_token_s=1e-3)
ADMITTING = SchedulerSettings(
    step_time=STEP, residency=Residency(share=0.8, heavy_s=0.5, keep=1.0, longest_wait_s=60.0)
)
CACHE = {"kv_tokens": 4_096, "settings": ADMITTING}  # 255 blocks, of which 204 may be filled; 500 tokens are heavy


def pinning(
    make_engine: EngineMaker, kv_tokens: int = 16_384, settings: SchedulerSettings = NOTHING_HEAVY, **facts: Any
) -> tuple[Engine, Pins]:
    engine = make_engine(kv_tokens=kv_tokens, settings=settings, **facts)
    assert isinstance(engine.scheduler, TestedScheduler)
    engine.scheduler.predictor.answer = (1.0, 5.0, 20.0)  # output tokens, turns left, pause in s
    return engine, engine.scheduler.decisions.contexts.pins  # type: ignore[union-attr]


def released(engine: Engine, by: str) -> float:
    assert isinstance(engine.scheduler, AugServeScheduler)
    return engine.scheduler.engine.metrics.value("pins_released", by=by)


def held(engine: Engine) -> int:
    assert isinstance(engine.scheduler, AugServeScheduler)
    return int(engine.scheduler.engine.metrics.value("held_turns"))
