"""`make live`: AugServe against stock vLLM on the real server of this machine, beyond the capacity of stock vLLM.

Two loads: the mix in an open loop, and coding agents in a closed loop, three times as many as have contexts that fit
into the KV cache. Both policies get the same sessions, and the client measures them. Engine, sessions and SLO are those
of `make fidelity`, which must have run here before: it measures the capacity and the step times. `make live` is not a
stage and takes 22 minutes on an idle machine.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import Field, PositiveInt

from augserve.data.atomic import write_json, write_text
from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.models.serving.bundle import Bundle
from augserve.models.serving.settings import SchedulerSettings, SettingsError, StepTime
from augserve.pipeline.project.params import BaseParams, Section, load_params
from augserve.pipeline.project.stage import StageError, run_stage
from augserve.pipeline.simulator.record.window import Window

from .loads import Compared
from .params import FidelityParams
from .run import REPORTS as FIDELITY_REPORTS
from .server import bundle_to_serve, retargeted, run_load, serving

REPORTS = Path("reports/live")
STOCK, OURS = "vllm", "augserve"
OPEN_SHOWN = (
    *("effective_throughput", "session_effective_throughput", "throughput", "attainment", "turns", "unfinished"),
    *("ttft_p50_s", "ttft_p99_s", "longest_wait_s", "tpot_p50_s", "prefix_hit_rate", "preemptions"),
)
CLOSED_SHOWN = (
    *("steps_per_minute", "sessions_per_hour", "attainment", "turns", "answered"),
    *("ttft_p50_s", "ttft_p99_s", "longest_wait_s", "tpot_p50_s", "prefix_hit_rate", "preemptions"),
)
Metrics = Mapping[str, float]


class LiveParams(Section):
    SECTION = "live"
    load: float = Field(gt=0)
    duration_s: float = Field(gt=0)
    drain_s: float = Field(gt=0)
    agents: PositiveInt
    agents_window_s: float = Field(gt=0)
    agents_drain_s: float = Field(gt=0)


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


@dataclass(frozen=True, slots=True)
class Live:
    """The fixed parts of a run."""

    params: FidelityParams
    bundle: Bundle
    settings: SchedulerSettings
    seed: int  # of the warm-up

    def compare(self, compared: Compared, drain_s: float) -> dict[str, Metrics]:
        """Metrics of each policy, on a server of its own. Raises StageError if a turn failed."""
        return {policy: self._measured(policy, compared, drain_s) for policy in (STOCK, OURS)}

    def _measured(self, policy: str, compared: Compared, drain_s: float) -> Metrics:
        with serving(self.params, policy, self.bundle, self.settings, self.seed) as server:
            replayed = run_load(self.params, server, compared.load, compared.window, drain_s)
        if failures := replayed.failures():
            raise StageError(f"live: turns failed under {policy} at {compared.name}: {failures}; see logs/")
        counts = replayed.turn_counts()
        return replayed.metrics() | {"answered": counts["answered"] / len(replayed.turns)}


def main() -> None:
    live, params = load_params(LiveParams), load_params(FidelityParams)
    bundle = bundle_to_serve()
    here = Measured.read(FIDELITY_REPORTS / "summary.json")
    seed = load_params(BaseParams).seed + SPLIT_SEEDS["report"] + 300
    run = Live(params, bundle, retargeted(bundle.settings, params, here.step_time), seed + 90)
    rate_per_s = live.load * here.capacity_per_s
    mix, agents = live_loads(live, params, rate_per_s, seed)
    results = {mix.name: run.compare(mix, live.drain_s), agents.name: run.compare(agents, live.agents_drain_s)}
    text = "\n".join(
        table(name, results[name], shown) for name, shown in ((mix.name, OPEN_SHOWN), (agents.name, CLOSED_SHOWN))
    )
    conditions = {
        "capacity90_per_s": here.capacity_per_s,
        "rate_per_s": rate_per_s,
        "bundle": bundle.version,
        "slo": asdict(params.slo),
        **live.model_dump(),
    }
    write_json(REPORTS / "metrics.json", {**results, "conditions": conditions})
    write_text(REPORTS / "table.md", text)
    print(text)


def live_loads(live: LiveParams, params: FidelityParams, rate_per_s: float, seed: int) -> tuple[Compared, Compared]:
    """The open loop and the closed loop."""
    window = Window(0.0, live.duration_s)
    mix = Compared(f"{live.load:g}x", params.load(rate_per_s, window.end_s, seed), window)
    window = Window(params.agents_warmup_s, params.agents_warmup_s + live.agents_window_s)
    return mix, Compared(f"{live.agents} agents", params.agents_load(live.agents, window.end_s, seed), window)


def ratios(results: Mapping[str, Metrics], shown: Sequence[str]) -> dict[str, float | None]:
    """AugServe / stock vLLM by metric; None if the divisor is 0."""
    ours, stock = results[OURS], results[STOCK]
    return {name: ours[name] / stock[name] if stock[name] else None for name in shown if name in ours and name in stock}


def table(load: str, results: Mapping[str, Metrics], shown: Sequence[str]) -> str:
    """Markdown, a line for each metric."""
    lines = [f"| {load} | vllm | augserve | ratio |", "|---|---:|---:|---:|"]
    for name, ratio in ratios(results, shown).items():
        figures = (f"{results[policy][name]:.4g}" for policy in (STOCK, OURS))
        lines.append(f"| {name} | {' | '.join(figures)} | {'–' if ratio is None else f'{ratio:.2f}'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_stage(main)
