"""The report on a running server: what its counters tell."""

from ..running_server import Scrape
from .document import table

COUNTS = {
    "context_decisions_total": ("decision", "Contexts of finished turns"),
    "pins_released_total": ("by", "How kept contexts ended"),
    "fallbacks_total": ("reason", "Decisions left to vLLM"),
    "bundle_changes_total": ("result", "Bundles at run time"),
    "linked_turns_total": ("by", "Turns without a session id, by how they were found"),
}


def report_of_server(found: Scrape) -> str:
    """What a running server's counters tell, as Markdown."""
    parts = ["# AugServe: a running server"]
    cached, again, new = (found.total("prompt_tokens_total", part=part) for part in ("cached", "again", "new"))
    if computed := again + new:
        lost = f"{again:,.0f} of {computed:,.0f} computed prompt tokens ({again / computed:.0%}) had been there before"
        parts += ["## Contexts that were lost", f"{lost}; {cached:,.0f} were cached."]
    for name, (label, title) in COUNTS.items():
        if samples := [sample for sample in found.of(name) if sample.value]:
            rows = sorted([sample.labels[label], f"{sample.value:,.0f}"] for sample in samples)
            parts += [f"## {title}", table([label, "count"], rows)]
    quantities = [sample.labels["quantity"] for sample in found.of("coverage")]
    if quantities:
        rows = [
            [
                quantity,
                f"{found.total('coverage', quantity=quantity):.0%}",
                f"{found.total('correction', quantity=quantity):.2f}",
            ]
            for quantity in sorted(set(quantities))
        ]
        parts += ["## Forecasts", table(["quantity", "80 % intervals that hold", "correction"], rows)]
    return "\n\n".join(parts)
