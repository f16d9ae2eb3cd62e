"""What an operator sets when vLLM starts, as part of a policy's name: `vllm@1024x256,prefill=512,watermark=0.02`."""

import re
from dataclasses import dataclass, fields
from typing import Self

FORMS = (
    "POLICY@BUDGET",
    "POLICY@BUDGETxSEQUENCES",
    "POLICY@xSEQUENCES",
    "POLICY@…,prefill=TOKENS",
    "POLICY@…,adaptive=TOKENS",
    "POLICY@…,watermark=SHARE",
    "session-limit@sessions=N",
)
"""How names state settings. Only `session-limit` needs one: its limit on sessions."""
_LIMITS = re.compile(r"(?=.)(?P<budget>[1-9]\d*)?(x(?P<sequences>[1-9]\d*))?")
_OPTION = re.compile(r"(?P<key>prefill|adaptive|sessions)=(?P<count>[1-9]\d*)|watermark=(?P<share>0\.\d+)")


@dataclass(frozen=True, slots=True)
class StaticSetting:
    """None: as the profile of the engine, or vLLM by default, has it."""

    budget: int | None = None  # --max-num-batched-tokens
    sequences: int | None = None  # --max-num-seqs
    prefill: int | None = None  # --long-prefill-token-threshold
    adaptive: int | None = None  # the same, with --long-prefill-token-threshold-adaptive
    watermark: float | None = None  # --watermark
    sessions: int | None = None  # served at once, by a limit in front of the server

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The setting after the `@` of a name; None if it has no such form."""
        first, *options = text.split(",")
        values: dict[str, float | int] = {}
        if limits := _LIMITS.fullmatch(first):
            values |= {key: int(value) for key, value in limits.groupdict().items() if value}
        else:
            options = [first, *options]
        for option in options:
            if not (found := _OPTION.fullmatch(option)):
                return None
            if found["key"]:
                values[found["key"]] = int(found["count"])
            else:
                values["watermark"] = float(found["share"])
        return cls(**values)  # type: ignore[arg-type]

    def name_of(self, policy: str) -> str:
        """The name of a policy with this setting."""
        limits = f"{self.budget or ''}" + (f"x{self.sequences}" if self.sequences else "")
        parts = [limits] if limits else []
        parts += [
            f"{field.name}={value:g}" if field.name == "watermark" else f"{field.name}={value}"
            for field in fields(self)
            if field.name not in ("budget", "sequences") and (value := getattr(self, field.name)) is not None
        ]
        return f"{policy}@{','.join(parts)}" if parts else policy
