"""Facts about a tool call's arguments: their number, their size and a hash of their command word, never their text.

The middleware (serving), the importers and `gather` (training) share this definition, so their features agree.
"""

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_READ_CHARACTERS = 4096  # of a command; its word is near its beginning
_DEPTH = 4  # of shells within shells
_COMMAND_KEYS = ("command", "cmd")  # preferred to the first string: models write a description before or after it
_TOKEN = re.compile(
    r"""(?P<comment>(?:(?<=\s)|^)\#[^\n]*)"""
    r"""|(?P<redirect>\d*(?:<<-?|[<>]&?|>>)\s*)"""
    r"""|(?P<end>[;&|\n(){}]+)"""
    r"""|(?P<word>(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s;&|(){}'"\\<>])+)""",
    re.DOTALL,
)
_QUOTED = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)""", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_VERSIONED = re.compile(r"(python|pip|pypy)[\d.]+")
_NOT_THE_WORK = frozenset(("cd", "pushd", "source", ".", "export", "set", "unset", "alias", "true", ":", "then", "do"))
_SHELLS = frozenset(("bash", "sh", "zsh", "dash", "ash"))
_RUNNERS = frozenset(("uv", "poetry", "pipenv", "pdm", "hatch"))  # `uv run pytest`
# Commands that run another command: their options with a value, and their operands before the command.
_WRAPPERS: Mapping[str, tuple[frozenset[str], int]] = {
    "sudo": (frozenset(("-u", "-g", "-h", "-p", "-C", "-D", "-R", "-T", "-U")), 0),
    "timeout": (frozenset(("-k", "-s")), 1),
    "nice": (frozenset(("-n",)), 0),
    "env": (frozenset(("-u", "-C")), 0),
    "time": (frozenset(("-f", "-o")), 0),
    "nohup": (frozenset(), 0),
    "exec": (frozenset(("-a",)), 0),
    "command": (frozenset(), 0),
    "stdbuf": (frozenset(("-i", "-o", "-e")), 0),
}


@dataclass(frozen=True, slots=True)
class ArgumentFacts:
    """None: unknown, because the arguments are not a JSON object or have no text."""

    count: int | None = None
    size_bytes: int | None = None  # as compact JSON in UTF-8; unchanged where they are not JSON
    head: str | None = None  # CRC-32 of the command word, 8 hexadecimal digits


def argument_facts(arguments: str | Mapping[str, Any]) -> ArgumentFacts:
    """Facts about arguments, given as an object or as JSON. Never raises for text that a model wrote."""
    if isinstance(arguments, str):
        try:
            values = json.loads(arguments)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            return ArgumentFacts(size_bytes=_size_bytes(arguments))
    else:
        values = arguments
    compact = json.dumps(values, separators=(",", ":"), ensure_ascii=False, default=str)
    word = _word_of(values)
    return ArgumentFacts(len(values), _size_bytes(compact), None if word is None else text_hash(word))


def text_hash(text: str) -> str:
    """CRC-32 of a word, as 8 hexadecimal digits."""
    return f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"


def command_word(command: str) -> str | None:
    """The program that a shell command runs; the first word of other text. None where there is no word.

    Skips `cd x &&`, `source …`, `VAR=…`, `sudo`, `timeout 10`, `time`, `bash -lc "…"`, `python -m …`. Shortens a path
    to its last part and a URL to its host. `cd` and the like count only if nothing follows.
    """
    return _command_word(command[:_READ_CHARACTERS], _DEPTH)


def _size_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _word_of(values: Mapping[str, Any]) -> str | None:
    """The command word of the argument `command` or `cmd`, or else of the first text."""
    named = [values[key] for key in _COMMAND_KEYS if key in values]
    for value in (*named, *values.values()):
        if isinstance(value, str) and (word := command_word(value)):
            return word
        if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            parts = [part[:_READ_CHARACTERS] for part in value if part]
            return _work(parts, _DEPTH) or (_base(parts[0]) if parts else None)
    return None


def _command_word(command: str, depth: int) -> str | None:
    fallback = None
    for words in _simple_commands(command):
        if word := _work(words, depth):
            return word
        fallback = fallback or _base(words[0])
    return fallback


def _simple_commands(command: str) -> Iterator[list[str]]:
    """The simple commands of a shell line as unquoted words, without redirections and comments."""
    words: list[str] = []
    redirected = False
    for token in _TOKEN.finditer(command):
        if token.lastgroup == "end":
            if words:
                yield words
            words, redirected = [], False
        elif token.lastgroup == "word":
            word = _QUOTED.sub(lambda part: part[1] or part[2] or part[3] or "", token[0])
            if word and not redirected:
                words.append(word)
            redirected = False
        else:
            redirected = token.lastgroup == "redirect"
    if words:
        yield words


def _work(words: Sequence[str], depth: int) -> str | None:
    """The word of a simple command without its wrappers; None where it only prepares another command."""
    at = 0
    while at < len(words):
        name = _base(words[at])
        rest = words[at + 1 :]
        if _ASSIGNMENT.match(words[at]):
            at += 1
        elif name in _WRAPPERS and rest:
            valued, operands = _WRAPPERS[name]
            at += 1 + _options(rest, valued) + operands
        elif name in _RUNNERS and rest[:1] == ["run"]:
            at += 2 + _options(rest[1:], frozenset())
        elif name in _SHELLS and depth and (script := _script(rest)):
            return _command_word(script, depth - 1)
        elif name == "python":
            return _module(rest) or name
        else:
            return None if name in _NOT_THE_WORK else name
    return None


def _options(words: Sequence[str], valued: frozenset[str]) -> int:
    """The number of leading words that are options and their values."""
    at = 0
    while at < len(words) and words[at].startswith("-") and len(words[at]) > 1:
        at += 2 if words[at] in valued else 1
    return at


def _script(words: Sequence[str]) -> str | None:
    """The word after `-c`, `-lc` and the like."""
    for at, word in enumerate(words[:-1]):
        if re.fullmatch(r"-[a-z]*c", word):
            return words[at + 1]
        if not word.startswith("-"):
            return None
    return None


def _module(words: Sequence[str]) -> str | None:
    """The module of `python -m`."""
    at = _options(words, frozenset(("-W", "-X")))
    for option, module in pairwise(words[: at + 1]):
        if option == "-c":
            return None
        if option == "-m":
            return module
    return None


def _base(word: str) -> str:
    """The last part of a path, the host of a URL; without a version where it is Python's."""
    host = re.match(r"[a-z][a-z+.-]*://([^/:?#]+)", word)
    base = host[1] if host else word.rstrip("/").rpartition("/")[2] or word
    versioned = _VERSIONED.fullmatch(base)
    return versioned[1] if versioned else base
