"""Section `data` of params.yaml: the sets of traces that the pipeline learns from."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import field_validator

from ...data.tables.files import table_files
from . import paths
from .params import Section
from .public_sets import load_public_sets

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


class SourceError(ValueError):
    """A set named in `data.sources` cannot be used; the message names it, the cause and the remedy."""


class DataParams(Section):
    SECTION = "data"
    sources: tuple[str, ...]  # none: the generated sessions of section `prepare` alone
    mirror: str

    @field_validator("sources")
    @classmethod
    def _names_folders(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("a list without repeats")
        for name in names:
            if not _NAME.fullmatch(name) or name == "public":
                raise ValueError(f"names of folders of data/traces (letters, digits, dots, dashes), not {name!r}")
        return names


@dataclass(frozen=True, slots=True)
class Source:
    name: str
    folder: Path  # of the three tables


def present_sources(params: DataParams, root: Path = Path()) -> list[Source]:
    """The sets to learn from, in the order of `data.sources`; a name of no public set is a set of the user's own.

    A public set that stage `public` did not find is left out with one line in the log. Raises SourceError for a missing
    set of the user's own, and where no set is left.
    """
    public = load_public_sets(root)
    present = []
    for name in params.sources:
        folder = root / (paths.PUBLIC_TRACES if name in public else paths.TRACES) / name
        if table_files(folder, "turns"):
            present.append(Source(name, folder))
        elif name in public:
            logger.info("%s: a public set that is not here, left out; `%s` gets it", name, public[name].command)
        else:
            raise SourceError(
                f"{folder}: no turns*.parquet in it; record or import traces there, "
                f"or take {name!r} out of data.sources in params.yaml"
            )
    if params.sources and not present:
        raise SourceError("params.yaml: none of data.sources is here; add 'gathered' to it and run `dvc repro`")
    return present
