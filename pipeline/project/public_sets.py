"""The public sets of traces: what is known of each, where it comes from, and which files of it lie here, verified.

`data/public/sets.yaml` holds the facts, `data/upstream/files/<set>/*.dvc` DVC's own imports (repository, commit, path),
and `data/public/checksums/<set>.sha256` the files that are used, in the form of `sha256sum`. `data/public/files` leads
to what DVC has pulled. The records themselves are in no commit.
"""

import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...data.atomic import atomic_file

PUBLIC = Path("data/public")
UPSTREAM = Path("data/upstream")  # a DVC project of its own: what is not pulled is no concern of `dvc status`
_FACTS = {"format", "licence", "holds", "defects"}
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")


class PublicSetError(ValueError):
    """A pointer or a file of a public set is unusable; the message names it, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class FileSum:
    path: str  # below the set's folder
    sha256: str


@dataclass(frozen=True, slots=True)
class Import:
    """One `dvc import`: what is taken from where."""

    repository: str
    commit: str
    path: str


@dataclass(frozen=True, slots=True)
class PublicSet:
    name: str
    format: str  # as `augserve import` names it
    licence: str
    holds: str
    defects: tuple[str, ...]
    packed: FileSum | None  # all files in one archive, as a mirror may hold them
    imports: tuple[Import, ...]
    files: tuple[FileSum, ...]

    @property
    def command(self) -> str:
        """What gets the set from its source."""
        return f"dvc --cd {UPSTREAM} pull --recursive files/{self.name}"


def load_public_sets(root: Path = Path()) -> dict[str, PublicSet]:
    """Every public set by name, in the order of sets.yaml; none where there is no folder of them.

    Raises PublicSetError for a malformed pointer.
    """
    if not (root / PUBLIC).exists():
        return {}
    path = root / PUBLIC / "sets.yaml"
    document = _read_yaml(path)
    return {name: _public_set(root, path, name, facts) for name, facts in document.items()}


def _public_set(root: Path, path: Path, name: str, facts: Any) -> PublicSet:
    if not isinstance(facts, dict) or not set(facts) >= _FACTS or not set(facts) <= _FACTS | {"packed"}:
        raise PublicSetError(
            f"{path}: {name} must have {', '.join(sorted(_FACTS))} and may have packed; restore it from git"
        )
    packed = facts.get("packed")
    pointers = sorted((root / UPSTREAM / "files" / name).glob("*.dvc"))
    if not pointers:
        raise PublicSetError(f"{root / UPSTREAM / 'files' / name}: no *.dvc pointer in it; restore it from git")
    return PublicSet(
        name=name,
        format=facts["format"],
        licence=facts["licence"],
        holds=facts["holds"],
        defects=tuple(facts["defects"]),
        packed=FileSum(packed["file"], packed["sha256"]) if packed else None,
        imports=tuple(_read_import(pointer) for pointer in pointers),
        files=tuple(_read_sums(root / PUBLIC / "checksums" / f"{name}.sha256")),
    )


def _read_import(path: Path) -> Import:
    document = _read_yaml(path)
    try:
        (dependency,) = document["deps"]
        repository = dependency["repo"]
        return Import(str(repository["url"]), str(repository["rev_lock"]), str(dependency["path"]))
    except (KeyError, TypeError, ValueError) as error:
        raise PublicSetError(f"{path}: not what `dvc import` writes; restore it from git") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PublicSetError(f"{path}: no such file; run from the project's root, or restore it from git") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PublicSetError(f"{path}: not valid YAML: {' '.join(str(error).split())}; restore it from git") from error
    if not isinstance(document, dict):
        raise PublicSetError(f"{path}: must be a mapping; restore it from git")
    return document


def _read_sums(path: Path) -> Iterator[FileSum]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise PublicSetError(f"{path}: no such file; restore it from git") from error
    if not lines:
        raise PublicSetError(f"{path}: names no file; restore it from git")
    for number, line in enumerate(lines, 1):
        match = _SUM.fullmatch(line)
        if not match or match[2].startswith("/") or ".." in Path(match[2]).parts:
            raise PublicSetError(f"{path}:{number}: not a line of sha256sum; restore it from git")
        yield FileSum(match[2], match[1])


def present_files(public: PublicSet, mirror: Path, root: Path = Path()) -> list[Path] | None:
    """The set's verified files, to be imported; None if the set is not here.

    First what DVC has pulled; otherwise the mirror's copy, `<mirror>/<set>/<file>`, which is linked into the set's
    folder once its checksum holds. Raises PublicSetError for files that are changed or incomplete.
    """
    folder = root / PUBLIC / "files" / public.name
    forms = [list(public.files)] + ([[public.packed]] if public.packed else [])
    for form in forms:
        if any((folder / part.path).exists() for part in form):
            return [_verified(folder / part.path, part, public) for part in form]
    for form in forms:
        if all((mirror / public.name / part.path).is_file() for part in form):
            found = [_verified(mirror / public.name / part.path, part, public) for part in form]
            return [_linked(path, folder / part.path) for path, part in zip(found, form, strict=True)]
    return None


def _verified(path: Path, expected: FileSum, public: PublicSet) -> Path:
    if not path.is_file():
        raise PublicSetError(f"{path}: missing, others of {public.name} are there; run `{public.command}` again")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected.sha256:
        raise PublicSetError(
            f"{path}: sha256 is {found[:16]}…, published was {expected.sha256[:16]}…; "
            f"remove the file, then `{public.command}`"
        )
    return path


def _linked(path: Path, link: Path) -> Path:
    """A hard link, for DVC cannot read a folder with a symbolic one that leads nowhere; a copy from another disk."""
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.hardlink_to(path)
    except OSError:
        with atomic_file(link) as temporary:
            shutil.copyfile(path, temporary)
    return link
