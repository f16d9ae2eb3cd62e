"""What AugServe relies on, looked at on vLLM's constructed scheduler."""

from operator import attrgetter

import pytest
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from augserve.runtime.vllm_compat import UnsupportedVllmError, check_scheduler, relied

from .conftest import EngineMaker

ATTRIBUTES = [(path, name) for path, names in relied.SCHEDULER.items() for name in names]


@pytest.fixture(scope="module")
def whole() -> AsyncScheduler:
    from augserve.pipeline.simulator.engine import build_scheduler
    from augserve.pipeline.simulator.profile import EngineLimits

    limits = EngineLimits(kv_tokens=4096, max_model_len=1024, max_num_seqs=4, max_num_batched_tokens=512)
    return build_scheduler(AsyncScheduler, limits)


class Without:
    """Whatever it is given, but for one attribute."""

    def __init__(self, thing: object, path: str, name: str) -> None:
        self._facts = (thing, path, name)

    def __getattr__(self, name: str) -> object:
        thing, path, missing = self._facts
        head, _, rest = path.partition(".")
        if not path and name == missing:
            raise AttributeError(name)
        found = getattr(thing, name)
        return Without(found, rest, missing) if path and name == head else found


@pytest.mark.parametrize(("path", "name"), ATTRIBUTES)
def test_a_scheduler_that_lacks_an_attribute_is_refused(whole: AsyncScheduler, path: str, name: str) -> None:
    check_scheduler(whole)
    assert hasattr(attrgetter(path)(whole) if path else whole, name)
    what = f"the scheduler's {path}" if path else "the scheduler"
    with pytest.raises(UnsupportedVllmError, match=f"{what} has no {name}"):
        check_scheduler(Without(whole, path, name))  # type: ignore[arg-type]


def test_a_scheduler_without_a_queue_of_those_that_hold_blocks_is_refused(
    whole: AsyncScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relied, "HOLDING_QUEUES", ("gone",))
    with pytest.raises(UnsupportedVllmError, match="the scheduler has no gone"):
        check_scheduler(whole)


def test_a_group_manager_without_its_requests_blocks_is_refused(
    whole: AsyncScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    (manager,) = whole.kv_cache_manager.coordinator.single_type_managers
    monkeypatch.delattr(manager, "req_to_blocks")
    with pytest.raises(UnsupportedVllmError, match="FullAttentionManager has no req_to_blocks"):
        check_scheduler(whole)


def test_nothing_of_vllms_is_overwritten(make_engine: EngineMaker, whole: AsyncScheduler) -> None:
    """Among the attributes too: AugServe's own are new ones, and `waiting` holds its queue."""
    ours = make_engine().scheduler
    own = {name for name in vars(ours) if type(vars(ours)[name]).__module__.startswith("augserve")}
    assert own & vars(whole).keys() == {"waiting"}


def test_a_changed_vllm_starts_only_with_the_override(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = Scheduler.set_pause_state

    def set_pause_state(self: Scheduler, pause_state: object) -> None:
        stock(self, pause_state)

    monkeypatch.setattr(Scheduler, "set_pause_state", set_pause_state)
    with pytest.raises(UnsupportedVllmError, match=r"Scheduler\.set_pause_state is not as in"):
        make_engine()
    engine = make_engine(deployment={"allow_unknown_vllm": True})
    engine.add(0, 100, 5)
    engine.drain()
    engine.assert_nothing_is_left()
