"""`make live`: AugServe against stock vLLM on the real server of this machine, beyond the capacity of stock vLLM.

Both policies get the same sessions at the same times, and the client measures them. Engine, sessions and SLO are those
of `make fidelity`, which must have run here before: it measures the capacity and the step times. `make live` is not a
stage and takes twelve minutes on an idle machine.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import Field

from augserve.data.atomic import write_json, write_text
from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.models.serving.settings import SettingsError, StepTime
from augserve.pipeline.project.params import BaseParams, Section, load_params
from augserve.pipeline.project.stage import StageError, run_stage
from augserve.pipeline.simulator.record.window import Window

from .params import FidelityParams
from .run import REPORTS as FIDELITY_REPORTS
from .server import bundle_to_serve, retargeted, run_load, serving

REPORTS = Path("reports/live")
STOCK, OURS = "vllm", "augserve"
SHOWN = (
    *("effective_throughput", "session_effective_throughput", "throughput", "attainment", "turns", "unfinished"),
    *("ttft_p50_s", "ttft_p99_s", "longest_wait_s", "tpot_p50_s", "prefix_hit_rate", "preemptions"),
)
Metrics = Mapping[str, float]


class LiveParams(Section):
    SECTION = "live"
    load: float = Field(gt=0)
    duration_s: float = Field(gt=0)
    drain_s: float = Field(gt=0)


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of `make fidelity` on this machine."""

    capacity_per_s: float  # stock vLLM's capacity@90, sessions/s
    step_time: StepTime

    @classmethod
    def read(cls, path: Path) -> "Measured":
        """Read summary.json of fidelity. Raises StageError if it cannot be read."""
        try:
            conditions = json.loads(path.read_text(encoding="utf-8"))["conditions"]
            return cls(float(conditions["capacity90_per_s"]), StepTime(**conditions["profile"]["linear"]))
        except (OSError, ValueError, KeyError, TypeError, SettingsError) as error:
            raise StageError(
                f"{path}: cannot be read ({error!r}); run `make fidelity` on this machine first"
            ) from error


def main() -> None:
    live, params = load_params(LiveParams), load_params(FidelityParams)
    bundle = bundle_to_serve()
    here = Measured.read(FIDELITY_REPORTS / "summary.json")
    settings = retargeted(bundle.settings, params, here.step_time)
    seed = load_params(BaseParams).seed + SPLIT_SEEDS["report"] + 300
    rate_per_s = live.load * here.capacity_per_s
    sessions = params.load(rate_per_s, live.duration_s, seed)
    results: dict[str, Metrics] = {}
    for policy in (STOCK, OURS):
        with serving(params, policy, bundle, settings, seed + 90) as server:
            replayed = run_load(params, server, sessions, Window(0.0, live.duration_s), live.drain_s)
        if failures := replayed.failures():
            raise StageError(f"live: turns failed under {policy}: {failures}; see logs/")
        results[policy] = replayed.metrics()
    conditions = {
        "capacity90_per_s": here.capacity_per_s,
        "rate_per_s": rate_per_s,
        "bundle": bundle.version,
        "slo": asdict(params.slo),
        **live.model_dump(),
    }
    write_json(REPORTS / "metrics.json", {**results, "ratio": ratios(results), "conditions": conditions})
    write_text(REPORTS / "table.md", table(results))
    print(table(results))


def ratios(results: Mapping[str, Metrics]) -> dict[str, float | None]:
    """AugServe / stock vLLM by metric; None if the divisor is 0."""
    ours, stock = results[OURS], results[STOCK]
    return {name: ours[name] / stock[name] if stock[name] else None for name in SHOWN if name in ours and name in stock}


def table(results: Mapping[str, Metrics]) -> str:
    """Markdown, a line for each metric."""
    lines = ["| metric | vllm | augserve | ratio |", "|---|---:|---:|---:|"]
    for name, ratio in ratios(results).items():
        figures = (f"{results[policy][name]:.4g}" for policy in (STOCK, OURS))
        lines.append(f"| {name} | {' | '.join(figures)} | {'–' if ratio is None else f'{ratio:.2f}'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_stage(main)
