"""`make information`: the gain of each forecast on each workload, paired over the same sessions.

It runs after `dvc repro` and is not a stage. An interrupted run resumes with the missing cells.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from augserve.data.atomic import write_json, write_text
from augserve.data.tables.splits import SPLIT_SEEDS
from augserve.data.workload.built_in import SEQUENCES
from augserve.data.workload.trace_set import Split
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.evaluate.evaluation import SEED_STEP
from augserve.pipeline.evaluate.run import read_tuned
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import BaseParams, SplitShares, load_params
from augserve.pipeline.project.tracking import git_revision
from augserve.pipeline.results.columns import value_text
from augserve.pipeline.results.intervals import cells_of
from augserve.pipeline.results.metrics_file import OURS, Metrics
from augserve.pipeline.results.tables import markdown
from augserve.pipeline.simulator.catalogue import EXACT, INFORMED, NOTHING, QUANTITIES, TABLE, informed
from augserve.pipeline.simulator.cells.cache import Submit
from augserve.pipeline.simulator.cells.cell import Cell, settings_on, workload_names
from augserve.pipeline.simulator.cells.runs import kept_runs
from augserve.pipeline.simulator.cells.workers import Workers
from augserve.pipeline.simulator.record.evidence import Evidence

from .params import InformationParams, Row

REPORTS = Path("reports/information")
POLICIES = (OURS, *INFORMED)
CAPTION = (
    "Goodput (turns in the SLO per second) with a quantity from each source, as a ratio to that with one constant for "
    "all turns; all other forecasts come from the models. [low–high]: 95 % interval, paired, by a bootstrap over "
    "sessions. The table is learned online: quantiles of the latest 500 outcomes after the same tool.\n"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Experiment:
    params: InformationParams
    seed: int
    settings: SchedulerSettings  # as tuned; each engine has its own step times
    shares: SplitShares

    def cell(self, row: Row, policy: str, run: int) -> Cell:
        """Run number `run` of a row. Every policy gets the same sessions."""
        profile = paths.PROFILES / f"{row.profile}.json"
        return Cell(
            row.workload,
            policy,
            profile,
            row.load,
            self.seed + SPLIT_SEEDS["report"] + run * SEED_STEP,
            self.params.schedule(row),
            settings_on(self.settings, profile),
            paths.ONNX,
            Split("report", self.shares.validation_share, self.shares.test_share),
            row.agents,
            None if row.agents is None else self.params.pause_cap_s,
        )


def main() -> None:
    workers = Workers.asked("python -m experiments.information", __doc__)
    params = load_params(InformationParams)
    settings, _ = read_tuned(paths.TUNED)
    experiment = Experiment(params, load_params(BaseParams).seed, settings, load_params(SplitShares))
    rows = [row for row in params.rows if row.workload in (*SEQUENCES, *workload_names())]
    if absent := [row.workload for row in params.rows if row not in rows]:
        logger.info("information: without %s: not imported here", ", ".join(absent))
    with kept_runs(params.processes, workers, params.SECTION) as submit:
        runs = started(experiment, rows, submit)
        cells = {name_of(row): finished(of, experiment.seed) for row, of in runs.items()}
    document = {"revision": git_revision(), "seed": experiment.seed, "params": params.model_dump(), "cells": cells}
    write_json(REPORTS / "metrics.json", document)
    write_text(REPORTS / "table.md", text := f"{CAPTION}\n{markdown(table(cells))}")
    print(text)


def started(
    experiment: Experiment, rows: Sequence[Row], submit: Submit
) -> dict[Row, dict[str, list[Future[Evidence]]]]:
    """The runs of every policy in every row."""
    runs = range(experiment.params.seeds)
    return {
        row: {policy: [submit(experiment.cell(row, policy, run)) for run in runs] for policy in POLICIES}
        for row in rows
    }


def finished(runs: Mapping[str, Sequence[Future[Evidence]]], seed: int) -> dict[str, Metrics]:
    """The metrics of a row, with ratios to knowing nothing of a quantity."""
    bases = [informed(quantity, NOTHING).name for quantity in QUANTITIES]
    return cells_of({policy: [future.result() for future in own] for policy, own in runs.items()}, seed, bases)


def name_of(row: Row) -> str:
    load = f"{row.load:g} sessions/s" if row.agents is None else f"{row.agents} agents"
    return f"{row.workload}, {load}, {row.profile}"


def table(cells: Mapping[str, Mapping[str, Metrics]]) -> pd.DataFrame:
    """One row a workload and quantity: the ratios to knowing nothing."""
    rows = []
    for workload, of in cells.items():
        for quantity, (text, sources) in QUANTITIES.items():
            ratio = f"over_{informed(quantity, NOTHING).name}"
            named = {"exact": EXACT, "models": None, "table": TABLE}
            row = {"workload": workload, "quantity": text}
            for title, source in named.items():
                policy = OURS if source is None else informed(quantity, source).name if source in sources else ""
                row[title] = value_text(of.get(policy, {}), ratio, ".3f", (ratio,))
            rows.append(row)
    return pd.DataFrame(rows)
