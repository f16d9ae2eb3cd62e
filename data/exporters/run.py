"""Exports recorded traces: folders of the three tables to files that another harness replays."""

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import cast

from ..atomic import replace_folder
from ..tables.sessions import read_sessions
from .contract import Exporter, Notes
from .trees import trees_as_recorded

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "weka": "JSON files of kv-cache-tester and of aiperf's weka_trace",
        "aiperf": "JSON Lines of aiperf's dag_jsonl",
    }
)
"""Each format's module in this folder, and what it writes."""


class ExportError(ValueError):
    """Nothing can be exported; the message names the folder, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class ExportSummary:
    trees: int
    agents: int
    turns: int
    notes: Mapping[str, int]  # what the format cannot tell, by cause


def export_traces(format_name: str, folders: Sequence[Path], out: Path) -> ExportSummary:
    """Write the sessions of `folders` into the new or empty folder `out`, which appears whole or not at all.

    Raises ExportError for an unknown format, traces without a session, and a folder that is not empty or not writable;
    TraceError for unusable tables.
    """
    if format_name not in FORMATS:
        raise ExportError(f"{format_name!r}: unknown format; known are {', '.join(FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out}: not an empty folder; name a new one")
    sessions = read_sessions(folders, vectors=False, blocks=True)
    if not sessions:
        raise ExportError(f"{os.fspath(folders[0])}: the traces hold no session; gather or import some first")
    trees = trees_as_recorded(sessions)
    notes: Notes = Notes()
    exporter = cast(Exporter, importlib.import_module(f".{format_name}", __package__).export_trees)
    try:
        replace_folder(out, lambda folder: exporter(trees, folder, notes))
    except OSError as error:
        raise ExportError(f"{out}: cannot be written: {error.strerror}; name a writable folder") from error
    turns = sum(map(len, sessions))
    return ExportSummary(len(trees), len(sessions) - len(trees), turns, {cause: n for cause, n in notes.items() if n})
