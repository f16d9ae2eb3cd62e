"""What is remembered of a session, and of each tool, between turns. Training replays it, serving keeps it live."""

import math
from dataclasses import dataclass, field

NAN = math.nan


@dataclass(slots=True)
class RunningMean:
    """Count, last value and mean of a series, NaN while empty."""

    count: int = 0
    last: float = NAN
    mean: float = NAN

    def add(self, value: float) -> None:
        self.count += 1
        self.last = value
        self.mean = value if self.count == 1 else self.mean + (value - self.mean) / self.count


@dataclass(slots=True)
class SessionHistory:
    """A session's past at one moment: it holds nothing that is known only later."""

    context_tokens: int = 0  # prompt and output of the last finished turn
    last_tool: str | None = None
    output_tokens: RunningMean = field(default_factory=RunningMean)
    tool_duration_s: RunningMean = field(default_factory=RunningMean)

    def turn_finished(self, prompt_tokens: int, output_tokens: int) -> None:
        self.context_tokens = prompt_tokens + output_tokens
        self.output_tokens.add(float(output_tokens))

    def tool_returned(self, tool: str | None, duration_s: float) -> None:
        self.last_tool = tool
        self.tool_duration_s.add(duration_s)


class ToolHistory:
    """Recent duration of each tool over all sessions: an exponential mean of log seconds."""

    def __init__(self, weight: float = 0.1) -> None:
        self._weight = weight
        self._log_s: dict[str, float] = {}

    def add(self, tool: str, duration_s: float) -> None:
        value = math.log(max(duration_s, 1e-6))
        past = self._log_s.get(tool)
        self._log_s[tool] = value if past is None else past + self._weight * (value - past)

    def log_duration_s(self, tool: str | None) -> float:
        """Log seconds, NaN for a tool not seen yet."""
        return NAN if tool is None else self._log_s.get(tool, NAN)
