"""The real half of a fidelity run: servers with the limits of the engine, and replays of loads on them."""

import asyncio
import dataclasses
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from augserve.data.workload.arrivals import Burst, Poisson
from augserve.data.workload.schedule import Load
from augserve.models.serving.bundle import Bundle, Provenance, load_bundle, write_bundle
from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.server.endpoint import Endpoint
from augserve.pipeline.server.process import MODEL_NAME, Server, hook_arguments, vllm_server
from augserve.pipeline.server.replay.report import Replayed
from augserve.pipeline.server.replay.run import replay
from augserve.pipeline.server.replay.settings import DRAIN_S, ReplaySettings
from augserve.pipeline.server.replay.turn_request import Identity
from augserve.pipeline.simulator.record.window import Window

from .calibration import Calibration, calibrate
from .cores import ENVIRONMENT, client_aside, separate
from .pace import WITHIN_S, batch_size, pace_load, token_s
from .params import FidelityParams

LOGS = Path("logs")
IDENTITY = Identity(session_ids=True, hints=True, client_limit=True)
"""As in the simulator's requests."""
BURST = Burst(period_s=25.0)


def bundle_to_serve() -> Bundle:
    """The packaged bundle, if the model exists. Also silences the log lines of the HTTP client, one for each request.

    Raises StageError without a model, BundleError for a bad bundle.
    """
    if not (paths.MODEL / "config.json").is_file():
        raise StageError(f"{paths.MODEL}: no model there; run `dvc repro model`")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return load_bundle(paths.BUNDLE, None)


def retargeted(settings: SchedulerSettings, params: FidelityParams, step_time: StepTime) -> SchedulerSettings:
    """The settings of the bundle with the SLO and step times of this machine."""
    return dataclasses.replace(settings, slo=params.slo, step_time=step_time, profile="cpu")


def measure_calibration(params: FidelityParams, seed: int) -> Calibration:
    """Calibrate by separate runs of both workloads on a server that only records."""
    with tempfile.TemporaryDirectory(prefix="augserve-fidelity-") as folder:
        recorded = Path(folder)
        observe = hook_arguments({"mode": "observe", "traces": folder, "source": "fidelity"})
        with warm_server(params, "calibration", observe, seed) as server:
            paced = PacedServer(params, server, "calibration")
            mix = paced.run(calibration_load(params, seed), Window(0.0, params.calibration_s))
            window = Window(0.0, params.calibration_agents_s)
            agents = paced.run(params.agents_load(max(params.agents, default=1), window.end_s, seed), window)
        pace_s = (mix.pace_s + agents.pace_s) / 2
        return calibrate(recorded, (mix.replayed, agents.replayed), pace_s, params.limits)


def calibration_load(params: FidelityParams, seed: int) -> Load:
    """The sessions of a steady load, arriving in bursts."""
    rate_per_s, duration_s = params.calibration_rate_per_s, params.calibration_s
    load = params.load(rate_per_s, duration_s, seed)
    times = BURST.times(len(load.sessions), rate_per_s, np.random.default_rng(seed)).tolist()
    placed = (dataclasses.replace(session, arrival_s=at) for session, at in zip(load.sessions, times, strict=True))
    return Load(tuple(session for session in placed if session.arrival_s < duration_s), load.adjustments)


@contextmanager
def serving(
    params: FidelityParams, policy: str, bundle: Bundle, settings: SchedulerSettings, seed: int
) -> Iterator[Server]:
    """A warm server of the policy. AugServe serves `bundle` with these settings."""
    with tempfile.TemporaryDirectory(prefix="augserve-fidelity-") as folder:
        hook: list[str] = []
        if policy == "augserve":
            hook = hook_arguments({"bundle": str(with_settings(bundle, settings, Path(folder) / "bundle"))})
        with warm_server(params, policy, hook, seed) as server:
            yield server


def with_settings(bundle: Bundle, settings: SchedulerSettings, folder: Path) -> Path:
    """Write the bundle with these settings to the folder."""
    manifest = bundle.manifest
    provenance = Provenance(manifest.git_revision, manifest.vllm, manifest.training, manifest.evaluation)
    write_bundle(folder, bundle.path, settings, provenance, datetime.now(UTC))
    return folder


def run_load(params: FidelityParams, server: Server, load: Load, window: Window, drain_s: float = DRAIN_S) -> Replayed:
    """Run a load to the end of its window. Raises ServerError if the server died, ReplayError if no turn succeeded."""
    settings = ReplaySettings(
        workload="shortened",
        endpoint=Endpoint.parse(server.url),
        model=MODEL_NAME,
        arrivals=Poisson(),
        rate_per_s=None,
        duration_s=window.length_s,
        seed=0,
        identity=IDENTITY,
        slo=params.slo,
        drain_s=drain_s,
        warmup_s=window.start_s,
        agents=load.agents,
        pause_cap_s=None if load.agents is None else params.agents_pause_cap_s,
    )
    with client_aside():
        replayed = asyncio.run(replay(settings, load))
    server.check_alive()
    return replayed


@dataclass(frozen=True, slots=True)
class Paced:
    replayed: Replayed
    pace_s: float  # mean of before and after the load, seconds a token


class PacedServer:
    """Runs loads on a server and measures the pace of its engine between them."""

    def __init__(self, params: FidelityParams, server: Server, name: str) -> None:
        """`name` tells the paces of two servers apart."""
        self._params = params
        self._server = server
        self._name = name
        self._paces_s = [self._pace_s(0)]

    def run(self, load: Load, window: Window, drain_s: float | None = None) -> Paced:
        """Raises like `run_load`, and StageError if the pace cannot be measured."""
        drain_s = self._params.drain_s if drain_s is None else drain_s
        replayed = run_load(self._params, self._server, load, window, drain_s)
        self._paces_s.append(self._pace_s(len(self._paces_s)))
        return Paced(replayed, sum(self._paces_s[-2:]) / 2)

    def _pace_s(self, number: int) -> float:
        sessions = batch_size(self._params.kv_tokens)
        load = pace_load(f"{self._name}-{number}", sessions)
        return token_s(run_load(self._params, self._server, load, Window(0.0, WITHIN_S)), sessions)


@contextmanager
def warm_server(params: FidelityParams, name: str, hook: Sequence[str], seed: int) -> Iterator[Server]:
    """A server with the engine's limits, after its first steps."""
    log = LOGS / f"fidelity-{name}.log"
    arguments = [*params.server_arguments(), *hook]
    with vllm_server(paths.MODEL, log=log, extra_args=arguments, environment=ENVIRONMENT) as server:
        separate(server.process.pid)
        # The first steps load code. These sessions are not measured, and the rate yields at least a few.
        warmup = params.load(4 / params.warmup_s + params.calibration_rate_per_s, params.warmup_s, seed + 1)
        run_load(params, server, warmup, Window(0.0, params.warmup_s))
        yield server
