"""What stands against the steered token budget, in AugServe's own order: the best static budget, and P-PAS's rule."""

from collections.abc import Mapping

STATIC_BUDGET = "augserve-static-budget"
"""AugServe with the best static budget of those tried."""
P_PAS_BUDGET = "augserve-p-pas"
"""AugServe with P-PAS's rule."""
Tried = Mapping[str, float]
"""Budget in tokens → turns in time a second, on the sessions kept for selecting."""


def best_budget(tried: Tried) -> int:
    """Of equals the larger: it is nearer to vLLM's default. Raises ValueError where none was tried."""
    return int(max(tried, key=lambda budget: (tried[budget], int(budget))))


def budget_text(tried: Tried) -> str:
    """`1024 tokens in every step, the best of 1024, 2048 and 4096 on other sessions`."""
    budgets = [str(budget) for budget in sorted(map(int, tried))]
    among = f", the best of {', '.join(budgets[:-1])} and {budgets[-1]} on other sessions" if len(budgets) > 1 else ""
    return f"{best_budget(tried)} tokens in every step{among}"
