"""Importing a trace: files of a format in, a folder of the three tables out."""

import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ..atomic import replace_folder
from .contract import Context
from .formats import Format, format_named
from .reading.members import open_members, size_bytes
from .reading.problems import ImportingError, Problems
from .token_counter import EstimatedTokens, ExactTokens
from .writing.summary import ImportSummary
from .writing.writer import TraceWriter


def import_traces(
    format_name: str,
    paths: Sequence[Path],
    out: Path,
    source: str | None = None,
    tokenizer: Path | None = None,
    strict: bool = False,
) -> ImportSummary:
    """Import `paths` into the new or empty folder `out`, which appears whole or not at all.

    `source` names the set (None: the format's name; own recordings keep theirs). Without `tokenizer` the tokens of
    text are estimated. Raises ImportingError for unusable input or output, and for any malformed record if `strict`;
    TokenCounterError for an unusable tokenizer.
    """
    chosen = format_named(format_name)
    _check_output(out)
    total_bytes = size_bytes(paths, chosen.suffixes)
    tokens = EstimatedTokens() if tokenizer is None else ExactTokens(tokenizer)
    problems = Problems(strict)
    context = Context(problems, tokens)
    writers: list[TraceWriter] = []

    def fill(folder: Path) -> None:
        writers.append(_import(chosen, paths, folder, source, context, total_bytes))

    try:
        replace_folder(out, fill)
    except OSError as error:
        raise ImportingError(f"{out}: cannot be written: {error.strerror}; name a writable folder") from error
    return _summary(writers[0], context, tokens.counted_texts)


def _import(
    chosen: Format, paths: Sequence[Path], folder: Path, source: str | None, context: Context, total_bytes: int
) -> TraceWriter:
    writer = TraceWriter(folder, source, chosen.name, context.problems, chosen.numbered, chosen.restarts)
    with tqdm(total=total_bytes, desc=f"import {chosen.name}", unit="B", unit_scale=True) as progress:
        members = open_members(paths, chosen.suffixes, context.problems, progress.update)
        writer.write(chosen.importer(members, context))
    if not any(writer.counts.values()):
        first = f"; the first problem: {context.problems.named[0]}" if context.problems.named else ""
        raise ImportingError(f"{paths[0]}: holds nothing to import as {chosen.name}; correct the format or path{first}")
    return writer


def _check_output(out: Path) -> None:
    if out.is_dir():
        if not os.access(out, os.R_OK):
            raise ImportingError(f"{out}: cannot be read; name a writable folder")
        if any(out.iterdir()):
            raise ImportingError(f"{out}: not empty; name a new folder")
    elif out.exists():
        raise ImportingError(f"{out}: not a folder; name a new one")


def _summary(writer: TraceWriter, context: Context, counted_texts: int) -> ImportSummary:
    any_turns = writer.counts["turns"] > 0
    return ImportSummary(
        turns=writer.counts["turns"],
        tool_calls=writer.counts["tool_calls"],
        steps=writer.counts["steps"],
        sessions=writer.session_count,
        start_s=writer.start_s if any_turns else None,
        end_s=writer.end_s if any_turns else None,
        tools=writer.tools.durations(),
        exact_tokens=context.tokens.exact,
        counted_texts=counted_texts,
        skipped=dict(context.problems.skipped.most_common()),
        left_out=dict(context.problems.left_out.most_common()),
        named=tuple(context.problems.named),
    )
