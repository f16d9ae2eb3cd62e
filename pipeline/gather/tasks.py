"""The kinds of sessions, read from tasks.yaml, and the drafting of one."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random

import yaml
from pydantic import BaseModel, ConfigDict, Field

from .plan import Draft, ToolUse, TurnPlan

TASKS_FILE = Path(__file__).with_name("tasks.yaml")
Request = list[str]
"""A text, then the names of the styles that suit it."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Model):
    """Integers from `low` to `high`, drawn evenly or log-uniformly."""

    low: int = Field(alias="from", ge=1)
    high: int = Field(alias="to", ge=1)
    log: bool = False

    def draw(self, random: Random) -> int:
        if self.log:
            return round(float(self.low * (self.high / self.low) ** random.random()))
        return random.randint(self.low, self.high)


Values = dict[str, list[str] | Range]


class Call(_Model):
    tool: str
    arguments: dict[str, str | list[str | int]]
    values: Values = {}


class Task(_Model):
    """A kind of session; tasks.yaml explains the keys."""

    role: str
    tools: tuple[str, ...]
    call_counts: list[int]
    values: Values
    openings: list[Request]
    middle: list[Request]
    closings: list[Request]
    calls: list[Call]


class Suite(_Model):
    styles: dict[str, list[str]]
    cities: list[str]
    products: list[str]
    kinds: dict[str, Task]

    def draft(self, kind: str, random: Random) -> Draft:
        """A session of a kind: the opening, a turn after each tool call, the last of them with a closing request."""
        task = self.kinds[kind]
        values = _drawn(task.values, random)
        uses = [_tool_use(random.choice(task.calls), values, random) for _ in range(random.choice(task.call_counts))]
        requests = [random.choice(task.openings), *(random.choice(task.middle) for _ in uses[1:])]
        turns = [self._turn(request, values, use, random) for request, use in zip(requests, uses, strict=True)]
        closing = self._turn(random.choice(task.closings), values, None, random)
        # Each session of a kind begins with the same text, so that the prefix cache can share it.
        tools = ", ".join(task.tools)
        system = f"{task.role} You may use these tools: {tools}. Follow the user's wish for the form of the answer."
        return Draft(system, task.tools, (*turns, closing))

    def _turn(self, request: Request, values: Mapping[str, object], use: ToolUse | None, random: Random) -> TurnPlan:
        text, *styles = request
        style = random.choice(styles)
        return TurnPlan(f"{text.format(**values)} {random.choice(self.styles[style])}", style, use)


@cache
def suite() -> Suite:
    return Suite.model_validate(yaml.safe_load(TASKS_FILE.read_text(encoding="utf-8")))


def _drawn(values: Values, random: Random) -> dict[str, object]:
    drawn: dict[str, object] = {}
    for names, options in values.items():
        if isinstance(options, Range):
            drawn[names] = options.draw(random)
        else:
            keys = names.split(", ")
            drawn |= zip(keys, random.sample(options, len(keys)), strict=True)
    return drawn


def _tool_use(call: Call, values: Mapping[str, object], random: Random) -> ToolUse:
    values = {**values, **_drawn(call.values, random)}
    arguments: dict[str, str | int] = {}
    for name, options in call.arguments.items():
        chosen = random.choice(options) if isinstance(options, list) else options
        arguments[name] = chosen if isinstance(chosen, int) else chosen.format(**values)
    return ToolUse(call.tool, arguments)
