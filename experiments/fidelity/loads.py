"""The loads on which server and simulator are compared."""

from dataclasses import dataclass

from augserve.data.workload.schedule import Load
from augserve.pipeline.simulator.record.window import Window

from .params import FidelityParams

OPEN_SEED, CLOSED_SEED = 200, 260


@dataclass(frozen=True, slots=True)
class Compared:
    """A load, and the window in which it is measured and after which no turn is sent."""

    name: str  # "2x": a multiple of stock vLLM's capacity@90; "12 agents": a closed loop
    load: Load
    window: Window

    @property
    def is_closed(self) -> bool:
        return self.load.agents is not None


def compared_loads(params: FidelityParams, capacity_per_s: float, seed: int) -> list[Compared]:
    """The loads of the open and of the closed loop. Each has sessions of its own."""
    window = Window(0.0, params.duration_s)
    loads = [
        Compared(f"{load:g}x", params.load(load * capacity_per_s, window.end_s, seed + OPEN_SEED + 2 * index), window)
        for index, load in enumerate(params.loads)
    ]
    window = Window(params.agents_warmup_s, params.agents_warmup_s + params.agents_window_s)
    loads += [
        Compared(f"{agents} agents", params.agents_load(agents, window.end_s, seed + CLOSED_SEED + 2 * index), window)
        for index, agents in enumerate(params.agents)
    ]
    return loads
