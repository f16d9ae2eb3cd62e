import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def vllm_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged below vLLM's logger, whether or not vLLM has been imported and has cut it off from the root's."""
    logger = logging.getLogger("vllm")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING, logger.name):
        yield caplog
    logger.removeHandler(caplog.handler)
