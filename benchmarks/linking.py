"""Benchmark `linking`: how many turns of real sessions are linked to the right session when no client says which.

Sessions run interleaved through vLLM's scheduler; all share one system prompt, and every four the same first prompt.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tqdm import tqdm

from augserve.data.atomic import write_json
from augserve.pipeline.project.params import BaseParams, load_params
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.simulator.profile import BLOCK_TOKENS
from augserve.runtime.sessions.linking import TurnLinker, past_of
from augserve.runtime.sessions.prefix import own_hashes
from augserve.runtime.vllm_compat import prompt_prefix, whole_prefix

from .bundle import median_s
from .conversations import Ids, Message, Renderer, SentTurn, Template, read_block_sessions, read_text_sessions
from .interleaved import Tally, engine_request, run_sessions

REPORT = Path("reports/bench/linking.json")
PUBLIC = Path("../shared/data")
TOKENIZER = Path("models/smollm2/tokenizer.json")
SESSIONS = 40
TURNS = 25
TWINS = 4  # sessions that begin with the same prompt
MAX_TOKENS = 60_000


@dataclass(frozen=True, slots=True)
class Case:
    template: Template
    ids: Ids = "none"
    caching: bool = True  # vLLM's prefix caching, hence its block hashes
    prefix: bool = True  # False: no prompt is a prefix of another, so that ids alone remain
    compact_every: int | None = None  # turns after which the client drops what is old
    elsewhere: bool = False  # every other session's first turn went to another engine: the twins' are all that is known

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
    seed = load_params("base", BaseParams).seed
    figures: dict[str, Any] = _cost(seed)
    text, blocks = (PUBLIC / name / "sessions.tar.xz" for name in ("claude-code-swe", "kv-cache-sessions"))
    if text.is_file() and TOKENIZER.is_file():
        tokenizer = Tokenizer.from_file(str(TOKENIZER))
        messages = list(tqdm(read_text_sessions(text, SESSIONS), total=SESSIONS, desc="read"))
        for case in tqdm(CASES, desc="linking"):
            figures[case.name] = run_case(case, tokenizer, messages, seed).figures()
    if blocks.is_file():
        named = [islice(turns, TURNS) for turns in read_block_sessions(blocks, SESSIONS, MAX_TOKENS)]
        figures["blocks"] = run_sessions(named, -1, seed).figures()
    write_json(REPORT, figures)
    print(json.dumps(figures, indent=1))


def run_case(case: Case, tokenizer: Tokenizer, messages: Sequence[list[Message]], seed: int) -> Tally:
    renderer = Renderer(tokenizer, case.template, case.ids)
    sessions = []
    for index, session in enumerate(messages):
        first = messages[index - index % TWINS][0]["content"]
        turns = renderer.turns(session, first, case.compact_every)
        sessions.append(islice(turns, case.elsewhere and index % 2, TURNS))
    return run_sessions(sessions, renderer.end_id, seed, case.caching, case.prefix)


def _cost(seed: int) -> dict[str, float]:
    """ms that linking takes of a prompt of 100,000 tokens that nothing matches, among 10,000 sessions that wait."""
    rnd = random.Random(seed)
    linker = TurnLinker()
    for number in range(10_000):
        prefix = _prefix(rnd.choices(range(30_000), k=600))
        linker.turn_finished(f"s{number}", past_of(prefix, 500, None, None, stopped=True))
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
