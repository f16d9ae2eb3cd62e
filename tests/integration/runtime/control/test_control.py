"""Another bundle and another mode between two steps, on vLLM's real scheduler: nothing is lost, and the bad is taken
back."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from vllm.v1.core.sched.request_queue import FCFSRequestQueue

from augserve.models.serving.settings import Residency, SchedulerSettings
from augserve.runtime.guard import STRIKES
from augserve.runtime.parts import Parts

from ..conftest import Constant, EngineMaker, Guessing, TestedScheduler, by_priority
from ..requests import follow, load, running
from ..residency.contexts import CACHE, held, pinning, released
from .changes import changes, decides, parts, post


def test_another_bundle_decides_from_the_next_step_on(make_engine: EngineMaker) -> None:
    engine = make_engine(max_num_seqs=4)
    expected = load(engine, 30)
    for _ in range(10):
        engine.step()
    before = list(engine.scheduler.running)
    post(engine, parts=parts("test-2", Guessing(), SchedulerSettings(max_wait_s=9.0)))
    assert decides(engine, "test-1")
    engine.step()
    assert decides(engine, "test-2")
    assert changes(engine, "loaded") == 1
    assert all(request in engine.scheduler.running or request.is_finished() for request in before)
    engine.drain()
    assert engine.finished() == expected
    engine.assert_nothing_is_left()


def test_the_bundle_that_decides_is_not_loaded_again(make_engine: EngineMaker) -> None:
    engine = make_engine()
    engine.add(1, 100, 5)
    post(engine, parts=parts("test-1"))
    engine.drain()
    assert changes(engine, "loaded") == 0


def test_kept_contexts_and_held_turns_stay_as_they_are(make_engine: EngineMaker) -> None:
    engine, pins = pinning(make_engine)
    first = engine.add(1, 400, 20, "s")
    engine.drain()
    kept = pins.blocks
    assert kept
    settings = engine.scheduler.settings  # type: ignore[attr-defined]
    post(engine, parts=parts("test-2", engine.scheduler.predictor, settings))  # type: ignore[attr-defined]
    follow(engine, first)
    engine.step()
    assert decides(engine, "test-2")
    assert released(engine, "hit") == 1
    engine.drain()
    engine.assert_nothing_is_left()


def test_a_held_turn_stays_held_under_another_bundle(make_engine: EngineMaker) -> None:
    engine = make_engine(**CACHE)
    running(engine, 1, 2000)
    second, _ = (engine.add(number, 1600, 5, f"s{number}", cache_salt=f"s{number}") for number in (2, 3))
    engine.step()
    post(engine, parts=parts("test-2", settings=CACHE["settings"]))  # type: ignore[arg-type]
    engine.step()
    assert (decides(engine, "test-2"), held(engine)) == (True, 2)
    open_to_all = SchedulerSettings(residency=Residency(share=0.0))
    post(engine, parts=parts("test-3", settings=open_to_all))
    engine.step()
    assert held(engine) == 0
    assert second.num_computed_tokens
    engine.drain()


@pytest.mark.parametrize("change", [None, by_priority])
def test_modes_change_under_load_and_every_request_ends(
    make_engine: EngineMaker, change: Callable[[Any], None] | None
) -> None:
    engine = make_engine(kv_tokens=8_192, max_num_seqs=8, change=change)
    expected = load(engine, 60)
    wanted = random.Random(5)
    for number in range(200):
        if number % 7 == 0:
            post(engine, mode=wanted.choice(["active", "shadow", "off"]))
        if number % 31 == 0:
            post(engine, parts=parts(f"test-{number}", Guessing()))
        engine.step()
    engine.drain()
    assert engine.finished() == expected
    engine.assert_nothing_is_left()


def test_off_is_vllm_alone_and_active_takes_over_again(make_engine: EngineMaker) -> None:
    engine, pins = pinning(make_engine)
    engine.add(1, 400, 20, "s")
    engine.drain()
    assert pins.blocks
    post(engine, mode="off")
    for number in range(2, 40):
        engine.add(number, 300, 20)
    engine.step()
    assert decides(engine, "test-1", "off")
    assert not pins.blocks
    assert isinstance(engine.scheduler.waiting, FCFSRequestQueue)
    assert engine.budgets[-1] == 2048
    waiting = [request.request_id for request in engine.scheduler.waiting]
    assert waiting == sorted(waiting, key=lambda name: int(name[1:]))
    post(engine, mode="active")
    engine.step()
    assert decides(engine, "test-1", "active")
    engine.drain()
    engine.assert_nothing_is_left()


def test_a_bundle_whose_predictions_fail_is_withdrawn_and_not_taken_again(make_engine: EngineMaker) -> None:
    engine, bad = make_engine(), Constant()
    bad.broken = True
    post(engine, parts=parts("test-2", bad))
    for number in range(STRIKES + 1):
        engine.add(number, 50, 3)
        engine.step()
    assert decides(engine, "test-1")
    assert changes(engine, "withdrawn") == 1
    assert engine.scheduler.engine.metrics.value("suspended") == 0  # type: ignore[attr-defined]
    post(engine, parts=parts("test-2", bad))
    engine.step()
    assert decides(engine, "test-1")
    post(engine, parts=parts("test-3"))
    engine.step()
    assert decides(engine, "test-3")
    engine.drain()


def test_the_first_bundle_is_never_withdrawn(make_engine: EngineMaker) -> None:
    engine = make_engine()
    assert isinstance(engine.scheduler, TestedScheduler)
    engine.scheduler.predictor.broken = True
    for number in range(STRIKES + 3):
        engine.add(number, 50, 3)
        engine.step()
    post(engine, withdraw="it is to go")
    engine.drain()
    assert decides(engine, "test-1")
    assert changes(engine, "withdrawn") == 0


def test_a_change_that_fails_leaves_what_decided_before(make_engine: EngineMaker) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("no forecaster")

    engine = make_engine(max_num_seqs=4)
    expected = load(engine, 20)
    engine.step()
    post(engine, parts=Parts(SchedulerSettings(), broken, "test-2"))
    engine.step()
    assert decides(engine, "test-1")
    assert engine.scheduler.engine.metrics.value("fallbacks", reason="control") == 1  # type: ignore[attr-defined]
    engine.drain()
    assert engine.finished() == expected
    engine.assert_nothing_is_left()


def test_recorded_turns_name_the_bundle_that_decided(make_engine: EngineMaker, tmp_path: Path) -> None:
    engine = make_engine(traces=True)
    engine.add(1, 100, 5)
    engine.drain()
    post(engine, parts=parts("test-2"))
    engine.add(2, 100, 5)
    engine.drain()
    engine.scheduler.shutdown()
    rows = pq.read_table(next((tmp_path / "traces").glob("turns-*.parquet"))).to_pylist()
    assert [row["scheduler_version"] for row in rows] == ["test-1", "test-2"]
