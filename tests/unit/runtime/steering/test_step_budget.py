from types import SimpleNamespace
from typing import Any

import pytest

from augserve.runtime.steering.step_budget import SteeredBudget, StepBudget

CONFIGURED = 2048


class Controller:
    """Always decides on 512 tokens, and records its inputs."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], int, float]] = []

    def tokens(self, decodes: list[str], tokens_each: int, late_s: float) -> int:
        self.asked.append((decodes, tokens_each, late_s))
        return 512


@pytest.mark.parametrize(("active", "tokens"), [(True, 512), (False, CONFIGURED)])
def test_the_budget_is_reported_and_only_in_active_mode_applied(active: bool, tokens: int) -> None:
    """Two decodes and one prefill run, with three drafts a decode."""
    running = [
        SimpleNamespace(request_id=name, is_prefill_chunk=prefill)
        for name, prefill in (("a", False), ("b", True), ("c", False))
    ]
    scheduler = SimpleNamespace(
        running=running,
        num_spec_tokens=3,
        max_num_scheduled_tokens=CONFIGURED,
        vllm_config=SimpleNamespace(device_config=SimpleNamespace(device_type="cuda")),
    )
    reported: list[int] = []
    metrics = SimpleNamespace(token_budget=SimpleNamespace(set=reported.append))
    engine: Any = SimpleNamespace(scheduler=scheduler, metrics=metrics, active=active, clock=lambda: 7.0)
    controller: Any = Controller()
    ordering: Any = SimpleNamespace(late_s=lambda now_s: now_s / 10)
    budget = SteeredBudget(controller, engine, ordering)
    budget.before_step()
    assert controller.asked == [(["a", "c"], 4, 0.7)]
    assert reported == [512]
    assert scheduler.max_num_scheduled_tokens == tokens
    budget.restore()
    assert scheduler.max_num_scheduled_tokens == CONFIGURED


def test_a_plain_step_budget_changes_nothing() -> None:
    budget = StepBudget()
    budget.before_step()
    budget.step_ended(0.1, 100, 3)
    budget.restore()
