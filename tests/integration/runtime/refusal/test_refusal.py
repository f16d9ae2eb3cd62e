"""Early refusal on vLLM's real scheduler, in virtual time."""

import heapq
import itertools
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from vllm.config import VllmConfig
from vllm.v1.request import Request

from augserve.models.serving.settings import Residency, SchedulerSettings, Slo, StepTime
from augserve.runtime.deployment import DeploymentError
from augserve.runtime.publisher import FOLDER_VARIABLE
from augserve.runtime.queueing.value import Column
from augserve.runtime.refusal.gate import Caller, Gate, Refused
from augserve.runtime.refusal.notice import ExpectedWait, NoticeReader

from ..conftest import Engine, EngineMaker, TestedScheduler, by_priority, one_lora
from ..control.changes import post
from ..requests import adapter

STEP = StepTime(base_s=0.12, per_prefill_token_s=6e-4, per_decode_s=1.2e-3, per_context_token_s=0.0)
SETTINGS = SchedulerSettings(step_time=STEP, slo=Slo(ttft_s=3.0, tpot_s=0.6), max_wait_s=30.0)
LIMIT_S = 20.0
OVERLOAD_S = 660.0
SMALL, LARGE, OUTPUT = 200, 2500, 20
TRIES = 3
RATE = 4.75
"""New sessions a second: with their next turns and tries, 1.5 times what the engine can serve."""
REFUSING = {"refuse_after_s": LIMIT_S}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told").mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "told"))


class Overload:
    """Sessions of one or two turns arrive at a rate; every tenth prompt is large. The engine takes the time of STEP."""

    def __init__(self, engine: Engine, refusing: bool) -> None:
        self.engine, self.gate, self.reader = engine, Gate(), NoticeReader()
        self.start_s = engine.clock.now_s
        self.waits_s: list[float] = []  # in the queue, up to the first token
        self.given_up = self.next_turns_refused = self.computed_tokens = 0
        self._refusing = refusing
        self._rnd = random.Random(7)
        self._number = itertools.count()
        self._waiting: dict[str, tuple[Request, float]] = {}  # by request id, with the arrival
        self._due: list[tuple[float, int, int, str]] = []  # time, number, tries, session
        at_s = self.start_s
        while at_s < self.start_s + OVERLOAD_S:
            at_s += self._rnd.expovariate(RATE)
            number = next(self._number)
            self._due.append((at_s, number, 0, f"s{number}"))

    def run(self) -> None:
        clock = self.engine.clock
        while clock.now_s < self.start_s + OVERLOAD_S:
            while self._due and self._due[0][0] <= clock.now_s:
                self._arrive(*heapq.heappop(self._due))
            self._step()
        self.waits_s += [clock.now_s - arrival_s for _, arrival_s in self._waiting.values()]

    def _arrive(self, at_s: float, number: int, tries: int, session: str) -> None:
        prompt = LARGE if number % 10 == 0 else SMALL
        caller, waited_s = Caller(session.encode(), True), 0.0
        if self._refusing:
            notice = self.reader.read()
            assert notice is not None
            decided = self.gate.arrives(caller, replace(notice, told_s=self._told_s), at_s)
            if isinstance(decided, Refused):
                self.next_turns_refused += tries < 0
                self.given_up += tries + 1 == TRIES
                if tries + 1 < TRIES:
                    heapq.heappush(self._due, (at_s + decided.retry_after_s, number, tries + 1, session))
                return
            self.gate.leaves(caller, at_s)
            waited_s = decided.waited_s
            secret = {"augserve_waited": f"{notice.secret}:{waited_s}"}
        facts = {"extra_args": secret} if waited_s else {}
        request = self.engine.add(number, prompt, OUTPUT, session, arrival_s=at_s, **facts)
        self._waiting[request.request_id] = (request, at_s)

    def _step(self) -> None:
        engine = self.engine
        self._told_s = engine.clock.now_s
        tokens = list(engine.schedule().num_scheduled_tokens.values())
        self.computed_tokens += sum(tokens)
        prefill = sum(each for each in tokens if each > 1)
        engine.clock.now_s += STEP.base_s + STEP.per_prefill_token_s * prefill + STEP.per_decode_s * tokens.count(1)
        engine.answer()
        for number, (request, arrival_s) in list(self._waiting.items()):
            if request.num_output_tokens:
                self.waits_s.append(engine.clock.now_s - arrival_s)
                del self._waiting[number]
                if self._rnd.random() < 0.2:  # the session's next turn, after a pause
                    turn = next(self._number)
                    at_s = engine.clock.now_s + self._rnd.uniform(2.0, 10.0)
                    heapq.heappush(self._due, (at_s, turn, -TRIES, request.session_id))


def overloaded(make_engine: EngineMaker, refusing: bool) -> Overload:
    deployment = REFUSING if refusing else {}
    engine = make_engine(settings=SETTINGS, kv_tokens=65_536, max_num_seqs=64, deployment=deployment)
    assert isinstance(engine.scheduler, TestedScheduler)
    engine.scheduler.predictor.answer = (OUTPUT * 0.9, OUTPUT, OUTPUT * 1.1)
    overload = Overload(engine, refusing)
    overload.run()
    return overload


def test_the_longest_wait_is_bounded_in_eleven_minutes_of_overload(make_engine: EngineMaker) -> None:
    refusing, patient = (overloaded(make_engine, refusing) for refusing in (True, False))
    assert max(refusing.waits_s) < 3 * LIMIT_S
    assert max(patient.waits_s) > 20 * LIMIT_S
    assert refusing.computed_tokens > 0.9 * patient.computed_tokens, "the engine is as busy as before"
    assert refusing.given_up > 0
    assert refusing.next_turns_refused == 0


