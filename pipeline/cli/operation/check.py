"""`augserve check`: whether a server will start with AugServe, or what AugServe does in a running one."""

import argparse
import json
import sys
from pathlib import Path

from ...operate.before_start import check_before_start
from ...operate.finding import as_json, as_text, is_good
from ...operate.running_server import check_running, scrape
from ...project.stage import StageError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "augserve check [--bundle DIR] [--json] [MODEL and options as after `vllm serve`]\n"
        "       augserve check --url URL [--json]"
    )
    parser.add_argument("--url", metavar="URL", help="ask the server that runs there")
    parser.add_argument("--bundle", metavar="DIR", type=Path, help="bundle to check in place of the deployment's")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(passed_on=[])


def run(arguments: argparse.Namespace) -> None:
    """Print the findings; exit status 1 if one is bad."""
    if arguments.url is not None:
        if arguments.bundle is not None or arguments.passed_on:
            raise StageError("--url: a running server has its own bundle and arguments; leave the others out")
        findings = list(check_running(scrape(arguments.url)))
    else:
        findings = list(check_before_start(arguments.passed_on, arguments.bundle))
    print(json.dumps(as_json(findings), indent=2) if arguments.json else as_text(findings))
    if not is_good(findings):
        sys.exit(1)
