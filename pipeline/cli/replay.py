"""`augserve replay WORKLOAD`: run a workload against a live OpenAI server and measure it."""

import argparse
import asyncio
import logging
from pathlib import Path

from ...data.atomic import write_json
from ...data.workload.arrivals import Recorded, parse_arrivals, require_positive
from ...data.workload.mix import MIX
from ...data.workload.trace_set import Split
from ...models.serving.settings import Slo
from ..project.params import SplitShares, load_params
from ..server.endpoint import Endpoint
from ..server.replay.run import ReplaySettings, replay
from ..server.replay.turn_request import Identity

RATE_PER_S = 1.0
DURATION_S = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("workload", metavar="WORKLOAD", help=f"{MIX}, or a folder of traces")
    add("--url", default="http://localhost:8000", help="the server (default %(default)s); its key: OPENAI_API_KEY")
    add("--model", help="default: the first one served")
    add("--arrivals", metavar="PROCESS", help="poisson, gamma:CV, burst or recorded (default: recorded for traces)")
    add("--rate", type=float, help=f"sessions per second (default {RATE_PER_S:g}; recorded: as recorded)")
    add(
        "--duration", type=float, help=f"seconds measured (default {DURATION_S:g}; recorded: all sessions to their end)"
    )
    add("--seed", type=int, default=1, help="seed of arrivals and drawn sessions (default %(default)s)")
    add("--part", choices=("all", "train", "tune", "report"), default="all", help="of the traces (default all)")
    add("--slo-ttft-s", type=float, default=Slo().ttft_s, help="default %(default)s")
    add("--slo-tpot-s", type=float, default=Slo().tpot_s, help="default %(default)s")
    add("--session-ids", action="store_true", help="send X-Session-ID")
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
    arrivals = parse_arrivals(arguments.arrivals or ("poisson" if arguments.workload == MIX else "recorded"))
    is_recorded = isinstance(arrivals, Recorded)
    rate = arguments.rate if arguments.rate is not None or is_recorded else RATE_PER_S
    duration = arguments.duration if arguments.duration is not None or is_recorded else DURATION_S
    for name, value in (("--rate", rate), ("--duration", duration)):
        if value is not None:
            require_positive(name, value)
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
    )


def _split(use: str) -> Split:
    """The split of params.yaml, which the predictors were trained with."""
    shares = load_params(SplitShares)
    return Split(use, shares.validation_share, shares.test_share)  # type: ignore[arg-type]  # argparse's choices
