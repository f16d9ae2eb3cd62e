import dataclasses

import numpy as np
import pytest

from augserve.models.serving.settings import BudgetGains, Residency, SchedulerSettings, Slo, ValueWeights
from augserve.pipeline.simulator.catalogue import ablations, find
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits
from augserve.runtime.queueing.value import Column, EngineState, keys, stage_one_s

TUNED = SchedulerSettings(
    slo=Slo(ttft_s=2.0),
    weights=ValueWeights(stage_one=3.0, uncached=5.0, output=0.5),
    budget=BudgetGains(prefill_share=0.4),
    residency=Residency(share=0.7),
    profile="another",
)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("augserve-no-stage-one", {"weights"}),
        ("augserve-no-stage-two", {"weights", "slo"}),
        ("augserve-no-context", {"residency"}),
        ("augserve-whole-prompts", {"budget"}),
        ("augserve-default", {"weights", "budget", "residency"}),
    ],
)
def test_an_ablation_changes_only_its_part(name: str, parts: set[str]) -> None:
    policy, _ = find(name)
    assert policy.adjust is not None
    ablated = policy.adjust(TUNED)
    changed = {
        field.name
        for field in dataclasses.fields(SchedulerSettings)
        if getattr(ablated, field.name) != getattr(TUNED, field.name)
    }
    assert changed == parts


def test_without_stage_two_the_expected_cost_alone_orders_late_turns_too() -> None:
    columns = np.random.default_rng(1).uniform(1, 500, (len(Column), 20))
    columns[Column.DEADLINE_S] = 3600.0 + np.arange(20)  # as `Ordering` sets it from the far deadline
    engine = EngineState(now_s=100.0, token_s=0.02, running_tokens=1e4, capacity_tokens=1e5)
    settings = dataclasses.replace(ablations.without_stage_two(TUNED), max_wait_s=86_400.0)
    columns[Column.WAITING_SINCE_S] = 0.0
    order = np.argsort(keys(columns, engine, settings))
    assert order.tolist() == np.argsort(stage_one_s(columns, engine, settings.step_time)).tolist()


def test_the_ablation_without_predictions_needs_no_predictor() -> None:
    bench = PolicyInputs(EngineLimits(16_384, 8192, 256, 8192), TUNED, None, (), VirtualClock())
    build_policy("augserve-no-predictors", bench).shutdown()
