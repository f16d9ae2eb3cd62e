"""The public sets of traces: facts about each, its source, and its verified files.

`data/public/sets.yaml` holds the facts, `data/upstream/files/<set>/*.dvc` DVC's imports (repository, commit, path), and
`data/public/checksums/<set>.sha256` the files in the format of `sha256sum`. `data/public/files` links to the files that
DVC pulled. No commit holds a record of a public set.
"""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ...data.atomic import atomic_file
from ...data.one_line import one_line

PUBLIC = Path("data/public")
UPSTREAM = Path("data/upstream")  # a DVC project of its own, so that `dvc status` ignores sets that are not pulled
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")


class PublicSetError(ValueError):
    """A pointer or a file of a public set is unusable; the message names it, the cause and the remedy."""


class FileSum(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str  # path below the set's folder
    sha256: str


class Facts(BaseModel):
    """An entry of sets.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str  # as `augserve import` names it
    licence: str
    holds: str
    defects: tuple[str, ...]
    packed: FileSum | None = None  # one archive of all files, as a mirror may hold it


@dataclass(frozen=True, slots=True)
class Import:
    """The source of one `dvc import`."""

    repository: str
    commit: str
    path: str


@dataclass(frozen=True, slots=True)
class PublicSet:
    name: str
    facts: Facts
    imports: tuple[Import, ...]
    files: tuple[FileSum, ...]

    @property
    def command(self) -> str:
        """The command that gets the set from its source."""
        return f"dvc --cd {UPSTREAM} pull --recursive files/{self.name}"


def load_public_sets(root: Path = Path()) -> dict[str, PublicSet]:
    """Every public set by name, in the order of sets.yaml; none in a project without data/public.

    Raises PublicSetError for a malformed pointer.
    """
    if not (root / PUBLIC).exists():
        return {}
    path = root / PUBLIC / "sets.yaml"
    return {name: _public_set(root, path, name, facts) for name, facts in _read_yaml(path).items()}


def _public_set(root: Path, path: Path, name: str, facts: Any) -> PublicSet:
    folder = root / UPSTREAM / "files" / name
    pointers = sorted(folder.glob("*.dvc"))
    if not pointers:
        raise PublicSetError(f"{folder}: no *.dvc pointer in it; restore it from git")
    try:
        checked = Facts.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, (name, *first["loc"])))
        raise PublicSetError(f"{path}: {key}: {first['msg']}; restore it from git") from error
    return PublicSet(
        name=name,
        facts=checked,
        imports=tuple(_read_import(pointer) for pointer in pointers),
        files=_read_sums(root / PUBLIC / "checksums" / f"{name}.sha256"),
    )


def _read_import(path: Path) -> Import:
    document = _read_yaml(path)
    try:
        (dependency,) = document["deps"]
        repository = dependency["repo"]
        return Import(str(repository["url"]), str(repository["rev_lock"]), str(dependency["path"]))
    except (KeyError, TypeError, ValueError) as error:
        raise PublicSetError(f"{path}: not written by `dvc import`; restore it from git") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(_read_text(path))
    except yaml.YAMLError as error:
        raise PublicSetError(f"{path}: not valid YAML: {one_line(error)}; restore it from git") from error
    if not isinstance(document, dict):
        raise PublicSetError(f"{path}: must be a mapping; restore it from git")
    return document


def _read_sums(path: Path) -> tuple[FileSum, ...]:
    sums = []
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        match = _SUM.fullmatch(line)
        if not match or match[2].startswith("/") or ".." in Path(match[2]).parts:
            raise PublicSetError(f"{path}:{number}: not a line of sha256sum; restore it from git")
        sums.append(FileSum(file=match[2], sha256=match[1]))
    if not sums:
        raise PublicSetError(f"{path}: names no file; restore it from git")
    return tuple(sums)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PublicSetError(f"{path}: cannot be read: {error}; run from the project's root, or restore it") from error


def present_files(public: PublicSet, mirror: Path, root: Path = Path()) -> list[Path] | None:
    """The set's verified files, for the import; None if the set is not here.

    Files that DVC pulled come first. Otherwise the mirror's copy (`<mirror>/<set>/<file>`) is verified and linked into
    the set's folder. Raises PublicSetError for files that are changed or incomplete.
    """
    folder = root / PUBLIC / "files" / public.name
    packed = public.facts.packed
    forms = [public.files, *([(packed,)] if packed else [])]
    for form in forms:
        if any((folder / part.file).exists() for part in form):
            return [_verified(folder / part.file, part, public) for part in form]
    for form in forms:
        if all((mirror / public.name / part.file).is_file() for part in form):
            copies = [_verified(mirror / public.name / part.file, part, public) for part in form]
            return [_linked(copy, folder / part.file) for copy, part in zip(copies, form, strict=True)]
    return None


def _verified(path: Path, expected: FileSum, public: PublicSet) -> Path:
    if not path.is_file():
        raise PublicSetError(f"{path}: missing, others of {public.name} are there; run `{public.command}` again")
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 != expected.sha256:
        raise PublicSetError(
            f"{path}: sha256 is {sha256[:16]}…, published was {expected.sha256[:16]}…; "
            f"remove the file, then `{public.command}`"
        )
    return path


def _linked(path: Path, link: Path) -> Path:
    """A hard link, since DVC cannot read a folder with a broken symbolic link; a copy if on another disk."""
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.hardlink_to(path)
    except OSError:
        with atomic_file(link) as temporary:
            shutil.copyfile(path, temporary)
    return link
