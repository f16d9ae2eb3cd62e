"""`make serve`: vLLM's OpenAI server with AugServe, its middleware, tool calls and the last packaged bundle."""

import argparse
import os
import shlex
from pathlib import Path

from ..project import paths
from ..project.stage import StageError, run_stage
from .process import MODEL_NAME, hook_arguments, server_command, server_environment

TEMPLATE = Path(__file__).parent / "tools.jinja"
TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--chat-template", str(TEMPLATE))
"""Tool calls in the format that the template asks the model for."""


def serve_command(model: Path, bundle: Path, port: int) -> list[str]:
    """The server's command line. Raises StageError without the model or the bundle."""
    for folder, name, file in ((model, "model", "config.json"), (bundle, "bundle", "manifest.json")):
        if not (folder / file).is_file():
            raise StageError(f"{folder}: no {name} there; run `make repro` first")
    return server_command(model, port, [*hook_arguments({"bundle": str(bundle)}), *TOOLS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, choices=range(1, 65536), metavar="1..65535")
    port = parser.parse_args().port
    command = serve_command(paths.MODEL, paths.BUNDLE, port)
    print(f"serving {MODEL_NAME} on port {port}; equivalent command:\n{shlex.join(command)}", flush=True)
    os.execvpe(command[0], command, server_environment())  # noqa: S606  # the server replaces this process


if __name__ == "__main__":
    run_stage(main)
