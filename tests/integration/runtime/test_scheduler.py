"""AugServe's scheduler on vLLM's real one: no request is lost and no block leaks."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.request import Request, RequestStatus

from augserve.data.tables.pseudonyms import Pseudonyms
from augserve.models.serving.predictor import Rows, TurnPredictions
from augserve.models.serving.settings import SchedulerSettings, ValueWeights
from augserve.pipeline.simulator.engine import build_scheduler
from augserve.pipeline.simulator.profile import EngineLimits
from augserve.runtime import AugServeScheduler
from augserve.runtime.guard import SUSPENSION_S
from augserve.runtime.prediction.batching import DEADLINE_S
from augserve.runtime.queueing.ordering import SLOW_PROBES
from augserve.runtime.queueing.value import Column
from augserve.runtime.steering.token_budget import LEAST_PREFILL, MISSES
from augserve.runtime.vllm_compat import KvCache

from .conftest import EngineMaker, TestedScheduler, by_priority
from .requests import load


@pytest.mark.parametrize("mode", ["active", "shadow", "observe"])
def test_every_request_ends_and_every_block_is_free_again(make_engine: EngineMaker, mode: str) -> None:
    engine = make_engine(mode=mode)
    expected = load(engine)
    engine.drain()
    assert engine.finished() == expected
    engine.assert_nothing_is_left()


def test_preempted_requests_resume_and_end(make_engine: EngineMaker) -> None:
    engine = make_engine(kv_tokens=4_096)
    requests = [engine.add(number, 200, 300) for number in range(16)]
    engine.drain()
    assert sum(request.num_preemptions for request in requests) > 0
    assert set(engine.finished().values()) == {300}
    engine.assert_nothing_is_left()


def test_requests_aborted_in_every_state_leave_nothing_behind(make_engine: EngineMaker) -> None:
    engine = make_engine(kv_tokens=4_096, max_num_seqs=12)
    requests = [engine.add(number, 400, 400) for number in range(20)]
    for _ in range(40):
        engine.step()
    states = {request.status for request in requests}
    assert {RequestStatus.WAITING, RequestStatus.RUNNING} <= states
    for _ in range(400):
        if any(request.status == RequestStatus.PREEMPTED for request in requests):
            break
        engine.step()
    for status in (RequestStatus.WAITING, RequestStatus.RUNNING, RequestStatus.PREEMPTED):
        victim = next(request for request in requests if request.status == status)
        engine.scheduler.finish_requests(victim.request_id, RequestStatus.FINISHED_ABORTED)
    engine.scheduler.finish_requests("unknown", RequestStatus.FINISHED_ABORTED)
    engine.scheduler.finish_requests(None, RequestStatus.FINISHED_ABORTED)
    engine.drain()
    engine.assert_nothing_is_left()


def test_shadow_mode_schedules_as_stock_does_to_the_token(make_engine: EngineMaker) -> None:
    engines = [make_engine(mode="shadow", kv_tokens=6_000), make_engine(AsyncScheduler, kv_tokens=6_000)]
    for engine in engines:
        load(engine)
        for _ in range(10):
            engine.step()
        engine.scheduler.finish_requests(["r3", "r40"], RequestStatus.FINISHED_ABORTED)
        engine.drain()
    ours, stock = engines
    assert [list(step.items()) for step in ours.scheduled] == [list(step.items()) for step in stock.scheduled]
    assert isinstance(ours.scheduler, AugServeScheduler)
    assert ours.scheduler.engine.metrics.value("reorders") > 0


def test_fewest_uncached_tokens_go_first(make_engine: EngineMaker) -> None:
    weights = ValueWeights(stage_one=0, uncached=1, output=0, remaining=0, waiting=0, slack=0)
    engine = make_engine(max_num_seqs=1, settings=SchedulerSettings(weights=weights))
    engine.add(0, 50, 20)
    engine.step()
    for number, prompt in enumerate((900, 300, 600), start=1):
        engine.add(number, prompt, 2)
    engine.drain()
    first = {output.request_id: None for output in engine.outputs if output.new_token_ids}
    assert list(first) == ["r0", "r2", "r3", "r1"]


def test_a_turn_that_waits_too_long_goes_first(make_engine: EngineMaker) -> None:
    weights = ValueWeights(stage_one=0, uncached=1, output=0, remaining=0, waiting=0, slack=0)
    engine = make_engine(max_num_seqs=1, settings=SchedulerSettings(weights=weights, max_wait_s=2.0))
    engine.add(0, 50, 30)
    engine.step()
    engine.add(1, 2000, 2)
    for _ in range(20):
        engine.step()
    engine.clock.now_s += 2.0
    engine.add(2, 20, 2)
    engine.drain()
    first = {output.request_id: None for output in engine.outputs if output.new_token_ids}
    assert list(first) == ["r0", "r1", "r2"]


def test_decodes_lower_the_token_budget_until_the_engine_idles(make_engine: EngineMaker) -> None:
    engine = make_engine()
    engine.add(0, 50, 400)
    for _ in range(MISSES - 1):
        engine.clock.now_s += 0.2
        engine.step()
    assert 1 + LEAST_PREFILL <= engine.scheduler.max_num_scheduled_tokens < 2048
    engine.drain()
    engine.add(1, 50, 5)
    engine.step()
    assert engine.scheduler.max_num_scheduled_tokens == 2048


def test_a_preempted_turn_keeps_its_wait_and_has_no_deadline_left(make_engine: EngineMaker) -> None:
    engine = make_engine(kv_tokens=4_096)
    requests = [engine.add(number, 200, 300) for number in range(16)]
    arrival_s = engine.clock.now_s
    while not (preempted := [each for each in requests if each.status == RequestStatus.PREEMPTED]):
        engine.step()
    queue = engine.scheduler.decisions.ordering.queue  # type: ignore[attr-defined]
    slot = queue.slot(preempted[0])
    assert queue.columns[Column.WAITING_SINCE_S, slot] == arrival_s < engine.clock.now_s
    assert np.isinf(queue.columns[Column.DEADLINE_S, slot])
    assert queue.columns[Column.TOKENS, slot] > 200
    generated = preempted[0].num_output_tokens
    assert generated > 50, "it has outlasted its forecast and is expected to continue"
    assert 1 < queue.columns[Column.OUTPUT_TOKENS, slot] <= 300 - generated
    engine.drain()
    engine.assert_nothing_is_left()


def test_a_slow_predictor_is_suspended(make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine()
    scheduler = engine.scheduler
    assert isinstance(scheduler, TestedScheduler)
    answer, asked = scheduler.predictor.turns, []

    def slow(rows: Rows) -> TurnPredictions:
        asked.append(len(rows))
        engine.clock.now_s += 2 * DEADLINE_S
        return answer(rows)

    monkeypatch.setattr(scheduler.predictor, "turns", slow)
    for number in range(6):
        engine.add(number, 100, 3)
        engine.step()
    assert asked == [1, 1, 1]
    assert scheduler.engine.metrics.value("fallbacks", reason="prediction") == 6
    engine.clock.now_s += SUSPENSION_S
    engine.add(6, 100, 3)
    engine.drain()
    assert asked == [1, 1, 1, 1]
    assert len(engine.finished()) == 7
    engine.assert_nothing_is_left()


@pytest.mark.parametrize("answer", [(np.nan, np.nan, np.nan), (-1.0, -1.0, -1.0), (np.inf, np.inf, np.inf), None])
def test_an_invalid_prediction_falls_back_and_is_counted(
    make_engine: EngineMaker, answer: tuple[float, float, float] | None
) -> None:
    engine = make_engine()
    scheduler = engine.scheduler
    assert isinstance(scheduler, TestedScheduler)
    scheduler.predictor.broken = answer is None
    scheduler.predictor.answer = answer or (1.0, 1.0, 1.0)
    expected = load(engine)
    engine.drain()
    assert engine.finished() == expected
    assert scheduler.engine.metrics.value("fallbacks", reason="prediction") >= 1
    assert scheduler.engine.metrics.value("predictions") == 0
    engine.assert_nothing_is_left()


def test_the_callers_priority_goes_before_the_value(make_engine: EngineMaker) -> None:
    engine = make_engine(change=by_priority, max_num_seqs=1)
    engine.add(0, 50, 20)
    engine.step()
    engine.add(1, 20, 2, priority=2)
    engine.add(2, 900, 2, priority=1)
    engine.add(3, 300, 2, priority=1)
    engine.drain()
    first = {output.request_id: None for output in engine.outputs if output.new_token_ids}
    assert list(first) == ["r0", "r3", "r2", "r1"]
    engine.assert_nothing_is_left()


def test_a_streaming_session_continues_with_each_input(make_engine: EngineMaker) -> None:
    engine = make_engine()
    engine.add(0, 100, 5, resumable=True)
    for _ in range(12):
        engine.step()
    assert engine.scheduler.requests["r0"].status == RequestStatus.WAITING_FOR_STREAMING_REQ
    engine.add(0, 50, 5, resumable=True)
    for _ in range(12):
        engine.step()
    engine.scheduler.finish_requests("r0", RequestStatus.FINISHED_ABORTED)
    engine.drain()
    engine.assert_nothing_is_left()


def test_cached_tokens_equal_those_that_vllm_finds(make_engine: EngineMaker) -> None:
    engine = make_engine(kv_tokens=6_000)
    load(engine)
    compared = 0
    while engine.scheduler.has_requests():
        engine.step()
        scheduler = engine.scheduler
        assert isinstance(scheduler, AugServeScheduler)
        for request in list(scheduler.waiting)[:5]:
            found = scheduler.kv_cache_manager.get_computed_blocks(request)[1]
            for last_known in (0, 16, found, 4096):
                assert scheduler.decisions.engine.kv_cache.cached_tokens(request, last_known) == found
            compared += found > 0
    assert compared


def test_few_slow_look_ups_are_made_in_a_step(make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """With several groups of layers or EAGLE, a look-up walks over all blocks."""
    engine = make_engine(max_num_seqs=1)
    monkeypatch.setattr(KvCache, "chained", False)  # type: ignore[attr-defined]
    for number in range(100):
        engine.add(number, 100, 20)
    for _ in range(3):
        engine.step()
    kv_cache, looked_up = engine.scheduler.decisions.engine.kv_cache, []
    look_up = kv_cache.cached_tokens
    monkeypatch.setattr(kv_cache, "cached_tokens", lambda *facts: looked_up.append(facts) or look_up(*facts))
    engine.step()
    assert 0 < len(looked_up) <= sum(SLOW_PROBES)


@pytest.mark.parametrize("mode", ["observe", "active"])
def test_traces_contain_every_turn_tool_call_and_step(make_engine: EngineMaker, tmp_path: Path, mode: str) -> None:
    engine = make_engine(mode=mode, traces=True)
    hints = {"augserve_tools_offered": 2, "augserve_last_tool": "sql", "augserve_argument_bytes": 9}
    engine.add(0, 100, 5, "a")
    engine.drain()
    engine.clock.now_s += 3.0
    engine.add(1, 150, 4, "a", extra_args=hints)
    engine.add(2, 30, 50, "b")
    engine.step()
    engine.scheduler.finish_requests("r2", RequestStatus.FINISHED_ABORTED)
    engine.drain()
    engine.scheduler.shutdown()

    def read(name: str) -> list[dict[str, object]]:
        (path,) = (tmp_path / "traces").glob(f"{name}-*.parquet")
        return list(pq.read_table(path).to_pylist())

    names = Pseudonyms.kept_in(tmp_path / "traces")
    ids = {names.of(f"r{number}"): f"r{number}" for number in range(3)}
    turns = {ids[str(row["request_id"])]: row for row in read("turns")}
    assert {key: (row["turn"], row["output_tokens"], row["finish_reason"]) for key, row in turns.items()} == {
        "r0": (0, 5, "length"),
        "r1": (1, 4, "length"),
        "r2": (0, 0, "abort"),
    }
    assert turns["r1"]["cached_tokens"] == 48
    assert turns["r1"]["arrival_s"] < turns["r1"]["first_token_s"] < turns["r1"]["finish_s"]  # type: ignore[operator]
    (call,) = read("tool_calls")
    assert (call["tool"], call["turn"], call["argument_bytes"], call["result_tokens"]) == ("sql", 0, 9, 45)
    assert call["duration_s"] == pytest.approx(3.0, abs=0.1)
    steps = read("steps")
    assert sum(row["prefill_tokens"] for row in steps) == 100 + 150 + 30 - 48  # type: ignore[misc]
    assert sum(row["decode_sequences"] for row in steps) >= 4 + 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "name"),
    [
        (None, "'augserve'"),
        ({"mode": "active"}, "augserve.bundle"),
        ({"bundle": "/nowhere"}, "/nowhere"),
        ({"mode": "observe", "bundel": "x"}, "augserve.bundel"),
    ],
)
def test_a_wrong_deployment_does_not_start(section: dict[str, str] | None, name: str) -> None:
    limits = EngineLimits(kv_tokens=4096, max_model_len=1024, max_num_seqs=4, max_num_batched_tokens=512)
    with pytest.raises(ValueError, match="additional_config") as error:
        build_scheduler(AugServeScheduler, limits, {} if section is None else {"augserve": section})
    assert name in str(error.value)


def test_no_request_object_is_changed_by_arriving(make_engine: EngineMaker) -> None:
    engine = make_engine()
    request = engine.add(0, 100, 5, "a")
    fresh = Request("r0", list(request.prompt_token_ids or []), request.sampling_params, None, arrival_time=1.0)
    assert vars(request).keys() == vars(fresh).keys()
