"""The features of vLLM's scheduler work with AugServe's, in every mode."""

from collections.abc import Callable
from typing import Any

import pytest
from packaging.version import Version
from vllm.config import VllmConfig
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.engine import FinishReason
from vllm.v1.request import Request, RequestStatus

from augserve.runtime import AugServeScheduler
from augserve.runtime.queueing.ordering import FOREMOST_PROBES, ROTATING_PROBES
from augserve.runtime.steering.token_budget import LEAST_PREFILL
from augserve.runtime.vllm_compat import KvCache, vllm_version

from ..conftest import (
    EngineMaker,
    Grammar,
    by_priority,
    no_prefix_caching,
    one_lora,
    second_of_two,
    speculating,
    whole_prompts,
)
from ..requests import adapter, load, structured

KEPT = int(Version(vllm_version) >= Version("0.33"))
"""Whether vLLM keeps a streaming session that is preempted as it ends its turn."""
GRAMMAR = RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
STREAMING = RequestStatus.WAITING_FOR_STREAMING_REQ


@pytest.mark.parametrize("mode", ["active", "shadow", "observe"])
@pytest.mark.parametrize(
    "change", [by_priority, one_lora, speculating, whole_prompts, no_prefix_caching, second_of_two]
)
def test_every_request_ends_with_each_feature(
    make_engine: EngineMaker, change: Callable[[VllmConfig], None], mode: str
) -> None:
    engine = make_engine(mode=mode, change=change, kv_tokens=6_000)
    expected = load(engine, 40)
    for number in range(40, 50):
        facts: dict[str, Any] = {"lora_request": adapter(1 + number % 3)} if change is one_lora else {}
        engine.add(number, 60, 9, priority=number % 3, **facts)
    engine.drain()
    assert engine.finished() == {**expected, **{f"r{number}": 9 for number in range(40, 50)}}
    engine.assert_nothing_is_left()
    assert isinstance(engine.scheduler, AugServeScheduler)
    assert engine.scheduler.engine.metrics.value("fallbacks") == 0, "no decision fell back"


def test_a_request_without_a_slot_for_its_adapter_waits_and_others_pass(make_engine: EngineMaker) -> None:
    engine = make_engine(change=one_lora)
    first = engine.add(0, 100, 30, lora_request=adapter(1))
    engine.step()
    other = engine.add(1, 100, 5, lora_request=adapter(2))
    base = engine.add(2, 100, 5)
    engine.step()
    assert (first.status, other.status, base.status) == (
        RequestStatus.RUNNING,
        RequestStatus.WAITING,
        RequestStatus.RUNNING,
    )
    engine.drain()
    assert engine.finished() == {"r0": 30, "r1": 5, "r2": 5}
    engine.assert_nothing_is_left()


