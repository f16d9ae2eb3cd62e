"""`make serve`: vLLM's OpenAI server with AugServe, its middleware, tool calls and a bundle."""

import argparse
import os
import shlex
from pathlib import Path

from ..project.stage import run_stage
from .process import MODEL_NAME, hook_arguments, server_command, server_environment
from .starter import ready_bundle, ready_model

TEMPLATE = Path(__file__).parent / "tools.jinja"
TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--chat-template", str(TEMPLATE))
"""Tool calls in the format that the template asks the model for."""


def serve_command(model: Path, bundle: Path, port: int) -> list[str]:
    """The server's command line."""
    return server_command(model, port, [*hook_arguments({"bundle": str(bundle)}), *TOOLS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, choices=range(1, 65536), metavar="1..65535")
    port = parser.parse_args().port
    command = serve_command(ready_model(), ready_bundle(), port)
    print(f"serving {MODEL_NAME} on port {port}; equivalent command:\n{shlex.join(command)}", flush=True)
    os.execvpe(command[0], command, server_environment())  # noqa: S606  # the server replaces this process


if __name__ == "__main__":
    run_stage(main)
