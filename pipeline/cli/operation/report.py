"""`augserve report TRACES|URL`: does AugServe help here?"""

import argparse
from pathlib import Path

from ....data.atomic import write_text
from ...operate.running_server import scrape
from ...project import paths
from ...project.stage import StageError


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="TRACES|URL", help="folder of a server's traces, or the address of a running server")
    add("--out", metavar="FILE", type=Path, help="also write the report as an HTML page")
    bundle = f"bundle of the counterfactual (default: {paths.BUNDLE})"
    add("--bundle", metavar="DIR", type=Path, default=paths.BUNDLE, help=bundle)
    profile = f"engine profile (default: the nearest of {paths.PROFILES})"
    add("--profile", metavar="FILE", type=Path, help=profile)
    add("--agents", metavar="N", type=int, help="the recording was a closed loop of N agents")
    ran = "who scheduled while the traces were recorded (default: vllm, as in the modes observe and shadow)"
    add("--ran", choices=("vllm", "augserve"), default="vllm", help=ran)


def run(arguments: argparse.Namespace) -> None:
    from ...operate.report.document import page
    from ...operate.report.recording import Recording
    from ...operate.report.server import report_of_server

    if arguments.source.startswith(("http://", "https://")):
        report = report_of_server(scrape(arguments.source))
    else:
        if arguments.agents is not None and arguments.agents < 1:
            raise StageError(f"--agents is {arguments.agents}; it must be 1 or more")
        traces = Path(arguments.source)
        if not traces.is_dir():
            raise StageError(f"{traces}: no such folder of traces, and no address of a server; correct it")
        recording = Recording.read(traces)
        from ...operate.report.run import Question, report_of_traces

        profiles = sorted(paths.PROFILES.glob("*.json")) if arguments.profile is None else [arguments.profile]
        report = report_of_traces(Question(recording, arguments.bundle, profiles, arguments.agents, arguments.ran))
    print(report)
    if arguments.out is not None:
        write_text(arguments.out, page(report))
