"""Names of sessions: those of the trace, told apart where a later file repeats one."""

from collections import Counter


class SessionNames:
    """One instance an import. Memory: each name that was given out."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()

    def unique(self, name: str) -> str:
        """`name` itself, the next time `name:2`, `name:3` …"""
        self._given[name] += 1
        return name if self._given[name] == 1 else self.unique(f"{name}:{self._given[name]}")
