"""The comparison of policies: every cell of workloads x profiles x loads or agents x policies x seeds."""

from ..project.tracking import experiment_run
from ..results.intervals import cells_of
from ..results.metrics_file import Capacities, Cells, closed_loop, open_loop
from ..simulator.cells.cache import Submit
from .distributions import Evidences
from .evaluation import Evaluation


def compare(evaluation: Evaluation, capacity90: Capacities, submit: Submit) -> Evidences:
    """Run every cell. The longest ones start first: many agents, then high loads."""
    params, futures = evaluation.params, {}
    closed = [(agents, job) for job in evaluation.agent_jobs for agents in params.agents]
    for agents, job in sorted(closed, key=lambda planned: -planned[0]):
        for policy in params.agent_policies:
            runs = [submit(evaluation.agent_cell(job, policy, agents, run)) for run in range(params.agent_seeds)]
            futures[(*job, closed_loop(agents)), policy] = runs
    planned = [(load, job) for job in evaluation.jobs for load in params.loads_of(job[0])]
    for load, job in sorted(planned, key=lambda planned: -planned[0]):
        rate_per_s = load * (capacity90[job[0]][job[1]]["vllm"] or 0.0)
        for policy in params.policies_at(job[0], load):
            runs = [submit(evaluation.cell(job, policy, rate_per_s, run)) for run in range(params.seeds)]
            futures[(*job, open_loop(load)), policy] = runs
    evidences: Evidences = {}
    for (name, policy), runs in futures.items():
        evidences.setdefault(name, {})[policy] = [run.result() for run in runs]
    return evidences


def pooled_cells(evidences: Evidences, seed: int, parent_id: str) -> Cells:
    """The cells with their intervals. Each is logged as an MLflow run, nested in the run of the comparison."""
    pooled: Cells = {}
    for (workload, profile, load), runs in sorted(evidences.items()):
        cells = cells_of(runs, seed)
        pooled.setdefault(workload, {}).setdefault(profile, {})[load] = cells
        for policy, cell in cells.items():
            facts = {"workload": workload, "profile": profile, "load": load, "policy": policy}
            name = f"{policy} at {load}, {workload}"
            with experiment_run("evaluation", name, facts, facts | {"kind": "cell"}, parent_id) as run:
                run.log_metrics(cell)
    return pooled