def several_api_servers(config: VllmConfig) -> None:
    """`--api-server-count 2`"""
    config.parallel_config._api_process_count = 2


def test_early_refusal_with_several_api_servers_is_refused_in_one_line(make_engine: EngineMaker) -> None:
    with pytest.raises(DeploymentError, match="refuse_after_s: 2 API servers") as error:
        make_engine(deployment=REFUSING, change=several_api_servers)
    assert "\n" not in str(error.value)
    make_engine(change=several_api_servers)


def test_without_a_way_to_tell_the_api_server_the_engine_does_not_start(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE)
    with pytest.raises(DeploymentError, match="refuse_after_s needs vLLM's plug-in"):
        make_engine(deployment=REFUSING)


def waiting(engine: Engine, prompts: Iterable[int], **facts: Any) -> ExpectedWait:
    """What the engine tells while these prompts wait for the only seat."""
    for number, prompt in enumerate(prompts, start=1):
        engine.add(number, prompt, 10, **facts)
    engine.step()
    notice = NoticeReader().read()
    assert notice is not None
    return notice.wait


def busy(make_engine: EngineMaker, **facts: Any) -> Engine:
    engine = make_engine(**{"settings": SETTINGS, "deployment": REFUSING, "max_num_seqs": 1, **facts})
    engine.add(0, 100, 3_900)
    engine.step()
    return engine


def test_the_expected_wait_is_the_engine_time_of_what_waits(make_engine: EngineMaker) -> None:
    engine = busy(make_engine)
    assert waiting(engine, ()).wait_s == 0.0, "a seat that is taken is no wait yet"
    wait = waiting(engine, [500] * 10)
    assert wait.wait_s > 10 * 250 * STEP.per_prefill_token_s  # they share half of a prompt
    assert wait.turn_s == wait.wait_s / 10


def test_the_longest_wait_tells_what_the_engine_s_model_does_not(make_engine: EngineMaker) -> None:
    engine = busy(make_engine)
    waiting(engine, [50])
    engine.clock.now_s += 40.0
    assert waiting(engine, ()).wait_s == pytest.approx(40.0, abs=0.1)


def test_turns_of_lower_priority_or_without_a_slot_are_no_wait_for_a_newcomer(make_engine: EngineMaker) -> None:
    engine = busy(make_engine, change=by_priority)
    engine.add(100, 50, 10, priority=3)
    engine.clock.now_s += 100.0
    assert waiting(engine, [50]).wait_s < 10.0
    engine = busy(make_engine, change=one_lora, max_num_seqs=4)
    engine.add(200, 50, 2_000, lora_request=adapter(1))
    engine.step()
    engine.add(201, 50, 10, lora_request=adapter(2))
    engine.clock.now_s += 100.0
    assert waiting(engine, ()).wait_s == 0.0


def test_turns_that_are_held_for_memory_count(make_engine: EngineMaker) -> None:
    engine = busy(make_engine, settings=replace(SETTINGS, residency=Residency(share=0.2)), max_num_seqs=8)
    waiting(engine, [2_400] * 7)
    queue = engine.scheduler.decisions.ordering.queue  # type: ignore[attr-defined]
    assert not any(map(queue.offers, queue))
    engine.clock.now_s += 100.0
    assert waiting(engine, ()).wait_s > 100.0


def test_a_turn_that_was_refused_waits_since_its_first_try_and_a_caller_s_own_age_counts_nothing(
    make_engine: EngineMaker,
) -> None:
    engine = busy(make_engine)
    assert isinstance(engine.scheduler, TestedScheduler)
    notice = NoticeReader().read()
    assert notice is not None
    queue = engine.scheduler.decisions.ordering.queue
    told = [f"{notice.secret}:12.5", "made up:12.5", f"{notice.secret}x:3", "é:1", notice.secret[:-1] + ":9"]
    for number, waited in enumerate(told, start=1):
        request = engine.add(number, 50, 10, extra_args={"augserve_waited": waited})
        since_s = queue.columns[Column.WAITING_SINCE_S, queue.slot(request)]
        assert since_s == engine.clock.now_s - (12.5 if number == 1 else 0.0)
        assert queue.columns[Column.DEADLINE_S, queue.slot(request)] == engine.clock.now_s + SETTINGS.slo.ttft_s
    assert engine.scheduler.engine.metrics.value("fallbacks") == 0


def test_in_shadow_mode_nobody_is_refused_and_the_metrics_tell_the_wait(make_engine: EngineMaker) -> None:
    engine = make_engine(settings=SETTINGS, deployment=REFUSING, max_num_seqs=1, mode="shadow")
    for number in range(10):
        engine.add(number, 500, 10)
    engine.step()
    engine.step()
    assert isinstance(engine.scheduler, TestedScheduler)
    assert engine.scheduler.engine.metrics.value("expected_wait_seconds") > 0.5
    assert NoticeReader().read() is None


@pytest.mark.parametrize("mode", ["off", "shadow"])
def test_a_mode_that_decides_nothing_refuses_nobody(make_engine: EngineMaker, mode: str) -> None:
    engine = busy(make_engine)
    engine.add(1, 500, 10)
    engine.step()
    for wanted, refuses in ((mode, False), ("active", True)):
        post(engine, mode=wanted)
        engine.step()
        notice = NoticeReader().read()
        assert notice is not None
        assert (notice.wait.wait_s > 0) == refuses
