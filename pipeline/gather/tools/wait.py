"""Tools that cannot run on this machine: they wait for their published duration, times a scale."""

import asyncio

import numpy as np

from ....data.workload.augmentations import Augmentation
from .tool import Arguments, Specification


class WaitingTool:
    """Waits for a duration drawn from an augmentation's published mean and deviation, times `scale`."""

    def __init__(
        self, specification: Specification, augmentation: Augmentation, scale: float, seed: int, result: str
    ) -> None:
        self.specification = specification
        self._augmentation = augmentation
        self._scale = scale
        self._random = np.random.default_rng(seed)
        self._result = result

    async def run(self, arguments: Arguments) -> str:  # noqa: ARG002  # no argument changes the wait
        await asyncio.sleep(self._augmentation.tool_time_s(self._random) * self._scale)
        return self._result


IMAGE = Specification(
    "generate_image",
    "Paint a picture from a description.",
    {"prompt": ("string", "what to paint"), "size": ("integer", "edge in pixels")},
)
SPEECH = Specification(
    "speak", "Read a text aloud.", {"text": ("string", "what to say"), "voice": ("string", "name of the voice")}
)
HUMAN = Specification("ask_user", "Ask the user and wait for the reply.", {"question": ("string", "what to ask")})
