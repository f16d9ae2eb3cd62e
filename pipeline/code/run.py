"""Stage `code`: for every other stage a file with the code that it runs, without comments, docstrings and layout.

The stages depend on these files instead of on sources: a changed comment reruns nothing, and no import is forgotten.
"""

import argparse
from pathlib import Path

from ...data.atomic import write_text
from .graph import CodeGraph
from .syntax import Name

CODE = Path("build/code")
POLICIES = ("pipeline.simulator.policies", "POLICIES")

WITHOUT_EFFECT: tuple[Name, ...] = (
    ("pipeline.stage", None),  # how errors are shown
    ("pipeline.params", None),  # how params.yaml is read: its values are among a stage's params
    ("pipeline.tracking", None),  # what MLflow is told; no stage reads it
    ("pipeline.lifetime", None),  # that no process outlives its parent
    ("pipeline.simulator.cell_cache", None),  # which results are kept; cells depend on their code themselves
)
RECORDING = (
    "deployment",
    "hints",
    "losses",
    "middleware",
    "recorder",
    "retention",
    "rows",
    "sessions",
    "steps",
    "trace_files",
    "tracing",
    "turns",
    "vectors",
)
"""Modules of the runtime that run in gather's server, which only observes: nothing that decides, so that a new term of
the value does not gather anew."""
SIMULATED = {"tune": ("vllm", "augserve")}
"""Policies that a stage runs, where it does not run those that its params name."""


def entry(stage: str, graph: CodeGraph) -> Name:
    """The `main` that `python -m augserve.pipeline.<stage>` runs: of a module, or of a package's `__main__`."""
    package = f"pipeline.{stage}.__main__"
    return (package if package in graph.modules else f"pipeline.{stage}", "main")


def code_of(stage: str, graph: CodeGraph) -> str:
    """The code that a stage runs: its `main`, and what is loaded by name, which imports do not show.

    Raises CodeGraphError for a stage without a module.
    """
    starts = [entry(stage, graph)]
    if stage == "gather":
        starts += [(f"runtime.{name}", None) for name in RECORDING]
    if stage == "public":
        starts += [(name, None) for name in graph.modules if name.startswith("data.importers.")]
    if stage in SIMULATED:
        graph = graph.narrowed(POLICIES, SIMULATED[stage])
    return graph.text(starts, WITHOUT_EFFECT)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m augserve.pipeline.code", description="Write the code of stages.")
    parser.add_argument("stages", nargs="+", help="names of stages, which are those of their modules")
    graph = CodeGraph()
    for stage in parser.parse_args().stages:
        write_text(CODE / f"{stage}.txt", code_of(stage, graph))
