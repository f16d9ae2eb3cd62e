"""The grid in which policies' best static settings are searched, and the search."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, Field, PositiveInt

from ..project.params import Section
from ..results.metrics_file import Tried
from ..results.tables import best_setting
from ..simulator import catalogue
from ..simulator.catalogue import Policy
from ..simulator.catalogue.static_setting import StaticSetting

Scores = Callable[[Sequence[str]], Sequence[float]]
"""One score a policy name, the larger the better."""
Variants = Callable[[StaticSetting], Sequence[StaticSetting]]
"""The best setting so far → those that a round tries."""


class StaticGrid(BaseModel):
    """Values of each setting, searched one setting after the other. vLLM's default is always among them."""

    model_config = Section.model_config
    budgets: tuple[PositiveInt, ...]
    sequences: tuple[PositiveInt, ...]
    prefills: tuple[PositiveInt, ...]
    adaptives: tuple[PositiveInt, ...]
    watermarks: tuple[Annotated[float, Field(gt=0, lt=1)], ...]
    sessions: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]

    def rounds(self, policy: Policy) -> Iterator[Variants]:
        """One round a setting."""
        if policy is catalogue.SESSION_LIMIT:
            yield lambda best: [replace(best, sessions=count) for count in self.sessions]
        yield lambda best: [replace(best, budget=tokens) for tokens in self.budgets]
        # vLLM needs a token of budget a sequence.
        yield lambda best: [
            replace(best, sequences=n) for n in self.sequences if best.budget is None or n <= best.budget
        ]
        yield lambda best: [replace(best, prefill=tokens) for tokens in self.prefills]
        yield lambda best: [replace(best, prefill=None, adaptive=tokens) for tokens in self.adaptives]
        yield lambda best: [replace(best, watermark=share) for share in self.watermarks]


def search(policy: Policy, grid: StaticGrid, scores: Scores) -> Tried:
    """Vary one setting after the other, each time around the best so far. Of equals the one tried first is kept, so
    that vLLM's default wins where nothing is better."""
    best, tried = StaticSetting(), dict[str, float]()
    if policy is not catalogue.SESSION_LIMIT:
        tried[policy.name] = scores([policy.name])[0]
    for variants in grid.rounds(policy):
        settings = {each.name_of(policy.name): each for each in variants(best)}
        new = [name for name in settings if name not in tried]
        tried |= dict(zip(new, scores(new), strict=True))
        best = settings.get(best_setting(tried), best)
    return tried
