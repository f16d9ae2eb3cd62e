"""The attributes that AugServe relies on, checked on vLLM's constructed scheduler."""

import pytest
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from augserve.runtime.vllm_compat import UnsupportedVllmError, check_scheduler, contract

from .conftest import EngineMaker

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
