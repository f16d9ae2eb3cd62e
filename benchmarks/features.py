"""Benchmark `features`: µs to compute the vectors of an arriving turn, and to update the histories."""

import random
from collections.abc import Callable

from tqdm import tqdm

from augserve.data.tables.prompt_tail import TAIL_TOKENS, tail_counts
from augserve.features.session_history import ReturnedCall, SessionHistory
from augserve.features.shared_history import SharedHistory
from augserve.features.tool_call import ToolCallFacts, expected_call, tool_call_features
from augserve.features.turn import TurnFacts, turn_features
from augserve.pipeline.project.stage import run_stage

from .measure import base_seed, median_and_p99_us, write_figures

REPEATS = 20_000
PAST_TURNS = 30
TOOLS = ("bash", "read", "edit", "mcp__github__search")


def main() -> None:
    draw = random.Random(base_seed())
    session, shared = SessionHistory(tenant="tenant"), SharedHistory()
    for turn in range(PAST_TURNS):
        session.turn_finished(1000 + 200 * turn, draw.randint(10, 500))
        shared.turn_finished(session, draw.randint(10, 500))
        _remember(session, shared, draw.choice(TOOLS))
    token_ids = draw.choices(range(100, 32_000), k=8000)
    called = ToolCallFacts("bash", PAST_TURNS, 2, 120, "5f8a7f73", calls=1)

    def arrival() -> None:
        """Both vectors of an arriving turn, with the hashing of its prompt tail."""
        tail = tail_counts(token_ids[-TAIL_TOKENS:])
        facts = TurnFacts(8000, PAST_TURNS, 512, 0.7, 1.0, False, 3, tail)
        turn_features(facts, session, shared)
        tool_call_features(expected_call(session, PAST_TURNS), session, shared)

    def remembering() -> None:
        session.turn_finished(8000, 120)
        shared.turn_finished(session, 120)
        _remember(session, shared, "bash")

    measured: dict[str, Callable[[], object]] = {
        "turn_arrival": arrival,
        "tail_counts": lambda: tail_counts(token_ids[-TAIL_TOKENS:]),
        "known_tool_call": lambda: tool_call_features(called, session, shared),
        "remember_turn_and_call": remembering,
    }
    figures: dict[str, float] = {}
    for name, run in tqdm(measured.items(), desc="features"):
        figures |= median_and_p99_us(name, run, REPEATS)
    write_figures("features", figures)


def _remember(session: SessionHistory, shared: SharedHistory, tool: str) -> None:
    calls = [ReturnedCall(tool, None, 120, "5f8a7f73")]
    shared.paused(session, 1.5)
    shared.calls_returned(calls, 1.5)
    session.calls_returned(calls, 1.5)


if __name__ == "__main__":
    run_stage(main)
