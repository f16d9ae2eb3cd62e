"""`make fidelity`: compares the simulator with the real server on the processor of this machine.

vLLM's CPU engine and the simulator run the same sessions at the same times with the same engine limits. A run of other
sessions calibrates the simulator, and its step times follow the pace measured around each load. It is not a
stage and takes a quarter of an hour on an idle machine.
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
from augserve.pipeline.server.process import Server
from augserve.pipeline.simulator.cells.capacity import bracket, capacity
from augserve.pipeline.simulator.record.records import EngineTotals, SimulationResult
from augserve.pipeline.simulator.record.window import Window

from .calibration import Calibration
from .params import FidelityParams
from .report import Paces, Pair, Results, measured, paired, summarize, write_report
from .server import bundle_to_serve, measure_calibration, retargeted, run_paced, serving
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
        self._window = Window(0.0, params.duration_s)

    def capacity_per_s(self) -> float:
        """Stock vLLM's capacity@90 in the simulator, sessions/s: load 1x. Raises SimulationError, StageError."""
        seeds = [self._seed + 100 + 2 * index for index in range(CAPACITY_SEEDS)]
        with tqdm(desc="fidelity: capacity", unit="run") as bar:

            def attainment(rate_per_s: float) -> float:
                shares = []
                for seed in seeds:
                    shares.append(self.simulated("vllm", rate_per_s, seed, self.calibration)["attainment"])
                    bar.update()
                return float(np.mean(shares))

            def attainments(rates: Sequence[float]) -> list[float]:
                return [attainment(rate) for rate in rates]

            low, high = bracket(attainments, self.params.calibration_rate_per_s)
            return capacity(attainments, low, high, CAPACITY_ROUNDS) or low

    def compare(self, capacity_per_s: float) -> tuple[Results, Paces]:
        """Metrics of every load under every policy, real and simulated, and the paces relative to the calibration.

        All loads of a policy run on one server.
        """
        results: dict[str, dict[str, dict[str, Pair]]] = {f"{load:g}": {} for load in self.params.loads}
        paces: dict[str, dict[str, float]] = {load: {} for load in results}
        for policy in self.params.policies:
            with serving(self.params, policy, self._bundle, self._settings, self._seed + 90) as server:
                for index, load in enumerate(results):
                    rate_per_s = self.params.loads[index] * capacity_per_s
                    results[load][policy], paces[load][policy] = self._both(server, policy, rate_per_s, index)
        return results, paces

    def _both(self, server: Server, policy: str, rate_per_s: float, index: int) -> tuple[dict[str, Pair], float]:
        """One load, real and simulated, and its pace relative to the calibration."""
        seed, duration_s = self._seed + 200 + 2 * index, self.params.duration_s
        load = self.params.load(rate_per_s, duration_s, seed)
        replayed, pace_s = run_paced(self.params, server, load, duration_s, f"{policy}-{index}")
        if failures := replayed.failures():
            raise StageError(f"fidelity: turns failed under {policy} at {rate_per_s:.2f}/s: {failures}; see logs/")
        real = SimulationResult(replayed.records(), EngineTotals(), replayed.end_s)
        simulated = self.simulated(policy, rate_per_s, seed, self.calibration.at_pace(pace_s))
        factor = pace_s / self.calibration.pace_s
        return paired(measured(real, self._window, self.params.slo), simulated), factor

    def simulated(self, policy: str, rate_per_s: float, seed: int, calibration: Calibration) -> dict[str, float]:
        sessions = self.params.load(rate_per_s, self.params.duration_s, seed).sessions
        predictor = None if policy == "vllm" else self._bundle.predictor
        result = simulate(policy, sessions, self.params.duration_s, calibration, self._settings, predictor)
        return measured(result, self._window, self.params.slo)


def main() -> None:
    params, base = load_params(FidelityParams), load_params(BaseParams)
    bundle = bundle_to_serve()
    seed = base.seed + SPLIT_SEEDS["report"]
    run = Fidelity(params, seed, bundle, measure_calibration(params, seed))
    capacity_per_s = run.capacity_per_s()
    logger.info("load 1x is %.2f sessions/s", capacity_per_s)
    results, paces = run.compare(capacity_per_s)
    print(write_report(REPORTS, results, paces, _conditions(run, capacity_per_s)))
    summary = summarize(results)
    print(f"order: {summary['order']}; median error {summary['median_relative_error_of_all']}")
    print(f"attainment differs by {summary['attainment_largest_difference']:.1%} at most; plots in {REPORTS}")


def _conditions(run: Fidelity, capacity_per_s: float) -> dict[str, object]:
    """The conditions of the run: capacity, calibration and parameters."""
    return {
        "capacity90_per_s": capacity_per_s,
        "overheads": dataclasses.asdict(run.calibration.overheads),
        "profile": dataclasses.asdict(run.calibration.profile),
        "params": run.params.model_dump(),
    }
