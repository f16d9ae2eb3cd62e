from types import SimpleNamespace
from typing import Any

import pytest

from augserve.runtime.steering.step_budget import SteeredBudget, StepBudget

CONFIGURED = 2048


class Controller:
    """Always decides on 512 tokens, and records its inputs."""

    drains = True

    def __init__(self) -> None:
        self.asked: list[tuple[int, float, float]] = []

    def tokens(self, decode_tokens: int, now_s: float, late_s: float) -> int:
        self.asked.append((decode_tokens, now_s, late_s))
        return 512


def steered(active: bool) -> tuple[SteeredBudget, Any, Controller, list[int]]:
    """A budget with two decodes and one prefill running, three drafts a decode, and 0.5 s of late work waiting."""
    running = [SimpleNamespace(is_prefill_chunk=prefill) for prefill in (False, True, False)]
    scheduler = SimpleNamespace(running=running, num_spec_tokens=3, max_num_scheduled_tokens=CONFIGURED)
    reported: list[int] = []
    metrics = SimpleNamespace(token_budget=SimpleNamespace(set=reported.append))
    engine: Any = SimpleNamespace(scheduler=scheduler, metrics=metrics, active=active)
    ordering: Any = SimpleNamespace(late_s=lambda now_s: 0.5)
    controller: Any = Controller()
    return SteeredBudget(controller, engine, ordering), scheduler, controller, reported


@pytest.mark.parametrize(("active", "tokens"), [(True, 512), (False, CONFIGURED)])
def test_the_budget_is_reported_and_only_in_active_mode_applied(active: bool, tokens: int) -> None:
    budget, scheduler, controller, reported = steered(active)
    budget.before_step(9.0)
    assert controller.asked == [(2 * (1 + 3), 9.0, 0.5)]
    assert reported == [512]
    assert scheduler.max_num_scheduled_tokens == tokens
    budget.restore()
    assert scheduler.max_num_scheduled_tokens == CONFIGURED


def test_late_work_is_not_counted_for_a_controller_that_does_not_drain() -> None:
    budget, _, controller, _ = steered(active=True)
    controller.drains = False
    budget.before_step(9.0)
    assert controller.asked == [(8, 9.0, 0.0)]


def test_a_plain_step_budget_changes_nothing() -> None:
    budget = StepBudget()
    budget.before_step(1.0)
    budget.step_ended(0.1, 3, 1.0)
    budget.restore()
