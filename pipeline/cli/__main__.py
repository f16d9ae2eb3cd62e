"""`augserve COMMAND …`: what a user runs by hand, beside the pipeline's stages."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from ..project.stage import run_stage

COMMANDS = {
    "import": ("import_traces", "turn traces of another format into the three tables"),
    "replay": ("replay", "run a workload against a live OpenAI server and measure it"),
    "simulate": ("simulate", "run policies through vLLM's scheduler under a virtual clock and measure them"),
    "data": ("data", "show what a set of traces holds"),
    "versions": ("versions", "list the scheduler versions of a registry"),
    "pull": ("pull", "fetch a version's bundle from a registry, verified"),
    "rollback": ("rollback", "make an earlier version the champion again"),
}
"""Command → its module in this folder, with `configure(parser)` and `run(arguments)`, and what it does."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; only its own module is imported. A user's error is one line on stderr and exit code 1."""
    run_stage(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="augserve", description="AugServe: traces, workloads, replays, versions.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = argv[0] if argv else None
    for name, (module_name, meaning) in COMMANDS.items():
        subparser = commands.add_parser(name, help=meaning, description=meaning)
        if name == chosen:
            module = importlib.import_module(f".{module_name}", __package__)
            module.configure(subparser)
            subparser.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
