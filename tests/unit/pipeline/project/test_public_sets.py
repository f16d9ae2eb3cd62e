import hashlib
import re
import shutil
import tarfile
from pathlib import Path

import pytest
from dvc.repo import Repo

from augserve.data.importers.formats import FORMATS
from augserve.pipeline.project.public_sets import PublicSetError, load_public_sets, present_files

PROJECT = Path(__file__).parents[4]
MIRROR = PROJECT.parent / "shared/data"
CONTENT = {"part/a.jsonl": b"one\n", "part/b.jsonl": b"two\n"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with one public set of two files, neither of them here."""
    root = tmp_path / "main"
    public, upstream = root / "data/public", root / "data/upstream/files"
    (public / "checksums").mkdir(parents=True)
    (upstream / "small").mkdir(parents=True)
    (public / "files").symlink_to("../upstream/files")
    packed = f"{{file: all.tar, sha256: {sha256(b'archive')}}}"
    facts = f"small: {{format: azure, licence: MIT, holds: little, defects: [none], packed: {packed}}}\n"
    (public / "sets.yaml").write_text(facts)
    sums = "".join(f"{sha256(content)}  {path}\n" for path, content in CONTENT.items())
    (public / "checksums/small.sha256").write_text(sums)
    pointer = "deps: [{path: traces/part, repo: {url: https://example.org/x, rev_lock: abc}}]\nouts: [{path: part}]\n"
    (upstream / "small/part.dvc").write_text(pointer)
    return root


def put(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def test_a_set_that_is_nowhere_is_none(root: Path) -> None:
    assert present_files(load_public_sets(root)["small"], root / "../shared/data", root) is None


def test_what_dvc_pulled_is_used_without_a_mirror(root: Path) -> None:
    put(root / "data/upstream/files/small", CONTENT | {"part/unlisted.jsonl": b"not used"})
    found = present_files(load_public_sets(root)["small"], root / "nowhere", root)
    assert found == [root / "data/public/files/small" / path for path in CONTENT]


@pytest.mark.parametrize("files", [CONTENT, {"all.tar": b"archive"}])
def test_a_mirror_is_linked_once_its_checksums_hold(root: Path, tmp_path: Path, files: dict[str, bytes]) -> None:
    put(tmp_path / "shared/small", files)
    public = load_public_sets(root)["small"]
    found = present_files(public, tmp_path / "shared", root)
    assert found == [root / "data/public/files/small" / path for path in files]
    assert [path.read_bytes() for path in found] == list(files.values())
    shutil.rmtree(tmp_path / "shared")
    assert present_files(public, tmp_path / "shared", root) == found


def test_a_mirror_on_another_disk_is_copied(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    put(tmp_path / "shared/small", CONTENT)
    found = present_files(load_public_sets(root)["small"], tmp_path / "shared", root) or []
    assert [path.read_bytes() for path in found] == list(CONTENT.values())


def test_a_changed_file_of_the_mirror_is_refused_and_not_linked(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "shared/small", {"all.tar": b"Archive"})
    with pytest.raises(PublicSetError, match=r"shared/small/all\.tar") as caught:
        present_files(load_public_sets(root)["small"], tmp_path / "shared", root)
    assert "\n" not in str(caught.value)
    assert not (root / "data/public/files/small/all.tar").exists()


def test_a_changed_file_that_was_pulled_is_refused_with_the_command_that_gets_it(root: Path) -> None:
    put(root / "data/upstream/files/small", CONTENT | {"part/b.jsonl": b"changed"})
    with pytest.raises(PublicSetError, match=r"b\.jsonl.*dvc --cd data/upstream pull"):
        present_files(load_public_sets(root)["small"], root / "nowhere", root)


def test_an_incomplete_pull_is_refused(root: Path) -> None:
    put(root / "data/upstream/files/small", {"part/a.jsonl": b"one\n"})
    with pytest.raises(PublicSetError, match=r"part/b\.jsonl.*dvc --cd data/upstream pull"):
        present_files(load_public_sets(root)["small"], root / "nowhere", root)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("data/public/sets.yaml", "small: {format: azure}", "small.licence"),
        ("data/public/sets.yaml", "small: [", "sets.yaml"),
        ("data/public/sets.yaml", "- small", "sets.yaml"),
        ("data/public/sets.yaml", None, "sets.yaml"),
        ("data/public/checksums/small.sha256", "", "small.sha256"),
        ("data/public/checksums/small.sha256", "abc  part/a.jsonl\n", "small.sha256:1"),
        ("data/public/checksums/small.sha256", f"{'0' * 64}  ../../x\n", "small.sha256:1"),
        ("data/public/checksums/small.sha256", None, "small.sha256"),
        ("data/upstream/files/small/part.dvc", "outs: [{path: part}]", "part.dvc"),
        ("data/upstream/files/small/part.dvc", "deps: [{path: part}]", "part.dvc"),
        ("data/upstream/files/small/part.dvc", None, r"no \*.dvc pointer in it"),
    ],
)
def test_a_malformed_pointer_gives_one_line_with_its_path(
    root: Path, path: str, text: str | None, message: str
) -> None:
    (root / path).unlink()
    if text is not None:
        (root / path).write_text(text)
    with pytest.raises(PublicSetError, match=message) as caught:
        load_public_sets(root)
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_project_without_the_folder_has_no_public_sets(tmp_path: Path) -> None:
    assert load_public_sets(tmp_path) == {}


def test_the_projects_pointers_name_a_commit_a_licence_and_every_file() -> None:
    sets = load_public_sets(PROJECT)
    assert {name: len(public.files) for name, public in sets.items()} == {
        "infercept-mix": 1,
        "claude-code-swe": 111,
        "kv-cache-sessions": 119,
        "azure-conv": 1,
        "mooncake-conv": 1,
    }
    for public in sets.values():
        assert public.facts.format in FORMATS
        assert public.facts.licence
        assert all(re.fullmatch("[0-9a-f]{40}", part.commit) for part in public.imports)
        assert all(part.repository.startswith("https://github.com/") for part in public.imports)


def test_dvc_takes_the_projects_pointers_for_unchanged_imports() -> None:
    repo = Repo(str(PROJECT / "data/upstream"))
    for path in (PROJECT / "data/upstream/files").glob("*/*.dvc"):
        stage = repo.stage.load_one(str(path))
        assert stage.is_repo_import
        assert stage.compute_md5() == stage.md5


def test_no_record_of_a_public_set_is_committed() -> None:
    names = {path.name for path in (PROJECT / "data/upstream/files").glob("*/*.dvc")}
    ignored = [line for path in (PROJECT / "data/upstream/files").glob("*/.gitignore") for line in path.open()]
    assert names == {f"{line.strip('/').strip()}.dvc" for line in ignored if ".xz" not in line}


@pytest.mark.skipif(not MIRROR.exists(), reason="no ../shared/data")
def test_an_archive_of_the_mirror_holds_just_the_listed_files() -> None:
    sets = load_public_sets(PROJECT)
    for name in ("claude-code-swe", "kv-cache-sessions"):
        listed = {part.file: part.sha256 for part in sets[name].files}
        with tarfile.open(MIRROR / name / "sessions.tar.xz") as archive:
            held = {
                member.name.removeprefix("experiments/"): sha256(stream.read())
                for member in archive
                if (stream := archive.extractfile(member))
            }
        assert held == listed
