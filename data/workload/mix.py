"""The built-in workload: sessions of the six augmentations, drawn from the published figures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .arrivals import covering_count, require_positive
from .augmentations import Augmentation, load_augmentations, lognormal
from .model import MAX_TOKENS, Session, ToolCall, Turn, WorkloadError
from .steady_state import LEAD_S, under_way

MIX = "augmentation-mix"  # its name in params.yaml and on the command line
MIX_SWING = "augmentation-mix-swing"  # the same sessions at a rate that swings (schedule.py)


def augmentation_sessions(count: int, rate_per_s: float, seed: int) -> tuple[Session, ...]:
    """`count` sessions of the six augmentations, in the mix's proportions, arriving as a Poisson process.

    Calls, tool times, results and contexts agree with augmentations.csv. A seed gives the same sessions at every rate;
    the rate only stretches the arrivals. Raises WorkloadError for a count or rate that is not positive.
    """
    if count < 1:
        raise WorkloadError(f"workload: {count} sessions asked for; ask for 1 or more")
    require_positive("workload: session rate, 1/s,", rate_per_s)
    kinds = load_augmentations()
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(size=count)) / rate_per_s
    chosen = random.choice(len(kinds), size=count, p=_shares(kinds))
    return tuple(
        _session(kinds[kind], f"{kinds[kind].kind}-{seed}-{index}", float(arrival_s), random)
        for index, (kind, arrival_s) in enumerate(zip(chosen, arrivals, strict=True))
    )


def augmentation_session(kinds: Sequence[Augmentation], seed: int, index: int) -> Session:
    """One session of the mix, which arrives at 0. It depends on the seed and the index alone."""
    random = np.random.default_rng((seed, index))
    kind = kinds[int(random.choice(len(kinds), p=_shares(kinds)))]
    return _session(kind, f"{kind.kind}-{seed}-{index}", 0.0, random)


def steady_sessions(duration_s: float, rate_per_s: float, seed: int) -> tuple[Session, ...]:
    """`augmentation_sessions` over `duration_s`, with the sessions that are under way at time 0.

    Those began before; they enter with their next turn, with their context as its prompt. Without them the load would
    rise for minutes, since most sessions pause for minutes. Raises WorkloadError for a figure that is not positive.
    """
    require_positive("workload: duration, s,", duration_s)
    end_s = LEAD_S + duration_s
    sessions = augmentation_sessions(covering_count(end_s, rate_per_s), rate_per_s, seed)
    return under_way((session for session in sessions if session.arrival_s < end_s), LEAD_S)


def _shares(kinds: Sequence[Augmentation]) -> NDArray[np.float64]:
    requests = np.array([kind.requests for kind in kinds], np.float64)
    return np.asarray(requests / requests.sum(), np.float64)


def _session(kind: Augmentation, session_id: str, arrival_s: float, random: np.random.Generator) -> Session:
    calls = _whole(lognormal(random, *kind.session_calls))
    new_tokens = _whole(lognormal(random, kind.counted_prompt_mean, kind.counted_prompt_sd))
    turns = []
    for _ in range(calls):
        tool_call = ToolCall(kind.kind, kind.tool_time_s(random), _whole(lognormal(random, *kind.tool_result)))
        turns.append(Turn(new_tokens, _output_tokens(kind, random), (tool_call,)))
        new_tokens = tool_call.result_tokens
    turns.append(Turn(new_tokens, _output_tokens(kind, random)))
    return Session(session_id, kind.kind, arrival_s, tuple(turns))


def _output_tokens(kind: Augmentation, random: np.random.Generator) -> int:
    return min(_whole(lognormal(random, *kind.turn_output)), MAX_TOKENS)


def _whole(value: float) -> int:
    return max(1, round(value))
