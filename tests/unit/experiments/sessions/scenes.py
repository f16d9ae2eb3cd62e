"""Parameters of a small experiment."""

from augserve.pipeline.evaluate.static_grid import StaticGrid
from experiments.sessions.params import Scene, SessionsParams

SCENE = Scene(
    workload="augmentation-mix", profile="p", agents=(2, 4), static_agents=3, references=("vllm", "vllm-unbounded")
)
PARAMS = SessionsParams(
    scenes=(SCENE,),
    policies=("uncached-first",),
    seeds=3,
    reference_seeds=2,
    static=StaticGrid(budgets=(128,), sequences=(2,), prefills=(), adaptives=(), watermarks=(), sessions=(2,)),
    static_window_s=10.0,
    warmup_s=5.0,
    window_s=20.0,
    drain_s=1.0,
    processes=1,
)
