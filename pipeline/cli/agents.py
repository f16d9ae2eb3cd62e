"""The closed loops of `augserve simulate --agents`: each number of agents, policy and seed is a run of its own."""

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import as_completed

from tqdm import tqdm

from ...data.workload.built_in import SEQUENCES
from ..results.aligned import aligned
from ..results.columns import AGENT_COLUMNS, INTERVALS, STEPS_OVER_STOCK, value_text
from ..results.intervals import cells_of
from ..simulator.catalogue import VLLM
from ..simulator.cells.cell import Cell, cell_load
from ..simulator.cells.evidence import run_evidence
from ..simulator.cells.parallel import pool
from ..simulator.engine import context_tokens
from ..simulator.errors import SimulationError
from .fleets import read_fleets, run_name
from .scene import read_engine, trace_folder

OPEN_ONLY = ("rate", "load", "arrivals")


def read_cells(arguments: argparse.Namespace, policies: Sequence[str]) -> list[Cell]:
    """The runs. Raises as `read_engine`."""
    for name in OPEN_ONLY:
        if getattr(arguments, name) is not None:
            raise SimulationError(f"--{name} and --agents exclude each other: a closed loop has no rate; remove one")
    for name, least in (("seed", 0), ("seeds", 1)):
        if getattr(arguments, name) < least:
            raise SimulationError(f"--{name} is {getattr(arguments, name)}; it must be {least} or more")
    engine, workload, fleets = read_engine(arguments), arguments.workload, read_fleets(arguments)
    cells = [
        Cell(
            workload if workload in SEQUENCES else str(trace_folder(workload).resolve()),
            policy,
            engine.profile_path,
            None,
            arguments.seed + run,
            engine.schedule,
            engine.settings,
            engine.bundle,
            agents=agents,
            pause_cap_s=arguments.pause_cap,
            kv_offload_gib=arguments.kv_offload_gb,
            fleet=fleet,
        )
        for agents in dict.fromkeys(arguments.agents)
        for policy in policies
        for fleet in fleets
        for run in range(arguments.seeds)
    ]
    for agents in (min(arguments.agents), max(arguments.agents)):  # before any run begins
        cell_load(next(cell for cell in cells if cell.agents == agents), context_tokens(engine.profile.limits))
    return cells


def agents_table(cells: Sequence[Cell], on: str | None = None) -> str:
    """Run the cells in processes, or on the Ray at `on`: one row a number of agents and policy, over all seeds."""
    processes = min(len(os.sched_getaffinity(0)), len(cells))
    with pool(processes, run_evidence, on) as submit, tqdm(total=len(cells), desc="closed loops", unit="run") as bar:
        futures = {cell: submit(cell) for cell in cells}
        for future in as_completed(futures.values()):
            future.result()
            bar.update()
    names = {cell: run_name(cell.policy, cell.fleet) for cell in cells}
    base = VLLM.name if VLLM.name in names.values() else names[cells[0]]
    columns = {}
    for metric, (title, form) in AGENT_COLUMNS.items():
        if metric == STEPS_OVER_STOCK and base != VLLM.name:
            columns[f"steps_over_{base}"] = f"× {base}", form
        else:
            columns[metric] = title, form
    rows = [["agents", "policy", *(title for title, _ in columns.values())]]
    for agents in dict.fromkeys(cell.agents for cell in cells):
        own = [cell for cell in cells if cell.agents == agents]
        runs = {
            name: [futures[cell].result() for cell in own if names[cell] == name]
            for name in dict.fromkeys(names[cell] for cell in own)
        }
        for name, metrics in cells_of(runs, cells[0].seed, (base,)).items():
            intervals = (*INTERVALS, f"steps_over_{base}")
            values = [value_text(metrics, metric, form, intervals) for metric, (_, form) in columns.items()]
            rows.append([str(agents), name, *values])
    return aligned(rows, left=[1])
