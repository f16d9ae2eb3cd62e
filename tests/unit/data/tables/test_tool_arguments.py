import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.tables.tool_arguments import ArgumentFacts, argument_facts, command_word, text_hash


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("ls -la", "ls"),
        ("cd /testbed && git diff --stat", "git"),
        ("cd /a; cd b && make test", "make"),
        ("cd /a", "cd"),
        ("source venv/bin/activate && pytest tests", "pytest"),
        (". venv/bin/activate\npython3 x.py", "python"),
        ("FOO=1 BAR='a b' pytest -x", "pytest"),
        ("export A=1 && cargo build", "cargo"),
        ("sudo -u root apt-get install x", "apt-get"),
        ("timeout 10 go test ./...", "go"),
        ("timeout -k 5 10s python -m pytest tests", "pytest"),
        ("time python3.12 -m pip install x", "pip"),
        ("nice -n 10 env A=1 npm ci", "npm"),
        ('bash -lc "cd /x && python -m pytest -q"', "pytest"),
        ("bash build.sh", "bash"),
        ("python -W ignore -m unittest", "unittest"),
        ("python -c 'import m; m.m()' -m x", "python"),
        ("python x.py -m y", "python"),
        ("python3 << 'EOF'\nimport os\nEOF", "python"),
        ("/tmp/venv/bin/pip3 install -e .", "pip"),
        ("uv run pytest -q", "pytest"),
        ("2>/dev/null find . -name x", "find"),
        ("# look around\nls", "ls"),
        ("cat a | grep b", "cat"),
        ("(cd x && tox)", "tox"),
        ("/testbed/src/app.py", "app.py"),
        ("https://docs.example.org/a/b?c=d", "docs.example.org"),
        ("It's a question", "It"),
        ("SELECT * FROM orders", "SELECT"),
        ("/", "/"),
        ("  \n ", None),
        ("", None),
    ],
)
def test_a_command_is_known_by_its_work(command: str, word: str | None) -> None:
    assert command_word(command) == word


def test_an_object_and_its_json_give_the_same_facts() -> None:
    arguments = {"command": "cd /x && ls -la", "description": "Ä", "n": 1}
    facts = argument_facts(arguments)
    assert facts == argument_facts(json.dumps(arguments)) == argument_facts(json.dumps(arguments, indent=2))
    assert facts.count == 3
    assert facts.head == f"{zlib.crc32(b'ls'):08x}"
    assert facts.size_bytes == len(json.dumps(arguments, separators=(",", ":"), ensure_ascii=False).encode())


def test_the_command_counts_wherever_it_stands() -> None:
    assert argument_facts({"description": "List files", "command": "ls"}).head == text_hash("ls")
    assert argument_facts({"limit": 3, "path": "/a/b.py"}).head == text_hash("b.py")
    assert argument_facts({"command": ["bash", "-lc", "cd /x && rg y"]}).head == text_hash("rg")


@pytest.mark.parametrize("arguments", ["{", "[1]", "null", '"ls"', "[" * 100_000, ""])
def test_arguments_that_are_no_object_have_a_size_only(arguments: str) -> None:
    assert argument_facts(arguments) == ArgumentFacts(size_bytes=len(arguments))


def test_arguments_without_text_have_no_head() -> None:
    assert argument_facts({}) == ArgumentFacts(0, 2, None)
    assert argument_facts({"n": 3, "todos": [{"a": "b"}]}).head is None


def test_a_lone_surrogate_has_a_size_and_a_head() -> None:
    facts = argument_facts('{"command": "\\ud800"}')
    assert facts.head is not None
    assert facts.size_bytes == len('{"command":"\ud800"}'.encode("utf-8", "surrogatepass"))


@given(st.text())
def test_any_text_has_a_word_or_none(text: str) -> None:
    word = command_word(text)
    assert word is None or word
    facts = argument_facts({"command": text})
    assert facts.count == 1
    assert (facts.head is None) == (word is None)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())))
def test_no_text_leaves(arguments: dict[str, object]) -> None:
    facts = argument_facts(arguments)
    assert facts.head is None or (len(facts.head) == 8 and int(facts.head, 16) >= 0)
    assert facts == argument_facts(json.dumps(arguments))
