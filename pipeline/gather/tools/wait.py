"""Tools that cannot run here: they wait as long as published figures say, times a scale."""

import asyncio

import numpy as np

from ....data.workload.augmentations import Augmentation
from .tool import Arguments, Specification


class WaitingTool:
    """Waits for a time drawn from an augmentation's published mean and deviation, times `scale`; answers `result`."""

    def __init__(
        self, specification: Specification, augmentation: Augmentation, scale: float, seed: int, result: str
    ) -> None:
        self.specification = specification
        self._augmentation = augmentation
        self._scale = scale
        self._random = np.random.default_rng(seed)
        self._result = result

    async def run(self, arguments: Arguments) -> str:  # noqa: ARG002  # what is asked does not change the wait
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
