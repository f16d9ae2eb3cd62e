"""Parameters of small comparisons, and an engine whose policies have known capacities."""

from concurrent.futures import Future

from augserve.data.workload.mix import MIX_SWING
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.evaluate.evaluation import Evaluation
from augserve.pipeline.evaluate.run import EvaluateParams
from augserve.pipeline.evaluate.static_grid import StaticGrid
from augserve.pipeline.simulator.record.evidence import Evidence
from augserve.pipeline.simulator.record.samples import Samples

PARAMS = EvaluateParams(
    workloads=("augmentation-mix",),
    profiles=("p",),
    policies=("vllm", "augserve"),
    ablations=(),
    oracles=(),
    loads=(1.0, 2.0),
    target_loads=(),
    target_policies=(),
    swing_load=1.65,
    swing_policies=("vllm", "augserve"),
    swing_window_s=60.0,
    seeds=1,
    capacity_policies=("vllm",),
    capacity_rounds=1,
    capacity_within=0.06,
    static=StaticGrid(
        budgets=(1024, 2048), sequences=(64, 128), prefills=(), adaptives=(), watermarks=(), sessions=(4, 8)
    ),
    static_loads=(1.0,),
    static_agents=3,
    static_agent_window_s=10.0,
    warmup_s=0.0,
    window_s=10.0,
    drain_s=0.0,
    trace_warmup_s=0.0,
    trace_window_s=10.0,
    agent_workloads=("coding-agents",),
    agents=(2, 4),
    agent_policies=("vllm", "augserve"),
    agent_seeds=2,
    agent_warmup_s=5.0,
    agent_window_s=20.0,
    agent_drain_s=1.0,
    pause_cap_s=3.0,
    processes=1,
)
SWINGING = PARAMS.changed(
    workloads=("augmentation-mix", MIX_SWING),
    swing_policies=("vllm", "augserve"),
    target_loads=(0.5, 2.0, 3.0),
    target_policies=("vllm",),
)


def evaluation_of(params):
    return Evaluation(params, 1, SchedulerSettings(), guess_per_s=12.0)


def answer(metrics):
    """A simulation that is done, with these metrics and no turns."""
    future = Future()
    future.set_result(Evidence(metrics, Samples(10.0, False), [], [], []))
    return future


class KnownEngine:
    """Every policy reaches 90 % SLO attainment up to its own rate, in sessions/s."""

    def __init__(self, rates):
        self.rates = rates
        self.cells = []

    def __call__(self, cell):
        self.cells.append(cell)
        reached = cell.rate_per_s is not None and cell.rate_per_s <= self.rates[cell.policy]
        return answer({"attainment": 1.0 if reached else 0.2})

    @property
    def tried(self):
        return [cell.rate_per_s for cell in self.cells if cell.agents is None]
