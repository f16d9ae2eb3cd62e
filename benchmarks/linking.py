"""Benchmark `linking`: the share of turns of real sessions that are linked to the right session without session ids.

Sessions run interleaved through vLLM's scheduler. All share one system prompt, and groups of four the first prompt.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tqdm import tqdm

from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.simulator.profile import BLOCK_TOKENS
from augserve.runtime.sessions.linking import TurnLinker
from augserve.runtime.sessions.past import past_of
from augserve.runtime.sessions.prefix import own_hashes
from augserve.runtime.vllm_compat import prompt_prefix, whole_prefix

from .conversations import Ids, Message, Renderer, SentTurn, Template, read_block_sessions, read_text_sessions
from .interleaved import LinkingCounts, engine_request, run_sessions
from .measure import base_seed, median_s, write_figures

PUBLIC = Path("../shared/data")
SESSIONS = 40
TURNS = 25
TWINS = 4  # sessions with the same first prompt
MAX_TOKENS = 60_000


@dataclass(frozen=True, slots=True)
class Case:
    template: Template
    ids: Ids = "none"
    caching: bool = True  # vLLM's prefix caching, and so its block hashes
    prefix: bool = True  # False: no prompt is a prefix of another; only ids link
    compact_every: int | None = None  # turns after which the client drops old messages
    elsewhere: bool = False  # the first turn of every other session went to another engine

    @property
    def name(self) -> str:
        parts = [self.template, f"{self.ids}_ids"]
        parts += ["no_caching"] * (not self.caching) + ["no_prefix"] * (not self.prefix)
        parts += ["compacted"] * bool(self.compact_every) + ["begun_elsewhere"] * self.elsewhere
        return "_".join(parts)


CASES = (
    Case("verbatim"),
    Case("verbatim", caching=False),
    Case("verbatim", "numbered"),
    Case("verbatim", "random"),
    Case("verbatim", "random", prefix=False),
    Case("rewritten"),
    Case("rewritten", "random"),
    Case("reasoning-dropped"),
    Case("reasoning-dropped", "random"),
    Case("verbatim", compact_every=8),
    Case("verbatim", "random", compact_every=8),
    Case("verbatim", elsewhere=True),
    Case("rewritten", elsewhere=True),
    Case("reasoning-dropped", elsewhere=True),
)


def main() -> None:
    seed = base_seed()
    figures: dict[str, Any] = _cost(seed)
    text, blocks = (PUBLIC / name / "sessions.tar.xz" for name in ("claude-code-swe", "kv-cache-sessions"))
    if text.is_file() and paths.TOKENIZER.is_file():
        tokenizer = Tokenizer.from_file(str(paths.TOKENIZER))
        messages = list(tqdm(read_text_sessions(text, SESSIONS), total=SESSIONS, desc="read"))
        for case in tqdm(CASES, desc="linking"):
            figures[case.name] = run_case(case, tokenizer, messages, seed).figures()
    if blocks.is_file():
        named = [islice(turns, TURNS) for turns in read_block_sessions(blocks, SESSIONS, MAX_TOKENS)]
        figures["blocks"] = run_sessions(named, -1, seed).figures()
    write_figures("linking", figures)


def run_case(case: Case, tokenizer: Tokenizer, messages: Sequence[list[Message]], seed: int) -> LinkingCounts:
    renderer = Renderer(tokenizer, case.template, case.ids)
    sessions = []
    for index, session in enumerate(messages):
        first = messages[index - index % TWINS][0]["content"]
        turns = renderer.turns(session, first, case.compact_every)
        sessions.append(islice(turns, case.elsewhere and index % 2, TURNS))
    return run_sessions(sessions, renderer.end_id, seed, case.caching, case.prefix)


def _cost(seed: int) -> dict[str, float]:
    """ms to link a prompt of 100,000 tokens that matches none of 10,000 paused sessions."""
    rnd = random.Random(seed)
    linker = TurnLinker()
    for number in range(10_000):
        prefix = _prefix(rnd.choices(range(30_000), k=600))
        linker.turn_ended(f"s{number}", past_of(prefix, 500, None, None, stopped=True), finished=True)
    tokens = rnd.choices(range(30_000), k=100_000)
    own, vllms = engine_request("r", SentTurn(tokens, [1], {}, True), 1, caching=False), _prefix(tokens)
    prompt = prompt_prefix(own, BLOCK_TOKENS)
    if prompt is None:
        raise ValueError("a prompt of token ids has a prefix")
    costs: dict[str, Callable[[], object]] = {
        "link_100k_tokens_ms": lambda: linker.link(vllms, (), None),
        "own_hashes_100k_tokens_ms": lambda: own_hashes(tokens, ""),
        "remember_100k_tokens_ms": lambda: past_of(whole_prefix(own, prompt), 99_000, None, None, stopped=True),
    }
    return {name: round(median_s(cost, 20) * 1e3, 4) for name, cost in costs.items()}


def _prefix(tokens: list[int]) -> Any:
    return prompt_prefix(engine_request("r", SentTurn(tokens, [1], {}, True), 1), BLOCK_TOKENS)


if __name__ == "__main__":
    run_stage(main)
