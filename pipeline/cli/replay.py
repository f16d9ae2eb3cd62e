"""`augserve replay WORKLOAD`: run a workload against a live OpenAI server and measure it."""

import argparse
import asyncio
import logging
from pathlib import Path

from ...data.atomic import write_json
from ...data.workload.arrivals import Recorded, parse_arrivals, require_positive
from ...data.workload.built_in import SEQUENCES
from ...data.workload.mix import MIX
from ...data.workload.trace_set import Split
from ...models.serving.settings import Slo
from ..project.params import SplitShares, load_params
from ..server.endpoint import Endpoint, ReplayError
from ..server.replay.run import replay
from ..server.replay.settings import DRAIN_S, ReplaySettings
from ..server.replay.turn_request import Identity

RATE_PER_S = 1.0
DURATION_S = 60.0
AGENTS_WARMUP_S = 60.0  # within it all agents have begun
AGENTS_DURATION_S = 300.0


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("workload", metavar="WORKLOAD", help=f"{', '.join(SEQUENCES)}, or a folder of traces")
    add("--url", default="http://localhost:8000", help="the server (default %(default)s); its key: OPENAI_API_KEY")
    add("--model", help="default: the first one served")
    add("--arrivals", metavar="PROCESS", help="poisson, gamma:CV, burst or recorded (default: recorded for traces)")
    add("--rate", type=float, help=f"sessions per second (default {RATE_PER_S:g}; recorded: as recorded)")
    add("--agents", type=int, metavar="N", help="closed loop: N at once, each begins its next session after its last")
    add("--pause-cap", type=float, metavar="S", help="longest time of a tool in a closed loop (default: as recorded)")
    durations = f"default {DURATION_S:g}; agents: {AGENTS_DURATION_S:g}; recorded: all sessions to their end"
    add("--duration", type=float, metavar="S", help=f"seconds measured ({durations})")
    warmup = f"seconds before them (default 0; agents: {AGENTS_WARMUP_S:g})"
    add("--warmup", type=float, metavar="S", help=warmup)
    drain = "seconds after them for turns under way, which are then cancelled (default %(default)s)"
    add("--drain", type=float, metavar="S", default=DRAIN_S, help=drain)
    add("--seed", type=int, default=1, help="seed of arrivals and drawn sessions (default %(default)s)")
    add("--part", choices=("all", "train", "tune", "report"), default="all", help="of the traces (default all)")
    add("--slo-ttft-s", type=float, default=Slo().ttft_s, help="default %(default)s")
    add("--slo-tpot-s", type=float, default=Slo().tpot_s, help="default %(default)s")
    add("--session-ids", action="store_true", help="send X-Session-ID, and X-Parent-Session-ID of sub-agents")
    add("--hints", action="store_true", help="send the tools, as the middleware does for chat requests")
    add("--out", type=Path, help="JSON file for metrics and turns")


def run(arguments: argparse.Namespace) -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request would hide the progress bar
    results = asyncio.run(replay(read_settings(arguments)))
    if arguments.out is not None:
        write_json(arguments.out, results.to_json())
    print(results.table())


def read_settings(arguments: argparse.Namespace) -> ReplaySettings:
    """Raises WorkloadError, SettingsError, ParamsError or ReplayError for an invalid argument."""
    _refuse_both_loops(arguments)
    arrivals = parse_arrivals(arguments.arrivals or ("poisson" if arguments.workload == MIX else "recorded"))
    closed = arguments.agents is not None
    as_recorded = isinstance(arrivals, Recorded) and not closed
    rate = arguments.rate if arguments.rate is not None or closed or as_recorded else RATE_PER_S
    duration, warmup = arguments.duration, arguments.warmup
    if duration is None and not as_recorded:
        duration = AGENTS_DURATION_S if closed else DURATION_S
    if warmup is None:
        warmup = AGENTS_WARMUP_S if closed else 0.0
    for name, value in (("--rate", rate), ("--duration", duration)):
        if value is not None:
            require_positive(name, value)
    for name, value in (("--warmup", warmup), ("--drain", arguments.drain)):
        if not 0 <= value < float("inf"):
            raise ReplayError(f"{name} is {value}; it must be 0 or a positive number")
    if arguments.seed < 0:
        raise ReplayError(f"--seed is {arguments.seed}; it must be 0 or more")
    if warmup and duration is None:
        raise ReplayError("--warmup: the measured window after it has no end; give --duration too")
    return ReplaySettings(
        workload=arguments.workload,
        endpoint=Endpoint.parse(arguments.url),
        model=arguments.model,
        arrivals=arrivals,
        rate_per_s=rate,
        duration_s=duration,
        seed=arguments.seed,
        split=None if arguments.part == "all" else _split(arguments.part),
        identity=Identity(arguments.session_ids, arguments.hints),
        slo=Slo(ttft_s=arguments.slo_ttft_s, tpot_s=arguments.slo_tpot_s),
        drain_s=arguments.drain,
        warmup_s=warmup,
        agents=arguments.agents,
        pause_cap_s=arguments.pause_cap,
    )


def _refuse_both_loops(arguments: argparse.Namespace) -> None:
    if arguments.agents is None:
        if arguments.pause_cap is not None:
            raise ReplayError("--pause-cap: only a closed loop cuts pauses; give --agents too")
        return
    for name in ("rate", "arrivals"):
        if getattr(arguments, name) is not None:
            raise ReplayError(f"--{name}: it sets an open loop, and --agents a closed one; give one of them")


def _split(use: str) -> Split:
    """The split of params.yaml, which the predictors were trained with."""
    shares = load_params(SplitShares)
    return Split(use, shares.validation_share, shares.test_share)  # type: ignore[arg-type]  # argparse's choices
