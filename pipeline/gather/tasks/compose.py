"""How a task's pieces become a draft."""

from collections.abc import Sequence
from random import Random

from ..plan import Draft, ToolUse, TurnPlan
from ..styles import wording

# A request with `{style}` where the wording of the wanted form of answer goes, and the styles that suit it.
Request = tuple[str, tuple[str, ...]]


def system_prompt(role: str, tools: Sequence[str]) -> str:
    """What every session of a kind begins with; the same text, so that the prefix cache can hold it."""
    return f"{role} You may use these tools: {', '.join(tools)}. Follow the user's wish for the form of the answer."


def turn(random: Random, request: Request, tool_use: ToolUse | None, **values: object) -> TurnPlan:
    """Fill a request's template, in one of the styles that suit it."""
    text, styles = request
    style = random.choice(styles)
    instruction = text.format(style=wording(random, style), **values)
    return TurnPlan(instruction, style, tool_use)


def chain(
    random: Random,
    *,
    system: str,
    tools: tuple[str, ...],
    uses: Sequence[ToolUse],
    opening: Request,
    middle: Sequence[Request],
    closing: Sequence[Request],
    **values: object,
) -> Draft:
    """A session: the opening request, then a turn after each tool call, the last of them with a closing request."""
    turns = [turn(random, opening, uses[0], **values)]
    turns += [turn(random, random.choice(middle), use, **values) for use in uses[1:]]
    turns.append(turn(random, random.choice(closing), None, **values))
    return Draft(system_prompt(system, tools), tools, tuple(turns))
