"""Every policy that can be simulated, declared once. Importing the catalogue needs no vLLM."""

from .index import CATALOGUE, ORACLE, ORACLES, SIMULATED, TUNED, find, tuned
from .own import (
    ABLATIONS,
    AUGSERVE,
    EXACT,
    INFORMED,
    NOTHING,
    P_PAS_BUDGET,
    QUANTITIES,
    STATIC_BUDGET,
    TABLE,
    UNTUNED,
    informed,
)
from .policy import Policy
from .rivals import INFERCEPT, MARS, PROGRAM_RIVALS, RIVALS, SESSION_LIMIT, UNCACHED_FIRST, VLLM, VLLM_UNBOUNDED

__all__ = [
    "ABLATIONS",
    "AUGSERVE",
    "CATALOGUE",
    "EXACT",
    "INFERCEPT",
    "INFORMED",
    "MARS",
    "NOTHING",
    "ORACLE",
    "ORACLES",
    "PROGRAM_RIVALS",
    "P_PAS_BUDGET",
    "QUANTITIES",
    "RIVALS",
    "SESSION_LIMIT",
    "SIMULATED",
    "STATIC_BUDGET",
    "TABLE",
    "TUNED",
    "UNCACHED_FIRST",
    "UNTUNED",
    "VLLM",
    "VLLM_UNBOUNDED",
    "Policy",
    "find",
    "informed",
    "tuned",
]
