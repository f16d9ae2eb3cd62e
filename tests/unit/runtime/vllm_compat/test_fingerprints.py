import linecache

import pytest

from augserve.runtime.vllm_compat import relied
from augserve.runtime.vllm_compat.fingerprints import fingerprint, known

PLAIN = "def method(self, blocks):\n    for block in blocks:\n        self.free(block, last=True)\n"


def compiled(source: str) -> object:
    """The function that the source defines, with its source where `inspect` looks for it."""
    name = f"<{hash(source)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space: dict[str, object] = {}
    exec(compile(source, name, "exec"), space)
    return space["method"]


@pytest.mark.parametrize(
    "source",
    [
        PLAIN,
        PLAIN.replace("\n", '\n    """Now told."""\n', 1),
        PLAIN.replace("blocks:\n", "blocks:  # each\n\n").replace("block, last=True", "\n block,\n\n last=True,\n"),
        PLAIN.replace("blocks)", "blocks: list[int]) -> None", 1),
    ],
    ids=["itself", "docstring", "comments and line breaks", "annotations"],
)
def test_what_is_only_written_otherwise_has_the_same(source: str) -> None:
    assert fingerprint(compiled(source)) == fingerprint(compiled(PLAIN))


@pytest.mark.parametrize(
    "source",
    [
        PLAIN.replace("True", "False"),
        PLAIN.replace("self.free", "self.keep"),
        PLAIN.replace("blocks)", "blocks=())"),
        PLAIN.replace("in blocks", "in reversed(blocks)"),
        PLAIN + "    return 1\n",
        PLAIN.replace("True", "1"),
        PLAIN.replace("self.free(block, last=True)", "self.free(block), (last := True)"),
    ],
)
def test_what_does_something_else_has_another(source: str) -> None:
    assert fingerprint(compiled(source)) != fingerprint(compiled(PLAIN))


def test_it_is_the_same_in_every_version_of_python() -> None:
    assert fingerprint(compiled(PLAIN)) == "5dc72c2043e9"


def test_a_thing_without_source_has_none() -> None:
    with pytest.raises(TypeError):
        fingerprint(len)


def test_every_known_release_has_all_that_is_relied_on() -> None:
    assert list(known()) == ["0.29.0", "0.30.0", "0.31.0", "0.32.0"]
    names = {name for name, _ in relied.behaviours()}
    for release, fingerprints in known().items():
        assert fingerprints.keys() == names, release
