"""What an import did: counted while the rows pass by."""

from collections.abc import Mapping
from dataclasses import dataclass

from .durations import Durations


@dataclass(frozen=True, slots=True)
class ImportSummary:
    turns: int
    tool_calls: int
    steps: int
    sessions: int
    start_s: float | None  # the first arrival; None: no turns
    end_s: float | None  # the last arrival or finish
    tools: Mapping[str, Durations]  # the most frequent first
    exact_tokens: bool  # False: where text had to be counted, tokens are estimates
    counted_texts: int  # texts whose tokens were counted; 0: the format has counts of its own
    skipped: Mapping[str, int]  # malformed records by cause
    left_out: Mapping[str, int]  # left out or altered by rule
    named: tuple[str, ...]  # the first problems: "file:line: cause"
