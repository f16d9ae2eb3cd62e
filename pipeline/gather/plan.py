"""What a session is going to do, fixed before it starts: its prompts, its tools and the calls between its turns."""

from collections.abc import Mapping
from dataclasses import dataclass


class PlanError(ValueError):
    """A task drafts a session that cannot be run."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call: the tool's name and its arguments, as the tool's schema has them."""

    tool: str
    arguments: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """One LLM call. `instruction` is the user's request in turn 0, later what stands below the tool's result."""

    instruction: str
    style: str  # the form of answer that the instruction asks for (tasks.yaml)
    tool_use: ToolUse | None  # what follows the turn; None ends the session


@dataclass(frozen=True, slots=True)
class Draft:
    """A session as a task writes it, not yet placed in time."""

    system: str
    tools: tuple[str, ...]  # offered to the model, by name
    turns: tuple[TurnPlan, ...]

    def __post_init__(self) -> None:
        calls = [turn.tool_use for turn in self.turns]
        if not calls or calls[-1] is not None or None in calls[:-1]:
            raise PlanError("a session is turns with a tool call after each but the last; correct its task")
        if unknown := {call.tool for call in calls if call} - set(self.tools):
            raise PlanError(f"tools {sorted(unknown)} are called and not offered; correct the task")


@dataclass(frozen=True, slots=True)
class SessionPlan:
    session_id: str
    kind: str  # the task's name
    arrival_s: float  # since the start of the run
    temperature: float
    seed: int  # of the model's sampling
    draft: Draft
