"""`augserve retrain TRACES [NAME]`: add a server's recordings to the sets that the pipeline learns from, with its SLO.

The folder is copied to data/traces and named in `data.sources`; `make retrain` then runs the pipeline. It learns from
the turns and tool calls, and fits a profile of the engine to the steps. Recordings that were added before stay, so the
same command again adds only the new ones.
"""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

from ...data.atomic import replace_folder, write_text
from ...data.tables.files import TableName, TraceError, table_files
from ...data.tables.splits import MIN_GROUPS
from ...data.workload.schedule import MIXES
from ..cards.card import Card, measure_card
from ..cards.tables import card_tables
from ..profile.engines import BUILT_IN
from ..project import paths
from ..project.params import PARAMS_FILE, load_params
from ..project.public_sets import load_public_sets
from ..project.slo import load_slo
from ..project.stage import StageError
from ..project.trace_sources import DataParams
from .params_text import with_slo, with_source

_TABLES: tuple[TableName, ...] = ("turns", "tool_calls", "steps")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="TRACES", help="folder that the server records into")
    parser.add_argument("name", metavar="NAME", nargs="?", help="name of the set (default: the folder's)")
    kept = "as params.yaml says"
    parser.add_argument("--slo-ttft-s", type=float, help=f"longest time to first token (default: {kept})")
    parser.add_argument("--slo-tpot-s", type=float, help=f"longest mean time per further token (default: {kept})")


def run(arguments: argparse.Namespace) -> None:
    if not arguments.folder:
        raise StageError("retrain: TRACES is empty; name the folder: make retrain TRACES=/path/to/traces")
    folder = Path(arguments.folder)
    name = set_name(arguments.name or folder.resolve().name)
    sources = load_params(DataParams).sources
    text = PARAMS_FILE.read_text(encoding="utf-8")
    changed = text if name in sources else with_source(text, name)
    changed = with_slo(changed, ttft_s=arguments.slo_ttft_s, tpot_s=arguments.slo_tpot_s)
    print(card_tables(add_recordings(folder, name)))
    if changed != text:
        write_text(PARAMS_FILE, changed)
    slo = load_slo()
    print(f"{PARAMS_FILE}: data.sources: [{', '.join(load_params(DataParams).sources)}]")
    print(f"{PARAMS_FILE}: slo: TTFT {slo.ttft_s:g} s, TPOT {slo.tpot_s:g} s")


def set_name(name: str) -> str:
    """Raises StageError for a name that a set of the user's own cannot have."""
    taken = {paths.GATHERED_TRACES.name, *MIXES, *load_public_sets()}
    try:
        DataParams(sources=(name,), mirror="")
    except ValueError as error:
        raise StageError(f"retrain: {name!r} is no name for a set (letters, digits, dots); give a NAME") from error
    if name in taken:
        raise StageError(f"retrain: {name!r} is the name of a set that the pipeline makes; give another NAME")
    if name in BUILT_IN:
        raise StageError(f"retrain: {name!r} is the name of an engine's profile; give another NAME")
    return name


def add_recordings(folder: Path, name: str) -> Card:
    """Add the folder's recordings to data/traces/`name`, all or none, and return the card of the result.

    Raises StageError for a folder without recordings or with too few sessions, TraceError for an unusable file.
    """
    if not any(_recorded(folder)):
        raise StageError(f"{folder}: no turns*.parquet there; give the folder of the server's setting `traces`")
    target = paths.TRACES / name
    if target.resolve() == folder.resolve():
        return _checked(name, folder, folder)
    cards: list[Card] = []

    def fill(temporary: Path) -> None:
        # The later file of a name wins: a recorder's newest file grows.
        for file in (*_recorded(target), *_recorded(folder)):
            shutil.copy(file, temporary / file.name)  # with its permissions
        cards.append(_checked(name, temporary, folder))

    replace_folder(target, fill)
    return cards[0]


def _recorded(folder: Path) -> Iterator[Path]:
    if table_files(folder, "turns"):
        for table in _TABLES:
            yield from table_files(folder, table)


def _checked(name: str, folder: Path, shown: Path) -> Card:
    """The card of the tables in `folder`; error messages name the folder `shown` instead."""
    try:
        card = measure_card(name, folder)
    except TraceError as error:
        raise TraceError(str(error).replace(str(folder), str(shown))) from error
    if card.sessions < MIN_GROUPS:
        raise StageError(
            f"{shown}: {card.sessions} sessions: at least {MIN_GROUPS} are needed, one for each of training, "
            "validation and test; record more"
        )
    return card
