"""`make retrain TRACES=FOLDER`: a server's recordings taken in beside the sets that are learned from.

The folder is copied to data/traces and named in `data.sources`; `make repro`, which follows, does the rest. Recordings
taken in before stay, so that the same command again adds what came since.
"""

import argparse
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from ...data.atomic import replace_folder, write_text
from ...data.tables.files import TableName, TraceError
from ...data.tables.splits import MIN_GROUPS
from ...data.workload.schedule import MIXES
from ..cards.card import Card, measure_card
from ..cards.tables import card_tables
from ..project import paths
from ..project.params import PARAMS_FILE, load_params
from ..project.public_sets import load_public_sets
from ..project.stage import StageError, run_stage
from ..project.trace_sources import DataParams

_TABLES: tuple[TableName, ...] = ("turns", "tool_calls")  # nothing is learned from the steps
_SOURCES = re.compile(r"(^data:\n(?:(?:[ #].*)?\n)*?  sources: \[)([^\]]*)(\])", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make retrain", description="Take a server's recordings in.")
    parser.add_argument("folder", help="TRACES: the folder that the server records into")
    parser.add_argument("name", nargs="?", help="NAME of the set (default: the folder's)")
    arguments = parser.parse_args()
    if not arguments.folder:
        raise StageError("make retrain: TRACES is not given; name the folder: make retrain TRACES=/path/to/traces")
    folder = Path(arguments.folder)
    name = set_name(arguments.name or folder.resolve().name)
    sources = load_params(DataParams).sources
    known = PARAMS_FILE.read_text(encoding="utf-8")
    named = known if name in sources else with_source(known, name)
    print(card_tables(take_in(folder, name)))
    if named != known:
        write_text(PARAMS_FILE, named)
    print(f"{PARAMS_FILE}: data.sources: [{', '.join(load_params(DataParams).sources)}]")


def set_name(name: str) -> str:
    """Raises StageError for one that no set of one's own can have."""
    taken = {paths.GATHERED_TRACES.name, *MIXES, *load_public_sets()}
    try:
        DataParams(sources=(name,), mirror="")
    except ValueError as error:
        raise StageError(f"make retrain: {name!r} is no name for a set (letters, digits, dots); give NAME=…") from error
    if name in taken:
        raise StageError(f"make retrain: {name!r} is the name of a set that the pipeline makes; give NAME=…")
    return name


def take_in(folder: Path, name: str) -> Card:
    """Add the folder's recordings to data/traces/`name`, which changes whole or not at all; what lies there then.

    Raises StageError where nothing is recorded or too little to split, TraceError for an unusable file.
    """
    if not any(_recorded(folder)):
        raise StageError(
            f"{folder}: no turns*.parquet in it: no server has recorded there; give the folder that it was started "
            "with as `traces`"
        )
    target = paths.TRACES / name
    if target.resolve() == folder.resolve():
        return _checked(name, folder, folder)
    cards: list[Card] = []

    def fill(temporary: Path) -> None:
        for file in (*_recorded(target), *_recorded(folder)):  # of the same name the later: a recorder's newest grows
            shutil.copyfile(file, temporary / file.name)
        cards.append(_checked(name, temporary, folder))

    replace_folder(target, fill)
    return cards[0]


def with_source(params: str, name: str) -> str:
    """The text of params.yaml with one more name in data.sources, and all else as it stands."""
    changed = _SOURCES.sub(lambda found: f"{found[1]}{_joined(found[2], name)}{found[3]}", params, count=1)
    try:
        before, after = (yaml.safe_load(document)["data"]["sources"] for document in (params, changed))
    except (yaml.YAMLError, KeyError, TypeError):
        before = after = None
    if after is None or after != [*before, name]:
        raise StageError(
            f"{PARAMS_FILE}: data.sources is no list in brackets; add {name!r} to it by hand, then the same again"
        )
    return changed


def _joined(names: str, name: str) -> str:
    listed = names.rstrip().rstrip(",")
    return f"{listed}, {name}" if listed.strip() else name


def _recorded(folder: Path) -> Iterator[Path]:
    if any(folder.glob("turns*.parquet")):
        for table in _TABLES:
            yield from sorted(folder.glob(f"{table}*.parquet"))


def _checked(name: str, folder: Path, told: Path) -> Card:
    """The card of what lies in `folder`; errors speak of `told`."""
    try:
        card = measure_card(name, folder)
    except TraceError as error:
        raise TraceError(str(error).replace(str(folder), str(told))) from error
    if card.sessions < MIN_GROUPS:
        raise StageError(
            f"{told}: {card.sessions} sessions: at least {MIN_GROUPS} are needed, one each to train, to stop early and "
            "to test; record more"
        )
    return card


if __name__ == "__main__":
    run_stage(main)
