"""Put one line on every module into CONTRIBUTING.md, from its docstring.

Run by `python -m augserve.pipeline.code.module_list` in the project's root.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...data.atomic import write_text
from ..project.stage import StageError, run_stage
from ..readme import inserted
from .graph import CodeGraph
from .syntax import PARTS

GUIDE = Path("CONTRIBUTING.md")
MARKS = ("<!-- modules: written by `python -m augserve.pipeline.code.module_list` -->", "<!-- /modules -->")


def module_list(modules: Mapping[str, Path]) -> str:
    """A heading a part, a line a module; a package before its modules, after those beside it. Raises StageError for a
    module without a docstring."""
    lines: list[str] = []
    for part in PARTS:
        of_part = {name: path for name, path in modules.items() if name.startswith(f"{part}.")}
        lines += [f"### {part}/", *_lines(part, of_part), ""]
    return "\n".join(lines)


def _lines(package: str, modules: Mapping[str, Path]) -> Iterator[str]:
    below = {name: path for name, path in modules.items() if name.rpartition(".")[0] == package}
    packages = [name for name, path in below.items() if path.name == "__init__.py"]
    for name in sorted(below.keys() - packages):
        yield f"- `{name.replace('.', '/')}.py`: {summary(below[name])}"
    for name in sorted(packages):
        yield f"- `{name.replace('.', '/')}/`: {summary(below[name])}"
        yield from _lines(name, modules)


def summary(path: Path) -> str:
    """The first line of a module's docstring, or its first sentence where that runs over lines."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise StageError(f"{path}: it has no docstring; say in its first line what it is for")
    line = text.splitlines()[0]
    if line.endswith("."):
        return line
    return re.split(r"(?<=\.)\s", " ".join(text.partition("\n\n")[0].split()), maxsplit=1)[0]


def main() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    write_text(GUIDE, inserted(guide, module_list(CodeGraph().modules), GUIDE, MARKS))


if __name__ == "__main__":
    run_stage(main)
