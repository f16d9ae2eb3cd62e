"""The results of a replay: the simulator's metrics of the client's turns, as a table and as JSON."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ....data.workload.adjustments import Adjustments
from ....models.serving.settings import Slo
from ...simulator.record.metrics import pace_metrics, run_metrics
from ...simulator.record.records import EngineTotals, SimulationResult, TurnRecord
from ...simulator.record.window import Window
from .lag import ClientLag
from .runner import ReplayedTurn

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Replayed:
    """A finished replay. The times of `turns` are seconds since its start."""

    settings: Mapping[str, object]
    started_at_s: float  # Unix time
    turns: Sequence[ReplayedTurn]
    sessions: int  # begun, without sub-agents
    unsent: int  # their turns that arrive after the window, or follow a failed turn
    window: Window
    end_s: float
    counters: Mapping[str, float]  # increases of the server's counters
    lag: ClientLag
    adjustments: Adjustments
    slo: Slo

    def records(self) -> tuple[TurnRecord, ...]:
        """The turns as records of the simulator. A turn arrives when it is due."""
        return tuple(_record(turn) for turn in self.turns)

    def metrics(self) -> dict[str, float]:
        """Metrics of the turns that arrived in the window.

        Preemptions and the prefix hit rate are the server's, from the end of the warm-up to that of the run; they are
        absent without its counters.
        """
        records = self.records()
        metrics = run_metrics(SimulationResult(records, EngineTotals(), self.end_s), self.window, self.slo)
        metrics |= pace_metrics([record for record in records if self.window.holds(record.arrival_s)])
        del metrics["preemptions"]
        if all(turn.cached_tokens is None for turn in self.turns):
            metrics.pop("prefix_hit_rate", None)
        if queries := self.counters.get("prefix_cache_queries"):
            metrics["prefix_hit_rate"] = self.counters.get("prefix_cache_hits", 0.0) / queries
        if "preemptions" in self.counters:
            metrics["preemptions"] = self.counters["preemptions"]
        output_tokens = sum(turn.output_tokens for turn in self.turns if turn.finish_s is not None)
        return metrics | {
            "sessions": float(len({turn.session_id for turn in self.turns})),
            "failed": float(sum(turn.failure is not None for turn in self.turns)),
            "unsent_turns": float(self.unsent),
            "other_length_turns": float(sum(_is_other(turn) for turn in self.turns)),
            "output_tokens_per_s": output_tokens / self.end_s,
        }

    def turn_counts(self) -> dict[str, int]:
        """What became of each turn of the sessions that began. `cancelled`: unfinished at the end of the drain."""
        answered = sum(turn.finish_s is not None for turn in self.turns)
        failed = sum(turn.failure is not None for turn in self.turns)
        cancelled = len(self.turns) - answered - failed
        return {"answered": answered, "failed": failed, "cancelled": cancelled, "unsent": self.unsent}

    def failures(self) -> dict[str, Json]:
        """Failed turns by reason, most frequent first, with the message of the first one."""
        counts = Counter(turn.failure for turn in self.turns if turn.failure is not None)
        first = {turn.failure: turn.detail for turn in reversed(self.turns)}
        return {reason: {"turns": count, "first": first[reason]} for reason, count in counts.most_common()}

    def to_json(self) -> Json:
        return {
            "settings": dict(self.settings),
            "started_at_s": self.started_at_s,
            "window_s": [self.window.start_s, self.window.end_s],
            "metrics": self.metrics(),
            "turn_counts": self.turn_counts(),
            "failures": self.failures(),
            "client_lag": dataclasses.asdict(self.lag) | {"keeps_up": self.lag.keeps_up},
            "server_counters": dict(self.counters),
            "workload": {"sessions": self.sessions, **self.adjustments.to_json()},
            "turns": [dataclasses.asdict(turn) for turn in self.turns],
        }

    def table(self) -> str:
        """Two columns for a terminal, then the counts of turns, the failures and the adjustments of the workload."""
        rows = [f"{name:30} {value:>12,.4g}" for name, value in self.metrics().items()]
        counts = "turns: " + ", ".join(f"{count} {end}" for end, count in self.turn_counts().items())
        failed = [f"failed: {facts['turns']} x {name}: {facts['first']}" for name, facts in self.failures().items()]
        return "\n".join([*rows, counts, *failed, *(f"workload: {line}" for line in self.adjustments.lines())])


def _record(turn: ReplayedTurn) -> TurnRecord:
    return TurnRecord(
        turn.session_id,
        turn.kind,
        turn.turn,
        turn.last,
        turn.due_s,
        turn.prompt_asked,
        turn.first_token_s,
        turn.finish_s,
        turn.output_tokens,
        turn.cached_tokens or 0,
        parent_id=turn.parent_id,
        midway=turn.midway,
    )


def _is_other(turn: ReplayedTurn) -> bool:
    """Whether the server's counts of a finished turn differ from the requested lengths."""
    if turn.finish_s is None or turn.prompt_tokens is None:
        return False
    return (turn.prompt_tokens, turn.output_tokens) != (turn.prompt_asked, turn.output_asked)
