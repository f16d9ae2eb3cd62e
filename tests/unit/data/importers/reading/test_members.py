import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from augserve.data.importers.reading.members import open_members, size_bytes
from augserve.data.importers.reading.problems import ImportingError, Problems

CONTENT = b'{"a": 1}\n' * 5000


def read(*paths: Path, problems: Problems | None = None) -> dict[str, bytes]:
    return {member.name: member.stream.read() for member in open_members(paths, (".jsonl",), problems)}


def tar(path: Path, mode: str, **files: bytes) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/") + ".jsonl")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_a_folder_is_read_in_sorted_order_with_subfolders_and_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.jsonl").write_bytes(b"plain")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"gz"))
    (tmp_path / "sub" / "c.jsonl.xz").write_bytes(lzma.compress(b"xz"))
    assert list(read(tmp_path).items()) == [
        (f"{tmp_path}/a.jsonl.gz", b"gz"),
        (f"{tmp_path}/b.jsonl", b"plain"),
        (f"{tmp_path}/sub/c.jsonl.xz", b"xz"),
    ]


@pytest.mark.parametrize(
    ("name", "mode"), [("t.tar", "w"), ("t.tar.gz", "w:gz"), ("t.tgz", "w:gz"), ("t.tar.xz", "w:xz")]
)
def test_an_archive_is_read_in_stored_order(tmp_path: Path, name: str, mode: str) -> None:
    path = tar(tmp_path / name, mode, z__one=b"1", a__two=CONTENT)
    assert list(read(path).items()) == [(f"{path}/z/one.jsonl", b"1"), (f"{path}/a/two.jsonl", CONTENT)]
    assert list(read(tmp_path)) == list(read(path))


def test_files_of_another_kind_are_counted(tmp_path: Path) -> None:
    for name in ("LICENSE", "x.csv", ".hidden.jsonl", "y.jsonl"):
        (tmp_path / name).write_text("x")
    problems = Problems()
    assert list(read(tmp_path, problems=problems)) == [f"{tmp_path}/y.jsonl"]
    assert problems.left_out.total() == 3
    assert size_bytes([tmp_path], (".jsonl",)) == 1


def test_a_file_named_by_the_user_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_bytes(b"x")
    assert read(path) == {str(path): b"x"}


@pytest.mark.parametrize("name", ["t.jsonl.gz", "t.jsonl.xz", "t.tar.gz", "t.tar.xz", "t.tar"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_named(tmp_path: Path, name: str, share: float) -> None:
    noise = bytes(i * i * 2654435761 >> 13 & 255 for i in range(60_000))
    path = tmp_path / name
    if name.startswith("t.tar"):
        tar(path, "w" + path.suffix.replace(".tar", "").replace(".", ":"), a=noise, b=noise)
    else:
        path.write_bytes({".gz": gzip, ".xz": lzma}[path.suffix].compress(noise))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ImportingError, match=str(path)):
        read(path)


def test_a_damaged_end_behind_the_last_file_is_found(tmp_path: Path) -> None:
    path = tar(tmp_path / "t.tar.gz", "w:gz", a=CONTENT)
    whole = bytearray(path.read_bytes())
    whole[-6] ^= 1  # in the checksum of the whole
    path.write_bytes(whole)
    with pytest.raises(ImportingError, match=str(path)):
        read(path)


def test_an_empty_folder_a_missing_path_and_a_path_given_twice_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ImportingError, match=r"\.jsonl"):
        read(tmp_path)
    with pytest.raises(ImportingError, match="nothing"):
        read(tmp_path / "nothing")
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"x")
    with pytest.raises(ImportingError, match=r"a\.jsonl"):
        read(file, tmp_path)


def test_the_bytes_read_are_those_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(CONTENT))
    counts: list[int] = []
    for member in open_members([path], (".jsonl",), on_bytes=counts.append):
        assert member.stream.read() == CONTENT
    assert sum(counts) == size_bytes([path], (".jsonl",)) == path.stat().st_size
