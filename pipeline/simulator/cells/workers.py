"""Options of the commands that run many cells: where these run, and where their results are kept."""

import argparse
from dataclasses import dataclass
from typing import Self

from ...project import paths


@dataclass(frozen=True, slots=True)
class Workers:
    on: str | None = None  # `ray`, or ray://HOST:PORT; None: processes
    cells: str = str(paths.CELLS)  # folder, or a URL of fsspec

    @classmethod
    def asked(cls, prog: str, description: str | None) -> Self:
        """From the command line of a program without other options."""
        parser = argparse.ArgumentParser(prog=prog, description=description)
        add_on(parser)
        kept = f"folder or URL (s3://…) of finished simulations, which others may share (default {paths.CELLS})"
        parser.add_argument("--cells", metavar="URL", default=str(paths.CELLS), help=kept)
        return cls(**vars(parser.parse_args()))


def add_on(parser: argparse.ArgumentParser) -> None:
    where = "run the simulations on Ray: `ray` on this machine, or ray://HOST:PORT of a cluster (default: processes)"
    parser.add_argument("--on", metavar="RAY", help=where)
