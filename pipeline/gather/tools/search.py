"""A regular-expression search over the sources of Python's standard library."""

import asyncio
import re
import sysconfig
from pathlib import Path

from .tool import Arguments, Specification, clipped

MATCHES = 8


class SearchTool:
    specification = Specification(
        "code_search",
        "Search the source files of a Python package for a regular expression; return file, line and text of matches.",
        {"pattern": ("string", "regular expression"), "folder": ("string", "folder below the library, or .")},
    )

    async def run(self, arguments: Arguments) -> str:
        return await asyncio.to_thread(_search, str(arguments["pattern"]), str(arguments["folder"]))


def _search(pattern: str, folder: str) -> str:
    library = Path(sysconfig.get_paths()["stdlib"])
    root = (library / folder).resolve()
    if not root.is_relative_to(library.resolve()) or not root.is_dir():
        return f"error: no folder {folder}"
    try:
        expression = re.compile(pattern)
    except re.error as error:
        return f"error: {error}"
    shown: list[str] = []
    count = 0
    # `.` covers the library's top-level modules only, never site-packages. A folder's name covers its package.
    for path in sorted(root.glob("*.py") if root == library.resolve() else root.rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if expression.search(line):
                count += 1
                if count <= MATCHES:
                    shown.append(f"{path.relative_to(library.resolve())}:{number}: {line.strip()[:80]}")
    return clipped("\n".join([f"{count} matches", *shown]))
