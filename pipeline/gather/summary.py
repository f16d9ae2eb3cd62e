"""The figures of a run, for `reports/gather/metrics.json`."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .session import GatheredTurn, SessionSeen

Item = TypeVar("Item")
Quantiles = dict[str, float]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The client's records of a run of `wall_s` seconds."""

    seen: Sequence[SessionSeen]
    wall_s: float

    @property
    def turns(self) -> list[GatheredTurn]:
        return [turn for session in self.seen for turn in session.turns]

    def figures(self) -> dict[str, float]:
        """Counts, rates and TTFT."""
        turns = self.turns
        output_tokens = sum(turn.output_tokens for turn in turns)
        ttft_s = _quantiles([turn.first_token_s - turn.sent_s for turn in turns if turn.first_token_s is not None])
        return {
            "sessions": len(self.seen),
            "turns": len(turns),
            "tool_calls": sum(len(session.calls) for session in self.seen),
            "wall_s": round(self.wall_s, 3),
            "prompt_tokens": sum(turn.prompt_tokens or 0 for turn in turns),
            "output_tokens": output_tokens,
            "output_tokens_per_s": round(output_tokens / self.wall_s, 3),
            "ended_by_the_model": round(sum(turn.finish_reason == "stop" for turn in turns) / len(turns), 4),
            **{f"ttft_{name}_s": value for name, value in ttft_s.items() if name in ("p50", "p99")},
        }

    def to_json(self) -> dict[str, object]:
        """The figures, quantiles of output length by kind, style and tool, and quantiles of tool durations."""
        turns, calls = self.turns, [call for session in self.seen for call in session.calls]
        return {
            **self.figures(),
            "output_tokens_by_kind": _grouped(turns, lambda turn: turn.kind, _output_tokens),
            "output_tokens_by_style": _grouped(turns, lambda turn: turn.style, _output_tokens),
            "output_tokens_by_tool_called": _grouped(turns, lambda turn: turn.tool_called or "none", _output_tokens),
            "tool_s_by_tool": _grouped(calls, lambda call: call.tool, lambda call: call.duration_s),
        }


def _output_tokens(turn: GatheredTurn) -> float:
    return turn.output_tokens


def _grouped(items: Iterable[Item], key: Callable[[Item], str], value: Callable[[Item], float]) -> dict[str, Quantiles]:
    groups: dict[str, list[float]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(value(item))
    return {name: _quantiles(values) for name, values in sorted(groups.items())}


def _quantiles(values: Sequence[float]) -> Quantiles:
    if not values:
        return {}
    quantiles = np.quantile(values, (0.1, 0.5, 0.9, 0.99))
    return {name: round(float(value), 6) for name, value in zip(("p10", "p50", "p90", "p99"), quantiles, strict=True)}
