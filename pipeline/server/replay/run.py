"""A replay, from its settings to its results."""

import asyncio
import logging
import resource
import time
from collections.abc import Iterable
from contextlib import suppress

import httpx

from ....data.workload.model import Session
from ....data.workload.schedule import Load
from ...simulator.record.trees import turns_of
from ...simulator.record.window import Window
from ..endpoint import Endpoint, ReplayError, counted, read_counters, served_model
from ..open_loop import run_open_loop
from .closed_loop import ClosedLoop
from .lag import client_lag, watch_loop
from .load import build_load
from .progress import Progress
from .report import Replayed
from .runner import ReplayedTurn, SessionReplayer
from .settings import ReplaySettings

logger = logging.getLogger(__name__)


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
        end_s = None if settings.end_s is None else start_s + settings.end_s
        warm = asyncio.ensure_future(_counters_at(client, endpoint, start_s + settings.warmup_s))
        with Progress(f"replay on {model.name}", _turns(load.sessions), settings.end_s) as progress:
            runner = SessionReplayer(client, endpoint, model, settings.identity, start_s, end_s, progress.turn_done)
            last_s = None if end_s is None else end_s + settings.drain_s
            ticks_s = await _run(runner, load, start_s, last_s, progress)
        finished_s = loop.time()
        if settings.warmup_s and warm.done():
            before = warm.result()
        warm.cancel()
        counters = counted(before, await read_counters(client, endpoint))
    _refuse_total_failure(runner.turns, endpoint)
    lag = client_lag(runner.turns, ticks_s)
    if not lag.keeps_up:
        logger.warning(lag.warning())
    for turn in runner.turns:
        _since(turn, start_s)
    length_s = finished_s - start_s
    return Replayed(
        settings=settings.to_json(model.name),
        started_at_s=started_at_s,
        turns=runner.turns,
        sessions=len(runner.begun),
        unsent=_turns(runner.begun) - len(runner.turns),
        window=Window(settings.warmup_s, length_s if settings.end_s is None else settings.end_s),
        end_s=length_s,
        counters=counters,
        lag=lag,
        adjustments=load.adjustments,
        slo=settings.slo,
    )


async def _run(
    runner: SessionReplayer, load: Load, start_s: float, last_s: float | None, progress: Progress
) -> list[float]:
    """Run the sessions to their ends, or until `last_s`. Returns the lags of the event loop."""
    ticks_s: list[float] = []
    now = asyncio.get_running_loop().time

    def tick(late_s: float) -> None:
        ticks_s.append(late_s)
        progress.tick(now() - start_s)

    watch = asyncio.ensure_future(watch_loop(tick))
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(last_s):
                if load.agents is None:
                    await run_open_loop(runner, load.sessions, start_s)
                else:
                    agents = ClosedLoop(runner, load.sessions[load.agents :])
                    await run_open_loop(agents, load.sessions[: load.agents], start_s)
    finally:
        watch.cancel()
    return ticks_s


def _turns(sessions: Iterable[Session]) -> int:
    """The turns of the sessions and of their sub-agents."""
    return sum(map(turns_of, sessions))


async def _counters_at(client: httpx.AsyncClient, endpoint: Endpoint, time_s: float) -> dict[str, float] | None:
    """The server's counters at a time of the event loop's clock, or now if that has passed."""
    await asyncio.sleep(max(time_s - asyncio.get_running_loop().time(), 0.0))
    return await read_counters(client, endpoint)


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


def _raise_file_limit() -> None:
    """Raise the soft limit of open files: each running turn has a connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
