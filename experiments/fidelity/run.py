"""`make fidelity`: compares the simulator with the real server on the processor of this machine.

vLLM's CPU engine and the simulator run the same sessions with the same engine limits: the mix at the same times in an
open loop, and coding agents in a closed loop. Runs of other sessions calibrate the simulator, and its step times follow
the pace measured around each load. It is not a stage and takes 20 minutes on an idle machine.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.models.serving.bundle import Bundle
from augserve.pipeline.project.params import BaseParams, load_params
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.simulator.cells.capacity import bracket, capacity
from augserve.pipeline.simulator.record.records import EngineTotals, SimulationResult
from augserve.pipeline.simulator.record.window import Window

from .calibration import Calibration
from .loads import Compared, compared_loads
from .params import FidelityParams
from .report import Comparison, Pair, measured, paired, write_report
from .server import PacedServer, bundle_to_serve, measure_calibration, retargeted, serving
from .simulation import simulate

REPORTS = Path("reports/fidelity")
CAPACITY_SEEDS = 3  # simulations a rate
CAPACITY_ROUNDS = 3
logger = logging.getLogger(__name__)


class Fidelity:
    """The fixed parts of a run. Calibration, capacity and each load have different seeds."""

    def __init__(self, params: FidelityParams, seed: int, bundle: Bundle, calibration: Calibration) -> None:
        self.params = params
        self.calibration = calibration
        self._seed = seed
        self._bundle = bundle
        self._settings = retargeted(bundle.settings, params, calibration.profile.linear)

    def capacity_per_s(self) -> float:
        """Stock vLLM's capacity@90 in the simulator, sessions/s: load 1x. Raises SimulationError, StageError."""
        window = Window(0.0, self.params.duration_s)
        seeds = [self._seed + 100 + 2 * index for index in range(CAPACITY_SEEDS)]
        with tqdm(desc="fidelity: capacity", unit="run") as bar:

            def attainment(rate_per_s: float) -> float:
                shares = []
                for seed in seeds:
                    load = Compared("capacity", self.params.load(rate_per_s, window.end_s, seed), window)
                    shares.append(self.simulated("vllm", load, self.calibration)["attainment"])
                    bar.update()
                return float(np.mean(shares))

            def attainments(rates: Sequence[float]) -> list[float]:
                return [attainment(rate) for rate in rates]

            low, high = bracket(attainments, self.params.calibration_rate_per_s)
            return capacity(attainments, low, high, CAPACITY_ROUNDS) or low

    def compare(self, loads: Sequence[Compared]) -> Comparison:
        """Metrics of every load under every policy, real and simulated, and the paces relative to the calibration.

        All loads of a policy run on one server.
        """
        found = Comparison()
        for policy in self.params.policies:
            with serving(self.params, policy, self._bundle, self._settings, self._seed + 90) as server:
                paced = PacedServer(self.params, server, policy)
                for load in loads:
                    pair, factor = self._both(paced, policy, load)
                    found.add(load.name, policy, pair, factor, load.is_closed)
        return found

    def _both(self, server: PacedServer, policy: str, load: Compared) -> tuple[dict[str, Pair], float]:
        """One load, real and simulated, and its pace relative to the calibration."""
        seen = server.run(load.load, load.window)
        if failures := seen.replayed.failures():
            raise StageError(f"fidelity: turns failed under {policy} at {load.name}: {failures}; see logs/")
        real = SimulationResult(seen.replayed.records(), EngineTotals(), seen.replayed.end_s)
        simulated = self.simulated(policy, load, self.calibration.at_pace(seen.pace_s))
        factor = seen.pace_s / self.calibration.pace_s
        return paired(measured(real, load.window, self.params.slo), simulated), factor

    def simulated(self, policy: str, load: Compared, calibration: Calibration) -> dict[str, float]:
        predictor = None if policy == "vllm" else self._bundle.predictor
        drain_s = self.params.drain_s
        result = simulate(policy, load.load, load.window.end_s, drain_s, calibration, self._settings, predictor)
        return measured(result, load.window, self.params.slo)


def main() -> None:
    params, base = load_params(FidelityParams), load_params(BaseParams)
    bundle = bundle_to_serve()
    seed = base.seed + SPLIT_SEEDS["report"]
    run = Fidelity(params, seed, bundle, measure_calibration(params, seed))
    capacity_per_s = run.capacity_per_s()
    logger.info("load 1x is %.2f sessions/s", capacity_per_s)
    comparison = run.compare(compared_loads(params, capacity_per_s, seed))
    print(write_report(REPORTS, comparison, _conditions(run, capacity_per_s)))
    for name, summary in comparison.summaries().items():
        print(f"{name}: median error {summary['median_relative_error_of_all']}; order: {summary['order']}")
    print(f"plots of the open loop in {REPORTS}")


def _conditions(run: Fidelity, capacity_per_s: float) -> dict[str, object]:
    """The conditions of the run: capacity, calibration and parameters."""
    return {
        "capacity90_per_s": capacity_per_s,
        "overheads": dataclasses.asdict(run.calibration.overheads),
        "profile": dataclasses.asdict(run.calibration.profile),
        "params": run.params.model_dump(),
    }
