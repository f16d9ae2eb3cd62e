"""Imports a trace: files of a format in, a folder of the three tables out."""

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from tqdm import tqdm

from ..atomic import replace_folder
from .contract import Context
from .formats import format_named
from .reading.members import open_members, size_bytes
from .reading.places import Place
from .reading.problems import ImportingError, Problems
from .summary import ImportSummary, summarize
from .token_counter import EstimatedTokens, ExactTokens
from .writing.trees import check_trees
from .writing.writer import TraceWriter


def import_traces(
    format_name: str,
    places: Sequence[Place],
    out: Path,
    source: str | None = None,
    tokenizer: Path | None = None,
    strict: bool = False,
) -> ImportSummary:
    """Import `places` into the new or empty folder `out`, which appears whole or not at all.

    `source` names the set (None: the format's name; own recordings keep theirs). Without `tokenizer` the tokens of
    text are estimated. Raises ImportingError for unusable input or output, and for any malformed record if `strict`;
    TokenCounterError for an unusable tokenizer.
    """
    chosen = format_named(format_name)
    _check_output(out)
    total_bytes = size_bytes(places, chosen.suffixes)
    counter = EstimatedTokens() if tokenizer is None else ExactTokens(tokenizer)
    context = Context(Problems(strict), counter, source or chosen.name)

    def fill(folder: Path) -> None:
        writer = TraceWriter(folder, source, chosen.name, context.problems, chosen.numbered, chosen.restarts)
        with tqdm(total=total_bytes, desc=f"import {chosen.name}", unit="B", unit_scale=True) as progress:
            members = open_members(places, chosen.suffixes, context.problems, progress.update)
            writer.write(chosen.importer(members, context))
        check_trees(folder, context.problems)
        if not any(pq.ParquetFile(table).metadata.num_rows for table in folder.iterdir()):
            first = f"; the first problem: {context.problems.named[0]}" if context.problems.named else ""
            raise ImportingError(
                f"{places[0]}: holds nothing to import as {chosen.name}; correct the format or path{first}"
            )

    try:
        replace_folder(out, fill)
    except OSError as error:
        raise ImportingError(f"{out}: cannot be written: {error.strerror}; name a writable folder") from error
    return summarize(out, context, chosen.numbered)


def _check_output(out: Path) -> None:
    if out.is_dir():
        if not os.access(out, os.R_OK):
            raise ImportingError(f"{out}: cannot be read; name a writable folder")
        if any(out.iterdir()):
            raise ImportingError(f"{out}: not empty; name a new folder")
    elif out.exists():
        raise ImportingError(f"{out}: not a folder; name a new one")
