"""Every rival says whose rule it is."""

import inspect

import pytest

from augserve.pipeline.simulator.rivals import continuum, infercept, mars, prefill_cap, shortest, uncached


@pytest.mark.parametrize(
    ("rival", "cited"),
    [
        (infercept, "arXiv 2402.01869"),
        (mars, "arXiv 2410.18248"),
        (continuum, "arXiv 2511.02230"),
        (prefill_cap, "arXiv 2608.15171"),
        (shortest, "arXiv 2408.15792"),
        (uncached, "No paper's"),
    ],
)
def test_the_source_is_cited(rival: object, cited: str) -> None:
    assert cited in " ".join((inspect.getdoc(rival) or "").split())
