"""What a check found, as text and as JSON."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..results.aligned import aligned

State = Literal["ok", "note", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`note`: it works, and the operator should know. `bad`: it does not work; the message names the remedy."""

    about: str
    state: State
    message: str


def is_good(findings: Iterable[Finding]) -> bool:
    return all(finding.state != "bad" for finding in findings)


def as_text(findings: list[Finding]) -> str:
    """One line a finding: state, subject, message."""
    return aligned([(finding.state, finding.about, finding.message) for finding in findings], left=range(3))


def as_json(findings: list[Finding]) -> dict[str, Any]:
    return {"ok": is_good(findings), "findings": [asdict(finding) for finding in findings]}
