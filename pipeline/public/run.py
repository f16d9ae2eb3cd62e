"""Stage `public`: those public sets that are here, verified and imported into the three tables."""

import logging
from pathlib import Path

from ...data.atomic import replace_folder, write_json
from ...data.importers.run import import_traces
from ..project.params import load_params
from ..project.public_sets import PublicSet, present_files
from ..project.trace_sources import PUBLIC_TRACES, DataParams, public_sources

logger = logging.getLogger(__name__)

TOKENIZER = Path("models/smollm2/tokenizer.json")
METRICS = Path("reports/public/metrics.json")


def main() -> None:
    params = load_params("data", DataParams)
    found = {}
    for public in public_sources(params):
        files = present_files(public, Path(params.mirror))
        if files is None:
            logger.info(
                "%s: not here, left out; `%s` gets it from %s",
                public.name,
                public.command,
                public.imports[0].repository,
            )
        else:
            found[public.name] = (public, files)
    metrics: dict[str, object] = {}

    def fill(folder: Path) -> None:
        for name, (public, files) in found.items():
            metrics[name] = _import(public, files, folder / name)

    replace_folder(PUBLIC_TRACES, fill)
    write_json(METRICS, metrics)


def _import(public: PublicSet, files: list[Path], folder: Path) -> dict[str, object]:
    summary = import_traces(public.format, files, folder, public.name, TOKENIZER)
    if summary.skipped:
        count = sum(summary.skipped.values())
        logger.warning("%s: %d malformed records skipped, first: %s", public.name, count, summary.named[0])
    return {
        "turns": summary.turns,
        "tool_calls": summary.tool_calls,
        "sessions": summary.sessions,
        "counted_texts": summary.counted_texts,
        "skipped": dict(summary.skipped),
        "left_out": dict(summary.left_out),
    }
