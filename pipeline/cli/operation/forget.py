"""`augserve forget TRACES --tenant NAME`: delete a tenant's turns and tool calls from recorded traces."""

import argparse
from pathlib import Path

from ....data.tables.forgetting import forget_tenants
from ....data.tables.pseudonyms import KEY_FILE, Pseudonyms
from ....runtime.hints.conversation import digest
from ...project.stage import StageError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("traces", metavar="TRACES", type=Path, help="folder of a recorder that does not run now")
    parser.add_argument(
        "--tenant", metavar="NAME", required=True, help="an API key, or what the caller sent as its user or tenant"
    )


def run(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.traces
    if not (folder / KEY_FILE).is_file():
        raise StageError(f"{folder}: has no {KEY_FILE}, so names cannot be looked up; name a recorder's folder")
    names = Pseudonyms.kept_in(folder)
    count = forget_tenants(folder, {names.of(arguments.tenant), names.of(digest(arguments.tenant))})
    print(f"{folder}: {count:,} turns of this tenant deleted, and the tool calls of its sessions")
