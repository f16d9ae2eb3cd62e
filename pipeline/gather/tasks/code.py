"""Questions about Python's standard library, looked up in its sources."""

from random import Random

from ..plan import Draft, ToolUse
from .compose import Request, chain

ROLE = "You are a software engineer who knows Python's standard library and looks things up in its sources."
TOOLS = ("code_search", "python")

OPENINGS: tuple[Request, ...] = (
    ("What is the module {module} for? {style}", ("sentence", "sentences", "paragraph", "three_items")),
    ("Does the module {module} raise a ValueError? {style}", ("yes_no", "sentence")),
    ("Show me how the module {module} is used. {style}", ("code", "steps", "paragraph")),
    ("Compare the module {module} with its rivals. {style}", ("paragraphs", "long_list", "sentences")),
    ("Is {module} a package or a single file? {style}", ("word", "sentence")),
    ("What mistakes do people make with {module}? {style}", ("three_items", "long_list", "paragraph")),
    ("Write a function that tests {module}. {style}", ("code",)),
)
MIDDLE: tuple[Request, ...] = (
    ("How many matches are there? {style}", ("number", "sentence")),
    ("What do these lines do? {style}", ("sentence", "sentences", "paragraph")),
    ("Which file should I open first? {style}", ("word", "sentence")),
    ("Is there anything wrong with these lines? {style}", ("yes_no", "sentence", "three_items")),
)
CLOSINGS: tuple[Request, ...] = (
    ("Write the documentation of what you found. {style}", ("paragraphs", "paragraph", "long_list")),
    ("So how do I use it? {style}", ("code", "steps", "sentence")),
    ("Name the file. {style}", ("word",)),
    ("Summarise what you found in {module}. {style}", ("sentence", "three_items", "paragraph")),
)
MODULES = (
    *("json", "asyncio", "email", "logging", "http", "unittest", "xml", "concurrent", "importlib", "sqlite3"),
    *("ctypes", "multiprocessing", "urllib", "wsgiref", "encodings", "html", "dbm", "curses", "tomllib", "zoneinfo"),
)
PATTERNS = (
    r"class \w+Error",
    r"raise ValueError",
    r"def __\w+__",
    r"import (re|os|sys)\b",
    r"TODO|FIXME|XXX",
    r"async def \w+",
    r"(\w+)\s*=\s*\1\b",
    r"^\s*@(property|classmethod)",
    r"return (None|True|False)$",
    r"[a-z]+_[a-z]+_[a-z]+\(",
)


def draft(random: Random) -> Draft:
    module = random.choice(MODULES)
    folders = (module, module, module, ".", "no_such_folder") if random.random() < 0.5 else (module,)
    uses = [
        ToolUse("code_search", {"pattern": random.choice(PATTERNS), "folder": random.choice(folders)})
        for _ in range(random.choice((1, 2, 3, 4)))
    ]
    return chain(
        random,
        system=ROLE,
        tools=TOOLS,
        uses=uses,
        opening=random.choice(OPENINGS),
        middle=MIDDLE,
        closing=CLOSINGS,
        module=module,
    )