def test_turns_without_a_slot_for_their_adapter_cost_a_step_nothing(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(change=one_lora)
    engine.add(0, 100, 100, lora_request=adapter(1))
    engine.step()
    for number in range(1, 201):
        engine.add(number, 100, 5, lora_request=adapter(2))
    engine.step()
    looked_up: list[Request] = []
    original = KvCache.cached_tokens

    def counted(cache: KvCache, request: Request, last_known: int = 0) -> int:
        looked_up.append(request)
        return original(cache, request, last_known)

    monkeypatch.setattr(KvCache, "cached_tokens", counted)
    engine.step()
    assert len(looked_up) <= FOREMOST_PROBES + ROTATING_PROBES


def test_a_request_waits_for_its_grammar_and_others_pass(make_engine: EngineMaker) -> None:
    engine = make_engine()
    request, compiled = structured(engine, 0)
    engine.add(1, 100, 5)
    for _ in range(10):
        engine.step()
    assert engine.finished() == {"r1": 5}
    assert request.status == GRAMMAR
    compiled.set_result(Grammar())
    engine.drain()
    assert engine.finished() == {"r0": 5, "r1": 5}
    engine.assert_nothing_is_left()


def test_a_grammar_that_does_not_compile_ends_its_request_alone(make_engine: EngineMaker) -> None:
    engine = make_engine()
    _, compiled = structured(engine, 0)
    engine.add(1, 100, 5)
    engine.step()
    compiled.set_exception(ValueError("no such grammar"))
    engine.drain()
    reasons = {output.request_id: output.finish_reason for output in engine.outputs if output.finish_reason}
    assert reasons == {"r0": FinishReason.ERROR, "r1": FinishReason.LENGTH}
    engine.assert_nothing_is_left()


def test_requests_that_neither_run_nor_are_ready_can_be_aborted(make_engine: EngineMaker) -> None:
    """Requests without an adapter slot or a grammar, and streaming sessions that pause or have another input."""
    engine = make_engine(change=one_lora)
    engine.add(0, 100, 60, lora_request=adapter(1))
    paused = engine.add(1, 100, 3, resumable=True)
    for _ in range(8):
        engine.step()
    busy = engine.add(2, 100, 60, resumable=True)
    engine.step()
    engine.add(2, 50, 60, resumable=True)  # its next input, while it runs
    skipped = engine.add(3, 100, 5, lora_request=adapter(2))
    without_grammar, _ = structured(engine, 4)
    for _ in range(3):
        engine.step()
    states = [each.status for each in (paused, busy, skipped, without_grammar)]
    assert states == [STREAMING, RequestStatus.RUNNING, RequestStatus.WAITING, GRAMMAR]
    ended = engine.scheduler.finish_requests(["r1", "r2", "r3", "r4"], RequestStatus.FINISHED_ABORTED)
    assert {each.request_id for each in ended} == {"r1", "r2", "r3", "r4"}
    engine.drain()
    assert engine.finished() == {"r0": 60, "r1": 3}, "the output of the paused session counts"
    engine.assert_nothing_is_left()


def test_a_streaming_session_reads_inputs_that_arrive_while_it_decodes(make_engine: EngineMaker) -> None:
    engine = make_engine()
    session = engine.add(0, 100, 4, resumable=True)
    engine.step()
    engine.add(0, 50, 6, resumable=True)
    for _ in range(20):
        engine.step()
    assert session.status == STREAMING
    assert session.num_tokens > 100 + 4 + 50
    engine.add(0, 1, 1)  # the last input
    engine.drain()
    assert session.is_finished()
    engine.assert_nothing_is_left()


def test_drafts_count_as_decodes_in_the_budget(make_engine: EngineMaker) -> None:
    """Even with the least budget, each running request gets its next token and its drafts."""
    engine = make_engine(change=speculating)
    for number in range(20):
        engine.add(number, 50, 150)
    engine.scheduler.max_num_scheduled_tokens = 0  # less than any budget that the controller sets
    for _ in range(30):
        engine.clock.now_s += 1.0
        engine.step()
        assert engine.scheduler.max_num_scheduled_tokens >= 20 * (1 + 3) + LEAST_PREFILL
    assert set(engine.scheduled[-1].values()) == {1 + 3}
    engine.drain()
    assert set(engine.finished().values()) == {150}
    engine.assert_nothing_is_left()


def test_many_drafts_do_not_starve_prompts(make_engine: EngineMaker) -> None:
    """Drafts take most of the least budget, and a prompt still progresses a little in each step."""
    engine = make_engine(change=speculating)
    for number in range(20):
        engine.add(number, 50, 3000)
    for _ in range(30):
        engine.clock.now_s += 1.0
        engine.step()
    late = engine.add(20, 100, 3)
    for _ in range(12):
        engine.clock.now_s += 1.0
        engine.step()
    assert late.num_output_tokens
    engine.scheduler.finish_requests(None, RequestStatus.FINISHED_ABORTED)
    engine.drain()
    engine.assert_nothing_is_left()


def test_without_chunked_prefill_the_budget_is_left_alone(make_engine: EngineMaker) -> None:
    engine = make_engine(change=whole_prompts)
    engine.add(0, 100, 100)
    engine.step()
    for _ in range(20):
        engine.clock.now_s += 1.0
        engine.step()
    engine.add(1, 3000, 5)
    engine.step()
    assert engine.scheduled[-1]["r1"] > 2900
    engine.drain()
    assert engine.finished() == {"r0": 100, "r1": 5}
    engine.assert_nothing_is_left()


def test_a_paused_engine_schedules_or_admits_nothing_and_resumes(make_engine: EngineMaker) -> None:
    engine = make_engine()
    engine.add(0, 100, 20)
    engine.step()
    engine.scheduler.set_pause_state(PauseState.PAUSED_ALL)
    engine.add(1, 100, 5)
    assert not engine.schedule().num_scheduled_tokens
    engine.scheduler.set_pause_state(PauseState.PAUSED_NEW)
    assert set(engine.schedule().num_scheduled_tokens) == {"r0"}
    engine.scheduler.set_pause_state(PauseState.UNPAUSED)
    engine.drain()
    assert engine.finished() == {"r0": 20, "r1": 5}
    engine.assert_nothing_is_left()


def test_one_engine_of_several_has_its_own_label_and_reports_finished_requests(make_engine: EngineMaker) -> None:
    engine = make_engine(change=second_of_two, include_finished_set=True)
    engine.add(0, 100, 20)
    engine.step()
    engine.add(1, 2000, 1)
    engine.add(2, 100, 1)
    assert set(engine.schedule(True).num_scheduled_tokens) == {"r0"}, "prompts wait for the engines' common step"
    engine.drain()
    assert engine.reported_finished == {"r0", "r1", "r2"}
    assert isinstance(engine.scheduler, AugServeScheduler)
    assert engine.scheduler.engine.metrics.value("info", engine="1") == 1
    engine.assert_nothing_is_left()


def test_the_lowest_priority_is_preempted_and_still_ends(make_engine: EngineMaker) -> None:
    engine = make_engine(change=by_priority, kv_tokens=4_096)
    requests = [engine.add(number, 200, 300, priority=number % 2) for number in range(16)]
    engine.drain()
    preempted = {each.priority for each in requests if each.num_preemptions}
    assert preempted == {1}
    assert set(engine.finished().values()) == {300}
    engine.assert_nothing_is_left()


@pytest.mark.parametrize("change", [None, no_prefix_caching, speculating])
def test_a_reset_of_the_prefix_cache_answers_as_in_vllm(
    make_engine: EngineMaker, change: Callable[[VllmConfig], None] | None
) -> None:
    engine = make_engine(change=change)
    expected = load(engine, 30)
    for _ in range(5):
        engine.step()
    assert not engine.scheduler.reset_prefix_cache()
    while engine.in_flight:
        engine.answer()
    assert engine.scheduler.reset_prefix_cache(reset_running_requests=True)
    engine.drain()
    assert engine.finished() == expected
    engine.assert_nothing_is_left()


@pytest.mark.parametrize("mode", [None, "active", "shadow", "observe"])
@pytest.mark.parametrize("more", [False, True])
def test_a_streaming_session_preempted_as_it_ends_its_turn_blocks_no_other(
    make_engine: EngineMaker, mode: str | None, more: bool
) -> None:
    """Before 0.33, vLLM itself (mode None) adds it to a queue that contains it already, then removes it completely; it
    stays silent until its abort. From 0.33 on it stays in the queue, and its next input is answered."""
    engine = make_engine(AsyncScheduler) if mode is None else make_engine(mode=mode)
    scheduler = engine.scheduler
    session = engine.add(0, 100, 1, resumable=True)
    if more:
        engine.add(0, 50, 1, resumable=True)
    engine.schedule()
    scheduler.running.remove(session)
    scheduler._preempt_request(session, 0.0)  # as if blocks were lacking
    engine.answer()
    assert len(scheduler.waiting) == KEPT
    engine.add(1, 100, 3)
    for _ in range(6):
        engine.step()
    assert engine.finished() == {"r1": 3, "r0": 1 + KEPT * more}
    scheduler.finish_requests("r0", RequestStatus.FINISHED_ABORTED)
    engine.drain()
    engine.assert_nothing_is_left()
