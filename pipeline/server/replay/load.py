"""The sessions of a replay, cut to the context of the served model."""

from pathlib import Path

from ....data.workload.adjustments import Adjustments
from ....data.workload.arrivals import Recorded
from ....data.workload.built_in import SEQUENCES, built_in_load
from ....data.workload.closed_loop import recorded_closed_load
from ....data.workload.mix import MIX
from ....data.workload.schedule import Load, mix_load, trace_load
from ....data.workload.trace_set import fit_context, read_trace_set
from ..endpoint import ReplayError
from .settings import ReplaySettings


def build_load(settings: ReplaySettings, context_tokens: int | None) -> Load:
    """The sessions of an open or a closed loop. Raises ReplayError, WorkloadError or TraceError."""
    if settings.agents is not None:
        return _closed(settings, settings.agents, context_tokens)
    adjustments = Adjustments()
    if settings.workload == MIX:
        if isinstance(settings.arrivals, Recorded) or settings.rate_per_s is None or settings.end_s is None:
            raise ReplayError(f"replay: {MIX} has no recorded arrivals; give --arrivals poisson, --rate and --duration")
        load = mix_load(settings.arrivals, settings.rate_per_s, settings.end_s, settings.seed)
        if context_tokens is None:
            return load
        return Load(fit_context(load.sessions, context_tokens, adjustments), adjustments)
    if settings.workload in SEQUENCES:
        raise ReplayError(f"replay: {settings.workload} runs in a closed loop only; give --agents")
    recorded = read_trace_set(Path(settings.workload), settings.split, context_tokens, adjustments)
    return trace_load(recorded, settings.arrivals, settings.rate_per_s, settings.end_s, settings.seed, adjustments)


def _closed(settings: ReplaySettings, agents: int, context_tokens: int | None) -> Load:
    if settings.end_s is None:
        raise ReplayError("replay: a closed loop has no end of its own; give --duration")
    if settings.workload in SEQUENCES:
        return built_in_load(
            settings.workload, agents, settings.end_s, settings.seed, context_tokens, settings.pause_cap_s
        )
    adjustments = Adjustments()
    recorded = read_trace_set(Path(settings.workload), settings.split, context_tokens, adjustments)
    return recorded_closed_load(recorded, agents, settings.end_s, settings.seed, settings.pause_cap_s, adjustments)
