"""`augserve COMMAND …`: the commands for users, besides the stages of the pipeline."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from ..project.stage import run_stage

COMMANDS = {
    "check": ("operation.check", "whether a server will start with AugServe, or what it does in a running one"),
    "report": (
        "operation.report",
        "whether AugServe helps here, from a server's traces or its metrics",
    ),
    "import": ("import_traces", "turn traces of another format into the three tables"),
    "export": ("export", "write recorded sessions in a format that another harness replays"),
    "replay": ("replay", "run a workload against a live OpenAI server and measure it"),
    "simulate": ("simulate", "run policies through vLLM's scheduler under a virtual clock and measure them"),
    "plan": ("plan", "how many engines a load needs, with stock vLLM and with AugServe, by simulation"),
    "retrain": ("retrain", "add a server's recordings to the sets that the pipeline learns from"),
    "forget": ("operation.forget", "delete a tenant's turns and tool calls from recorded traces"),
    "data": ("data", "show what a set of traces holds"),
    "versions": ("registry.versions", "list the scheduler versions of a registry"),
    "pull": ("registry.pull", "fetch a version's bundle from a registry, verified"),
    "sign": ("registry.sign", "sign a bundle with your key, so that servers accept no other"),
    "rollback": ("registry.rollback", "make an earlier version the champion again"),
}
"""Each command's module below this folder, which has `configure(parser)` and `run(arguments)`, and its help text."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and import only its module. A user's error is one line on stderr and exit code 1."""
    run_stage(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="augserve", description="AugServe: traces, workloads, replays, versions.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = argv[0] if argv else None
    for name, (module_name, meaning) in COMMANDS.items():
        subparser = commands.add_parser(name, help=meaning, description=meaning, allow_abbrev=False)
        if name == chosen:
            module = importlib.import_module(f".{module_name}", __package__)
            module.configure(subparser)
            subparser.set_defaults(run=module.run)
    arguments, rest = parser.parse_known_args(argv)
    if rest and "passed_on" not in arguments:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.passed_on = rest
    arguments.run(arguments)


if __name__ == "__main__":
    main()
