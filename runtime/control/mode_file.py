"""The mode that an operator asks for at run time: a file in the folder that an API server shares with its engines.

vLLM passes no message from its API server to a scheduler. The file is written whole, and outlives neither.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, get_args

from ...data.atomic import write_json
from ..publisher import shared_folder

Mode = Literal["active", "shadow", "off"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
MODE_FILE = "mode.json"
SUFFIX = ".listens"


class ModeError(ValueError):
    """A mode cannot be asked for; the message names the cause and the remedy."""


@contextmanager
def listening(folder: Path | None) -> Iterator[None]:
    """Tell the API server that an engine of this process reads the file."""
    mark = None if folder is None else folder / f"{os.getpid()}{SUFFIX}"
    if mark is not None:
        with contextlib.suppress(OSError):
            mark.touch()
    try:
        yield
    finally:
        if mark is not None:
            with contextlib.suppress(OSError):
                mark.unlink(missing_ok=True)


def ask_for(mode: object) -> None:
    """Write the mode for the engines. Raises ModeError for another mode, and where no engine listens."""
    if mode not in MODES:
        raise ModeError(f"mode is {mode!r}; choose one of {', '.join(MODES)}")
    folder = shared_folder()
    if folder is None:
        raise ModeError("vLLM's plug-in 'augserve' is missing; add it to VLLM_PLUGINS")
    if not any(folder.glob(f"*{SUFFIX}")):
        raise ModeError("no engine here can change its mode; start the server in mode active or shadow")
    write_json(folder / MODE_FILE, {"mode": mode})


def asked_mode(folder: Path) -> Mode | None:
    """The mode that was asked for last; None if none was."""
    try:
        mode = json.loads((folder / MODE_FILE).read_text(encoding="utf-8"))["mode"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return mode if mode in MODES else None
