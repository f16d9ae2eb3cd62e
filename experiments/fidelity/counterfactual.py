"""Whether `augserve report` foretells what AugServe does on the real server of this machine.

`python -m experiments.fidelity.counterfactual` records coding agents in a closed loop on a server in mode `observe`,
lets the report's simulation run the recorded sessions with AugServe, and then runs the sessions on a server with
AugServe. A shared machine changes its speed between the runs. So the pace of both engines is measured, and the
prediction is told at the pace of the second run, too. It is no stage, and takes 10 minutes on an idle machine.
"""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from augserve.data.atomic import write_json, write_text
from augserve.data.tables.files import TableName, read_table, write_table
from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.data.workload.schedule import Load
from augserve.models.serving.bundle import load_bundle
from augserve.pipeline.operate.report.counterfactual import recorded_load, simulated
from augserve.pipeline.operate.report.document import outcomes
from augserve.pipeline.operate.report.outcome import Outcome
from augserve.pipeline.operate.report.recording import Recording
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import BaseParams, load_params
from augserve.pipeline.project.stage import StageError, run_stage
from augserve.pipeline.server.process import hook_arguments
from augserve.pipeline.server.replay.settings import DRAIN_S
from augserve.pipeline.simulator.profile import StepProfile
from augserve.pipeline.simulator.record.window import Window
from augserve.pipeline.step_times.engine import longest_request_tokens, nearest_engine
from augserve.pipeline.step_times.scaling import slowed

from .params import FidelityParams
from .server import PacedServer, bundle_to_serve, retargeted, warm_server, with_settings

REPORTS = Path("reports/counterfactual")
FOLDER = Path("build/counterfactual")
"""Traces and bundle of the last run."""
AGENTS, SESSIONS = 8, 14
TOKEN_SCALE = 0.01
KV_TOKENS, CONTEXT_TOKENS = 1_536, 1_024
"""The contexts of three of the agents fit."""
LONGEST_S = 1_800.0
TABLES: dict[TableName, str] = {"turns": "arrival_s", "tool_calls": "start_s", "steps": "start_s"}


@dataclass(frozen=True, slots=True)
class Ran:
    """A run on the real server."""

    recording: Recording
    pace_s: float  # seconds a token, see pace.py


def main() -> None:
    params = load_params(FidelityParams).model_copy(
        update={"agents_token_scale": TOKEN_SCALE, "kv_tokens": KV_TOKENS, "max_model_len": CONTEXT_TOKENS}
    )
    bundle = bundle_to_serve()
    seed = load_params(BaseParams).seed + SPLIT_SEEDS["report"] + 400
    whole = params.agents_load(AGENTS, params.agents_window_s, seed)
    load = dataclasses.replace(whole, sessions=whole.sessions[:SESSIONS])
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    stock = _run(params, load, "vllm", {"mode": "observe"}, seed)
    profiles = [StepProfile.load(path) for path in sorted(paths.PROFILES.glob("*.json"))]
    longest = longest_request_tokens(stock.recording.sessions)
    engine = nearest_engine(stock.recording.steps, profiles, longest)
    ours_bundle = with_settings(bundle, retargeted(bundle.settings, params, engine.profile.linear), FOLDER / "bundle")
    again = recorded_load(stock.recording.folder, engine, AGENTS)
    retuned = load_bundle(ours_bundle, None)
    columns = {
        "stock, recorded": Outcome.of(stock.recording.turns, AGENTS),
        "stock, simulated": simulated("vllm", again, engine, retuned),
        "AugServe, predicted": simulated("augserve", again, engine, retuned),
    }
    write_text(REPORTS / "table.md", outcomes(columns) + "\n")
    ours = _run(params, load, "augserve", {"bundle": str(ours_bundle)}, seed)
    pace = ours.pace_s / stock.pace_s
    paced = dataclasses.replace(engine, profile=slowed(engine.profile, pace))
    columns["AugServe, predicted at its run's pace"] = simulated("augserve", again, paced, retuned)
    columns["AugServe, run"] = Outcome.of(ours.recording.turns, AGENTS)
    facts = {
        "engine": engine.profile.name,
        "factor": engine.factor,
        "median_step_error": engine.median_error,
        "kv_tokens": engine.profile.limits.kv_tokens,
        "paces_s": {"stock": stock.pace_s, "augserve": ours.pace_s},
    }
    write_json(
        REPORTS / "metrics.json", facts | {name: dataclasses.asdict(outcome) for name, outcome in columns.items()}
    )
    write_text(REPORTS / "table.md", outcomes(columns) + "\n")
    print(outcomes(columns))
    print(facts)


def _run(params: FidelityParams, load: Load, name: str, hook: dict[str, str | float], seed: int) -> Ran:
    """Run all sessions to their ends on a server of its own. Raises StageError if a turn failed."""
    traces = FOLDER / f"{name}-all"
    arguments = hook_arguments(hook | {"traces": str(traces), "source": "counterfactual"})
    with warm_server(params, f"counterfactual-{name}", arguments, seed) as server:
        paced = PacedServer(params, server, name).run(load, Window(0.0, LONGEST_S), DRAIN_S)
    replayed = paced.replayed
    if failures := replayed.failures():
        raise StageError(f"counterfactual: turns failed under {name}: {failures}; see logs/")
    _copy_part(traces, FOLDER / name, replayed.started_at_s, replayed.started_at_s + replayed.end_s)
    return Ran(Recording.read(FOLDER / name), paced.pace_s)


def _copy_part(folder: Path, to: Path, start_s: float, end_s: float) -> None:
    """The rows of the load alone, without those of the warm-up and of the paces."""
    for name, column in TABLES.items():
        if any(folder.glob(f"{name}*.parquet")):
            table = read_table(folder, name)
            times_s = table.column(column)
            within = pc.and_(pc.greater_equal(times_s, start_s), pc.less(times_s, end_s))
            write_table(to / f"{name}.parquet", name, table.filter(within))


if __name__ == "__main__":
    run_stage(main)
