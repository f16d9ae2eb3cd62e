"""All tools of a run, by name."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ....data.workload.augmentations import load_augmentations
from ..tasks import suite
from .http import HttpTool, data_service
from .python import PythonTool
from .search import SearchTool
from .sql import SqlTool
from .tool import Tool
from .wait import HUMAN, IMAGE, SPEECH, WaitingTool


@contextmanager
def tool_box(wait_scale: float, seed: int) -> Iterator[Mapping[str, Tool]]:
    """Create the database, start the data service and yield the tools; remove all of it at the end.

    `wait_scale` multiplies the published durations of the tools that only wait.
    """
    tasks = suite()
    published = {row.kind: row for row in load_augmentations()}
    with tempfile.TemporaryDirectory(prefix="augserve-tools-") as folder, data_service() as port:
        tools: tuple[Tool, ...] = (
            PythonTool(),
            SqlTool(Path(folder) / "shop.db", seed, tasks.cities, tasks.products),
            SearchTool(),
            HttpTool(port),
            WaitingTool(HUMAN, published["chatbot"], wait_scale, seed, "The user replied:"),
            WaitingTool(IMAGE, published["image"], wait_scale, seed + 1, "The picture was painted."),
            WaitingTool(SPEECH, published["tts"], wait_scale, seed + 2, "The text was read aloud."),
        )
        yield {tool.specification.name: tool for tool in tools}
