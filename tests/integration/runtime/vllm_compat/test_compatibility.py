"""The attributes that AugServe relies on, checked on vLLM's constructed scheduler."""

import logging
from collections.abc import Callable

import pytest
from vllm.config import VllmConfig
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from augserve.runtime import AugServeScheduler
from augserve.runtime.vllm_compat import UnsupportedVllmError, check_scheduler, contract

from ..conftest import (
    EngineMaker,
    balanced_outside,
    diffusion,
    pipelined,
    pipelined_synchronously,
    second_of_two,
    second_of_two_dense,
)

ATTRIBUTES = [(path, name) for path, names in contract.SCHEDULER.items() for name in names.split()]


@pytest.fixture(scope="module")
def whole() -> AsyncScheduler:
    from augserve.pipeline.simulator.engine import build_scheduler
    from augserve.pipeline.simulator.profile import EngineLimits

    limits = EngineLimits(kv_tokens=4096, max_model_len=1024, max_num_seqs=4, max_num_batched_tokens=512)
    return build_scheduler(AsyncScheduler, limits)


class Without:
    """A view of an object that lacks one attribute."""

    def __init__(self, thing: object, path: str, name: str) -> None:
        self._facts = (thing, path, name)

    def __getattr__(self, name: str) -> object:
        thing, path, missing = self._facts
        head, _, rest = path.partition(".")
        if not path and name == missing:
            raise AttributeError(name)
        value = getattr(thing, name)
        return Without(value, rest, missing) if path and name == head else value


@pytest.mark.parametrize(("path", "name"), ATTRIBUTES)
def test_a_scheduler_that_lacks_an_attribute_is_refused(whole: AsyncScheduler, path: str, name: str) -> None:
    check_scheduler(whole)
    with pytest.raises(UnsupportedVllmError, match=f"{path}.*{name}"):
        check_scheduler(Without(whole, path, name))  # type: ignore[arg-type]


def test_a_scheduler_without_a_queue_of_block_holders_is_refused(
    whole: AsyncScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "HOLDING_QUEUES", ("gone",))
    with pytest.raises(UnsupportedVllmError, match="gone"):
        check_scheduler(whole)


def test_a_group_manager_without_its_block_table_is_refused(
    whole: AsyncScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    (manager,) = whole.kv_cache_manager.coordinator.single_type_managers
    monkeypatch.delattr(manager, "req_to_blocks")
    with pytest.raises(UnsupportedVllmError, match="FullAttentionManager has no req_to_blocks"):
        check_scheduler(whole)


def test_augserve_overwrites_no_attribute_of_vllm_but_the_queue(
    make_engine: EngineMaker, whole: AsyncScheduler
) -> None:
    ours = make_engine().scheduler
    own = {name for name in vars(ours) if type(vars(ours)[name]).__module__.startswith("augserve")}
    assert own & vars(whole).keys() == {"waiting"}


def test_an_unsupported_vllm_runs_with_the_override(make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract.check_vllm, "__defaults__", ("0.99.0", False))
    with pytest.raises(UnsupportedVllmError, match=r"0\.99\.0"):
        make_engine()
    engine = make_engine(deployment={"allow_unknown_vllm": True})
    engine.add(0, 100, 5)
    engine.drain()
    engine.assert_nothing_is_left()


@pytest.mark.parametrize("mode", ["active", "shadow", "observe"])
@pytest.mark.parametrize(
    ("change", "named"), [(pipelined_synchronously, "asynchronous scheduling"), (diffusion, "diffusion")]
)
def test_a_setup_with_wrong_answers_is_refused_in_one_line(
    make_engine: EngineMaker, change: Callable[[VllmConfig], None], named: str, mode: str
) -> None:
    with pytest.raises(UnsupportedVllmError, match=named) as error:
        make_engine(change=change, mode=mode)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [second_of_two, second_of_two_dense])
def test_engines_that_may_share_sessions_warn_of_it_and_record(
    make_engine: EngineMaker,
    change: Callable[[VllmConfig], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    with caplog.at_level(logging.WARNING, "vllm.augserve.runtime.deployment"):
        make_engine(change=change, traces=True)
    told = {id(record) for record in caplog.records if "--middleware" in record.getMessage()}  # 0.29 hands it on twice
    assert len(told) == 1


def test_an_engine_whose_sessions_are_its_own_records_traces(make_engine: EngineMaker) -> None:
    make_engine(change=balanced_outside, traces=True)


@pytest.mark.parametrize("scheduler", [AsyncScheduler, None], ids=["vLLM", "AugServe"])
def test_a_decode_of_an_asynchronous_pipeline_waits_for_its_input_token(
    make_engine: EngineMaker, scheduler: type[AsyncScheduler] | None
) -> None:
    engine = make_engine(*filter(None, [scheduler]), change=pipelined)
    engine.scheduler.use_v2_model_runner = True  # which needs Triton
    assert scheduler is not None or isinstance(engine.scheduler, AugServeScheduler)
    engine.add(0, 20, 10)
    assert [dict(engine.schedule().num_scheduled_tokens) for _ in range(3)] == [{"r0": 20}, {}, {"r0": 1}]
