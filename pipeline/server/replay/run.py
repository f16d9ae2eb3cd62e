"""A replay, from its settings to its results."""

import asyncio
import dataclasses
import logging
import resource
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ....data.workload.adjustments import Adjustments
from ....data.workload.arrivals import Arrivals, Recorded
from ....data.workload.mix import MIX
from ....data.workload.schedule import Load, mix_load, trace_load
from ....data.workload.trace_set import Split, fit_context, read_trace_set
from ....models.serving.settings import Slo
from ...simulator.record.metrics import Window
from ..endpoint import Endpoint, ReplayError, counted, read_counters, served_model
from ..open_loop import run_open_loop
from .lag import client_lag, watch_loop
from .progress import Progress
from .report import Replayed
from .runner import ReplayedTurn, SessionReplayer
from .turn_request import Identity

DRAIN_S = 60.0
"""Default seconds for the window's last turns to finish. Later ones are misses."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    workload: str  # MIX, or a folder of traces
    endpoint: Endpoint
    model: str | None  # None: the first one served
    arrivals: Arrivals | Recorded
    rate_per_s: float | None  # None: as recorded
    duration_s: float | None  # None: until the last session ends
    seed: int
    split: Split | None = None
    identity: Identity = field(default_factory=Identity)
    slo: Slo = field(default_factory=Slo)
    drain_s: float = DRAIN_S


def build_load(settings: ReplaySettings, context_tokens: int | None) -> Load:
    """The sessions, cut to the model's context. Raises ReplayError, WorkloadError or TraceError."""
    adjustments = Adjustments()
    if settings.workload == MIX:
        if isinstance(settings.arrivals, Recorded) or settings.rate_per_s is None or settings.duration_s is None:
            raise ReplayError(f"replay: {MIX} has no recorded arrivals; give --arrivals poisson, --rate and --duration")
        load = mix_load(settings.arrivals, settings.rate_per_s, settings.duration_s, settings.seed)
        if context_tokens is None:
            return load
        return Load(fit_context(load.sessions, context_tokens, adjustments), adjustments)
    recorded = read_trace_set(Path(settings.workload), settings.split, context_tokens, adjustments)
    load = trace_load(recorded, settings.arrivals, settings.rate_per_s, settings.duration_s, settings.seed)
    return Load(load.sessions, dataclasses.replace(adjustments, repeated_sessions=load.adjustments.repeated_sessions))


async def replay(settings: ReplaySettings, given: Load | None = None) -> Replayed:
    """Run the workload, or the sessions of `given`, against the server.

    Raises ReplayError if the server does not answer or every turn fails.
    """
    _raise_file_limit()
    loop = asyncio.get_running_loop()
    endpoint = settings.endpoint
    async with endpoint.client() as client:
        model = await served_model(client, endpoint, settings.model)
        load = given or build_load(settings, model.context_tokens)
        if not load.sessions:
            raise ReplayError("replay: no session begins within the duration; lengthen it or raise the rate")
        before = await read_counters(client, endpoint)
        started_at_s, start_s = time.time(), loop.time()
        end_s = None if settings.duration_s is None else start_s + settings.duration_s
        turns = sum(len(own.turns) for session in load.sessions for own in session.tree())
        with Progress(f"replay on {model.name}", turns, settings.duration_s) as progress:
            runner = SessionReplayer(client, endpoint, model, settings.identity, start_s, end_s, progress.turn_done)
            last_s = None if end_s is None else end_s + settings.drain_s
            ticks_s = await _run(runner, load, start_s, last_s, progress)
        finished_s = loop.time()
        counters = counted(before, await read_counters(client, endpoint))
    _refuse_total_failure(runner.turns, endpoint)
    lag = client_lag(runner.turns, ticks_s)
    if not lag.keeps_up:
        logger.warning(lag.warning())
    for turn in runner.turns:
        _since(turn, start_s)
    length_s = finished_s - start_s
    return Replayed(
        settings=_named(settings, model.name),
        started_at_s=started_at_s,
        turns=runner.turns,
        sessions=len(load.sessions),
        unsent=turns - len(runner.turns),
        window=Window(0.0, length_s if settings.duration_s is None else settings.duration_s),
        end_s=length_s,
        counters=counters,
        lag=lag,
        adjustments=load.adjustments,
        slo=settings.slo,
    )


async def _run(
    runner: SessionReplayer, load: Load, start_s: float, last_s: float | None, progress: Progress
) -> list[float]:
    """Run all sessions to their ends, or until `last_s`. Returns the lags of the event loop."""
    ticks_s: list[float] = []
    now = asyncio.get_running_loop().time

    def tick(late_s: float) -> None:
        ticks_s.append(late_s)
        progress.tick(now() - start_s)

    watch = asyncio.ensure_future(watch_loop(tick))
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(last_s):
                await run_open_loop(runner, load.sessions, start_s)
    finally:
        watch.cancel()
    return ticks_s


def _since(turn: ReplayedTurn, start_s: float) -> None:
    turn.due_s -= start_s
    turn.sent_s -= start_s
    if turn.first_token_s is not None:
        turn.first_token_s -= start_s
    if turn.finish_s is not None:
        turn.finish_s -= start_s


def _refuse_total_failure(turns: list[ReplayedTurn], endpoint: Endpoint) -> None:
    if turns and all(turn.failure is not None for turn in turns):
        first = turns[0]
        raise ReplayError(
            f"{endpoint.url}: all {len(turns)} turns failed, the first with {first.failure}: {first.detail}; "
            "repair the server or choose another workload"
        )


def _named(settings: ReplaySettings, model: str) -> dict[str, object]:
    """The settings for the report, without the key."""
    return {
        "workload": settings.workload,
        "url": settings.endpoint.url,
        "model": model,
        "arrivals": repr(settings.arrivals),
        "rate_per_s": settings.rate_per_s,
        "duration_s": settings.duration_s,
        "seed": settings.seed,
        "part": "all" if settings.split is None else settings.split.use,
        "session_ids": settings.identity.session_ids,
        "hints": settings.identity.hints,
        "slo_ttft_s": settings.slo.ttft_s,
        "slo_tpot_s": settings.slo.tpot_s,
    }


def _raise_file_limit() -> None:
    """Raise the soft limit of open files: each running turn has a connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
