from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from vllm.sampling_params import SamplingParams

from augserve.runtime.vllm_compat import Request, move_to_end

PARAMS = SamplingParams(max_tokens=4)


@given(st.integers(0, 20), st.data())
def test_moved_requests_come_last_and_the_others_keep_their_order(count: int, data: st.DataObject) -> None:
    running = [Request(str(number), [1], PARAMS, None) for number in range(count)]
    scheduler: Any = SimpleNamespace(running=running)
    before = list(running)
    last = data.draw(st.lists(st.sampled_from(before), unique_by=id, max_size=8)) if before else []
    move_to_end(scheduler, last)
    assert scheduler.running is running, "vLLM's own list is changed in place"
    assert running == [each for each in before if each not in last] + last
