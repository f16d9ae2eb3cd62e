"""Stage `public`: verifies the public sets that are here and imports them into the three tables."""

import logging
from pathlib import Path

from ...data.atomic import replace_folder, write_json
from ...data.importers.run import import_traces
from ..project import paths
from ..project.params import load_params
from ..project.public_sets import PublicSet, load_public_sets, present_files
from ..project.trace_sources import DataParams

logger = logging.getLogger(__name__)

METRICS = Path("reports/public/metrics.json")


def main() -> None:
    params = load_params(DataParams)
    sets = load_public_sets()
    present: list[tuple[PublicSet, list[Path]]] = []
    for public in (sets[name] for name in params.sources if name in sets):
        files = present_files(public, Path(params.mirror))
        if files is None:
            repository = public.imports[0].repository
            logger.info("%s: not here, left out; `%s` gets it from %s", public.name, public.command, repository)
        else:
            present.append((public, files))
    metrics: dict[str, object] = {}

    def fill(folder: Path) -> None:
        for public, files in present:
            metrics[public.name] = _import(public, files, folder / public.name)

    replace_folder(paths.PUBLIC_TRACES, fill)
    write_json(METRICS, metrics)


def _import(public: PublicSet, files: list[Path], folder: Path) -> dict[str, object]:
    summary = import_traces(public.facts.format, files, folder, public.name, paths.TOKENIZER)
    if summary.skipped:
        count = sum(summary.skipped.values())
        logger.warning("%s: %d malformed records skipped, first: %s", public.name, count, summary.named[0])
    return {
        "turns": summary.turns,
        "tool_calls": summary.tool_calls,
        "sessions": summary.sessions,
        "agents": summary.agents,
        "counted_texts": summary.counted_texts,
        "skipped": dict(summary.skipped),
        "left_out": dict(summary.left_out),
    }
