from types import SimpleNamespace
from typing import Any

import pytest

from augserve.models.serving.settings import StepTime
from augserve.runtime.queueing.tenants import MEMORY_S, SLOTS, TenantService

STEP = StepTime(base_s=0.01, per_prefill_token_s=1e-4, per_decode_s=1e-3, per_context_token_s=1e-6)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def turn(tenant: str | None, prompt: int = 1000, output: int = 10, cached: int | None = 0, begun: bool = True) -> Any:
    request = SimpleNamespace(num_prompt_tokens=prompt, num_output_tokens=output, num_tokens=prompt + output)
    hints = SimpleNamespace(tenant=tenant)
    return SimpleNamespace(request=request, hints=hints, cached_tokens=cached, first_token_s=1.0 if begun else None)


def test_a_tenant_is_charged_for_uncached_prompt_and_output() -> None:
    clock = Clock()
    service = TenantService(STEP, clock)
    service.turn_ended(turn("a", prompt=1000, output=10, cached=600))
    assert service.accounts(100.0)[service.slot_of("a")] == pytest.approx(400 * 1e-4 + 10 * (1e-3 + 1010 * 1e-6))
    assert service.accounts(100.0).sum() == service.accounts(100.0)[service.slot_of("a")]


def test_a_turn_that_never_ran_costs_nothing() -> None:
    service = TenantService(STEP, Clock())
    service.turn_ended(turn("a", begun=False))
    assert service.accounts(100.0) is None


def test_there_are_no_accounts_while_no_tenant_is_known() -> None:
    service = TenantService(STEP, Clock())
    service.turn_ended(turn(None))
    assert service.accounts(100.0) is None
    service.turn_ended(turn("a"))
    assert service.accounts(100.0) is not None


def test_accounts_decay() -> None:
    clock = Clock()
    service = TenantService(STEP, clock)
    service.turn_ended(turn("a"))
    before = service.accounts(clock.now_s)[service.slot_of("a")]
    assert service.accounts(clock.now_s + MEMORY_S)[service.slot_of("a")] == pytest.approx(before / 2.718281828)
    assert service.accounts(clock.now_s)[service.slot_of("a")] < before, "setting the clock back restores nothing"


def test_accounts_decay_on_after_the_clock_was_set_back() -> None:
    clock = Clock()
    service = TenantService(STEP, clock)
    service.turn_ended(turn("a"))
    before = service.accounts(clock.now_s - 3600.0)[service.slot_of("a")]
    assert service.accounts(clock.now_s - 3600.0 + MEMORY_S)[service.slot_of("a")] == pytest.approx(
        before / 2.718281828
    )


def test_each_tenant_has_its_own_slot_and_the_smallest_account_makes_way() -> None:
    service = TenantService(STEP, Clock())
    slots = [service.slot_of(f"tenant {number}") for number in range(SLOTS - 1)]
    assert sorted(slots) == list(range(1, SLOTS))
    for number in range(SLOTS - 1):
        if number != 7:
            service.turn_ended(turn(f"tenant {number}"))
    assert service.slot_of("new") == slots[7]
    assert service.slot_of("tenant 8") == slots[8]
    assert service.slot_of(None) == 0
