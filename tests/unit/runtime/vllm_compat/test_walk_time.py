from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.vllm_compat.walk_time import BURST_S, SHARE, WalkTime


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def walk(self, took_s: float) -> bool:
        self.now_s += took_s
        return True


def test_walks_pause_while_they_take_too_much_time() -> None:
    clock = Clock()
    time = WalkTime(clock)
    assert time.spend(lambda: clock.walk(BURST_S + 0.005), otherwise=False)
    assert not time.spend(lambda: clock.walk(1.0), otherwise=False)
    clock.now_s += 0.006 / SHARE
    assert time.spend(lambda: clock.walk(0.001), otherwise=False)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 0.01)), min_size=1, max_size=100))
def test_walks_take_a_bounded_share_of_the_time(steps: list[tuple[float, float]]) -> None:
    clock = Clock()
    time, walked_s = WalkTime(clock), 0.0
    for pause_s, took_s in steps:
        clock.now_s += pause_s
        before_s = clock.now_s
        time.spend(lambda took_s=took_s: clock.walk(took_s), otherwise=False)
        walked_s += clock.now_s - before_s
    assert walked_s <= BURST_S + SHARE * clock.now_s + 0.01 + 1e-9
