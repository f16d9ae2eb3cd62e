"""A rough capacity@90 of stock vLLM on workloads and engines that tuning did not search.

Stock vLLM misses the SLO once the contexts of the live sessions, those in a tool call included, exceed its KV cache:
then it computes evicted contexts again. By Little's law that rate is the token·seconds that the cache has per second,
divided by the token·seconds of a session.
"""

from collections.abc import Mapping, Sequence

from ...data.workload.mix import MIX, augmentation_sessions
from ...data.workload.model import Session
from ...data.workload.steady_state import NOMINAL_TOKEN_S, nominal_pause_s
from ...data.workload.trace_set import Split
from ..project import paths
from ..results.metrics_file import Job
from ..simulator.cells.cell import load_traces
from ..simulator.engine import context_tokens
from ..simulator.errors import SimulationError
from ..simulator.profile import StepProfile

MIX_SESSIONS = 500


def capacity_guesses(
    jobs: Sequence[Job], engines: Mapping[str, StepProfile], split: Split | None, seed: int
) -> dict[Job, float]:
    """Sessions/s of each job. Raises SimulationError, TraceError or WorkloadError as a cell does."""
    guesses: dict[Job, float] = {}
    for workload, profile in jobs:
        engine = engines[profile]
        sessions = _sessions(workload, split, context_tokens(engine.limits), seed)
        guesses[workload, profile] = filling_rate_per_s(sessions, engine.limits.kv_tokens)
    return guesses


def filling_rate_per_s(sessions: Sequence[Session], kv_tokens: int) -> float:
    """The sessions/s whose contexts fill a KV cache of `kv_tokens`."""
    return kv_tokens * len(sessions) / sum(map(context_token_s, sessions))


def context_token_s(session: Session) -> float:
    """Token·seconds of KV cache that the context of a session occupies on an idle engine, pauses included."""
    token_s = 0.0
    for turn, prompt in zip(session.turns, session.prompt_lengths(), strict=True):
        context = prompt + turn.output_tokens
        token_s += context * (turn.output_tokens * NOMINAL_TOKEN_S + nominal_pause_s(turn))
    return token_s + sum(context_token_s(agent) for agent in session.agents)


def _sessions(workload: str, split: Split | None, longest_tokens: int, seed: int) -> Sequence[Session]:
    if workload == MIX:
        return augmentation_sessions(MIX_SESSIONS, 1.0, seed)
    if split is None:
        raise SimulationError(
            f"workload {workload!r}: needs a split, which says which of its sessions may run; give one"
        )
    return [recorded.session for recorded in load_traces(paths.TRACES / workload, split, longest_tokens)[0]]
