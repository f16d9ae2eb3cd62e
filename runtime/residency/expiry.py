"""When pinned contexts stop being worth their memory, in order of time."""

from bisect import bisect_left, bisect_right, insort


class Expiry:
    """Sessions by the time at which their context outlasts its worth. A look costs O(log n), a change the moving of the
    later entries."""

    def __init__(self) -> None:
        self._times: list[tuple[float, str]] = []

    def add(self, session_id: str, at_s: float) -> None:
        insort(self._times, (at_s, session_id))

    def discard(self, session_id: str, at_s: float) -> None:
        """Does nothing for a session that is not there at this time."""
        place = bisect_left(self._times, (at_s, session_id))
        if place < len(self._times) and self._times[place] == (at_s, session_id):
            del self._times[place]

    def until(self, now_s: float) -> list[str]:
        """Sessions whose time has come, the longest ago first."""
        return [session_id for _, session_id in self._times[: self._count(now_s)]]

    def next_s(self, now_s: float) -> float:
        """The first time after `now_s`; infinite without one."""
        place = self._count(now_s)
        return self._times[place][0] if place < len(self._times) else float("inf")

    def clear(self) -> None:
        self._times.clear()

    def _count(self, now_s: float) -> int:
        return bisect_right(self._times, now_s, key=_time)


def _time(entry: tuple[float, str]) -> float:
    return entry[0]
