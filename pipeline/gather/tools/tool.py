"""The interface of a tool."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Arguments = Mapping[str, str | int]


class Tool(Protocol):
    """A tool that a request offers to the model and a session runs."""

    @property
    def specification(self) -> "Specification": ...

    async def run(self, arguments: Arguments) -> str:
        """Run and return the result as text. An error of the call is a result too."""
        ...


@dataclass(frozen=True, slots=True)
class Specification:
    """Name, purpose and parameters (name → JSON type and meaning). Every parameter is required."""

    name: str
    purpose: str
    parameters: Mapping[str, tuple[str, str]]

    def to_openai(self) -> dict[str, Any]:
        """The function schema of the OpenAI API."""
        properties = {name: {"type": kind, "description": text} for name, (kind, text) in self.parameters.items()}
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.purpose,
                "parameters": {"type": "object", "properties": properties, "required": list(properties)},
            },
        }


def clipped(text: str, characters: int = 600) -> str:
    """The text, shortened for a small model's context."""
    return text if len(text) <= characters else f"{text[:characters]}\n… ({len(text) - characters} characters more)"
