"""Stage `gather`: run agent sessions against a real vLLM server with AugServe's recorder, and join one trace.

The server keeps stock vLLM's order (mode `observe`) and records turns and steps. Only the client knows which tool
follows a turn and how long the tool takes.
"""

import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
from pydantic import Field
from tqdm import tqdm

from ...data.atomic import replace_folder, write_json
from ...data.tables.files import read_table, write_table
from ..project import paths
from ..project.params import BaseParams, Section, load_params
from ..project.stage import StageError
from ..project.tracking import experiment_run
from ..server.endpoint import Endpoint
from ..server.open_loop import run_open_loop
from ..server.process import MAX_MODEL_LEN, MODEL_NAME, Server, hook_arguments, vllm_server
from .join import call_table, join_turns
from .plan import SessionPlan
from .session import SessionRunner, SessionSeen, TurnError
from .suite import session_plans
from .summary import RunSummary
from .tools.box import tool_box
from .tools.tool import Tool

logger = logging.getLogger(__name__)

METRICS_FILE = Path("reports/gather/metrics.json")
LOG_FILE = Path("logs/gather.log")
SOURCE = "gathered"
WHOLE_PROMPTS = ("--no-enable-chunked-prefill", "--max-num-batched-tokens", str(MAX_MODEL_LEN))
"""On a CPU, vLLM's engine dies of a part of a prompt whose tokens are drawn by a seed, as all are here."""
RECORDER_TIMEOUT_S = 30.0  # the recorder writes its rows within 10 s


class GatherParams(Section):
    SECTION = "gather"
    duration_s: float = Field(ge=1, le=86_400)
    rate_per_s: float = Field(gt=0, le=100)
    wait_scale: float = Field(ge=0, le=10)
    max_tokens: int = Field(ge=1, le=2048)
    temperatures: tuple[Annotated[float, Field(ge=0, le=2)], ...] = Field(min_length=1)


def main() -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request would hide the progress bar
    params, base = load_params(GatherParams), load_params(BaseParams)
    if not (paths.MODEL / "config.json").is_file():
        raise StageError(f"{paths.MODEL}: no model there; run `dvc repro model`")
    plans = session_plans(params.duration_s, params.rate_per_s, params.temperatures, base.seed)
    if not plans:
        raise StageError("params.yaml: gather.duration_s x gather.rate_per_s yields no session; raise one of them")
    tags = {"kind": "traces", "source": SOURCE, "model": MODEL_NAME}
    with (
        experiment_run("gather", SOURCE, params.model_dump() | {"seed": base.seed}, tags, system_metrics=True) as run,
        tempfile.TemporaryDirectory(prefix="augserve-gather-") as folder,
    ):
        recorded = Path(folder)
        seen, wall_s = _record(plans, params, base.seed, recorded)
        _write_trace(recorded, seen)
        summary = RunSummary(seen, wall_s)
        write_json(METRICS_FILE, summary.to_json())
        run.log_metrics(summary.figures())
        run.log_file(METRICS_FILE)


def _record(
    plans: Sequence[SessionPlan], params: GatherParams, seed: int, recorded: Path
) -> tuple[list[SessionSeen], float]:
    """Run the sessions against a recording server. Returns the client's records and the seconds of the run."""
    observe = hook_arguments({"mode": "observe", "traces": str(recorded), "source": SOURCE})
    with (
        vllm_server(paths.MODEL, log=LOG_FILE, extra_args=[*observe, *WHOLE_PROMPTS]) as server,
        tool_box(params.wait_scale, seed) as tools,
    ):
        start_s = time.monotonic()
        seen = asyncio.run(_run_sessions(server, plans, tools, params))
        wall_s = time.monotonic() - start_s
        _await_recorder(recorded, sum(len(session.turns) for session in seen), server)
    return seen, wall_s


async def _run_sessions(
    server: Server, plans: Sequence[SessionPlan], tools: Mapping[str, Tool], params: GatherParams
) -> list[SessionSeen]:
    turns = sum(len(plan.draft.turns) for plan in plans)
    endpoint = Endpoint(server.base_url, None)
    async with endpoint.client() as client:
        with tqdm(total=turns, desc=f"{len(plans)} sessions", unit=" turns", mininterval=1) as bar:
            runner = SessionRunner(client, endpoint, MODEL_NAME, tools, params.max_tokens, _end_token_id(), bar.update)
            try:
                return await run_open_loop(runner, plans)
            except TurnError as error:
                server.check_alive()
                raise TurnError(f"{error}; see {server.log}") from error


def _end_token_id() -> int:
    return int(json.loads((paths.MODEL / "config.json").read_text(encoding="utf-8"))["eos_token_id"])


def _await_recorder(recorded: Path, turns: int, server: Server) -> None:
    """Wait until the recorder has written `turns` turns. After a timeout the join reports the missing ones."""
    deadline_s = time.monotonic() + RECORDER_TIMEOUT_S
    while time.monotonic() < deadline_s:
        server.check_alive()
        files = sorted(recorded.glob("turns-*.parquet"))
        if sum(pq.read_metadata(file).num_rows for file in files) >= turns:
            return
        time.sleep(0.5)


def _write_trace(recorded: Path, seen: Sequence[SessionSeen]) -> None:
    turns = join_turns(recorded, seen)
    calls = call_table(seen, SOURCE, paths.TOKENIZER)
    steps = read_table(recorded, "steps").sort_by([("start_s", "ascending"), ("step", "ascending")])

    def fill(folder: Path) -> None:
        write_table(folder / "turns.parquet", "turns", turns)
        write_table(folder / "tool_calls.parquet", "tool_calls", calls)
        write_table(folder / "steps.parquet", "steps", steps)

    replace_folder(paths.GATHERED_TRACES, fill)
    logger.info("%s: %d turns, %d tool calls, %d steps", paths.GATHERED_TRACES, len(turns), len(calls), len(steps))
