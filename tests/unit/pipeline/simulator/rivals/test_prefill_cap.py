import pytest

from augserve.pipeline.simulator.rivals.prefill_cap import step_budget


@pytest.mark.parametrize(
    ("full", "prefills", "decodes", "expected"),
    [
        (8192, 2, 1, 2048),
        (8192, 9, 200, 2048),
        (8192, 1, 200, 8192),  # a single prefill gets the whole step
        (8192, 5, 0, 8192),  # nobody decodes who could be held up
        (8192, 0, 3, 8192),
        (1024, 2, 1, 1024),  # never above what the engine is configured for
    ],
)
def test_the_budget_is_capped_while_prefills_run_beside_decodes(
    full: int, prefills: int, decodes: int, expected: int
) -> None:
    assert step_budget(full, prefills, decodes) == expected
