"""Benchmark `linking`: how many turns of real sessions are linked to the right session when no client says which.

Sessions run interleaved through vLLM's scheduler; all share one system prompt, and every four the same first prompt.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tqdm import tqdm
from vllm.sampling_params import SamplingParams
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from ...data.atomic import write_json
from ...runtime.linking import TurnLinker, past_of
from ...runtime.prefix import own_hashes
from ...runtime.scheduler import AugServeScheduler
from ...runtime.vllm_compat import prompt_prefix, whole_prefix
from ..params import BaseParams, load_params
from ..simulator.engine import BLOCK_TOKENS, block_hasher, build_scheduler
from ..simulator.profile import EngineLimits
from ..stage import run_stage
from .bundle import median_s
from .conversations import Ids, Renderer, SentTurn, Template, read_block_sessions, read_text_sessions

REPORT = Path("reports/bench/linking.json")
PUBLIC = Path("../shared/data")
TOKENIZER = Path("models/smollm2/tokenizer.json")
SESSIONS = 40
TURNS = 25
TWINS = 4  # sessions that begin with the same prompt
AT_ONCE = 16
MAX_TOKENS = 60_000
LIMITS = EngineLimits(kv_tokens=8_000_000, max_model_len=131_072, max_num_seqs=64, max_num_batched_tokens=65_536)
TEXT_CASES: Sequence[tuple[Template, Ids, bool, int | None]] = (
    # template, ids, prefix caching, turns after which the client drops what is old
    ("verbatim", "none", True, None),
    ("verbatim", "none", False, None),
    ("verbatim", "numbered", True, None),
    ("verbatim", "random", True, None),
    ("rewritten", "none", True, None),
    ("rewritten", "random", True, None),
    ("reasoning-dropped", "none", True, None),
    ("reasoning-dropped", "random", True, None),
    ("verbatim", "none", True, 8),
    ("verbatim", "random", True, 8),
)


@dataclass(slots=True)
class Tally:
    """Turns by what became of them."""

    right: int = 0
    new: int = 0  # a session of its own, though it continues one
    wrong: int = 0  # linked to another session
    changed: int = 0  # the client had changed the past; not counted in the others unless linked
    _owners: dict[str, int] = field(default_factory=dict)  # session id → the real session
    _last: dict[int, str] = field(default_factory=dict)  # real session → its session id

    def arrived(self, session: int, turn: SentTurn, session_id: str) -> None:
        before = self._last.get(session)
        if self._owners.setdefault(session_id, session) != session:
            self.wrong += 1
            return
        if before is not None:
            linked = session_id in self._last.values()
            self.right += linked
            self.changed += not linked and not turn.extends
            self.new += not linked and turn.extends
        self._last[session] = session_id

    def figures(self) -> dict[str, float]:
        continued = self.right + self.new + self.wrong
        return {
            "turns": continued,
            "right_percent": round(100 * self.right / max(continued, 1), 2),
            "new_session": self.new,
            "wrong": self.wrong,
            "new_session_past_changed": self.changed,
        }


def run_sessions(sessions: Sequence[Iterable[SentTurn]], end_id: int, caching: bool, seed: int) -> Tally:
    """Run sessions interleaved: each sends its next turn a few steps after the last has finished."""
    rnd = random.Random(seed)
    scheduler = build_scheduler(AugServeScheduler, LIMITS, {"augserve": {"mode": "observe"}}, caching)
    tally = Tally()
    left = [(index, iter(session)) for index, session in enumerate(sessions)][::-1]
    waiting: list[tuple[int, int, Iterator[SentTurn]]] = []  # step, session, its turns
    running: dict[str, tuple[int, Iterator[SentTurn], Sequence[int]]] = {}
    step = number = 0
    while left or waiting or running:
        while left and len(waiting) + len(running) < AT_ONCE:
            waiting.append((step + rnd.randint(0, 3), *left.pop()))
        for entry in [entry for entry in waiting if entry[0] <= step]:
            waiting.remove(entry)
            _, session, turns = entry
            turn = next(turns, None)
            if turn is None:
                continue
            number += 1
            request = _request(f"r{number}", turn, end_id, caching)
            scheduler.add_request(request)
            tally.arrived(session, turn, scheduler._turns[request.request_id].session_id)  # type: ignore[attr-defined]
            running[request.request_id] = (session, turns, turn.output)
        step += 1
        scheduled = scheduler.schedule()
        names = list(scheduled.num_scheduled_tokens)
        tokens = []
        for name in names:
            request = scheduler.requests[name]
            tokens.append([] if request.is_prefill_chunk else [running[name][2][request.num_output_tokens]])
        result = ModelRunnerOutput(names, {name: index for index, name in enumerate(names)}, tokens)
        for outputs in scheduler.update_from_output(scheduled, result).values():
            for output in outputs.outputs:
                if output.finish_reason is not None:
                    session, turns, _ = running.pop(output.request_id)
                    waiting.append((step + rnd.randint(1, 40), session, turns))
    scheduler.shutdown()
    return tally


def _request(name: str, turn: SentTurn, end_id: int, caching: bool) -> Request:
    params = SamplingParams(max_tokens=len(turn.output), stop_token_ids=[end_id], extra_args=dict(turn.hints) or None)
    hasher = block_hasher() if caching else None
    return Request(name, list(turn.prompt), params, None, block_hasher=hasher)


def main() -> None:
    seed = load_params("base", BaseParams).seed
    figures: dict[str, Any] = {**_cost(seed)}
    text, blocks = (PUBLIC / name / "sessions.tar.xz" for name in ("claude-code-swe", "kv-cache-sessions"))
    if text.is_file() and TOKENIZER.is_file():
        tokenizer = Tokenizer.from_file(str(TOKENIZER))
        messages = list(tqdm(read_text_sessions(text, SESSIONS), total=SESSIONS, desc="read"))
        firsts = [messages[index - index % TWINS][0]["content"] for index in range(len(messages))]
        for template, ids, caching, compact in tqdm(TEXT_CASES, desc="linking"):
            renderer = Renderer(tokenizer, template, ids)
            sessions = [
                islice(renderer.turns(each, first, compact), TURNS)
                for each, first in zip(messages, firsts, strict=True)
            ]
            name = f"{template}_{ids}_ids" + ("" if caching else "_no_caching") + ("_compacted" if compact else "")
            figures[name] = run_sessions(sessions, renderer.end_id, caching, seed).figures()
    if blocks.is_file():
        named = [islice(turns, TURNS) for turns in read_block_sessions(blocks, SESSIONS, MAX_TOKENS)]
        figures["blocks_none_ids"] = run_sessions(named, 0, True, seed).figures()
    write_json(REPORT, figures)
    print(json.dumps(figures, indent=1))


def _cost(seed: int) -> dict[str, float]:
    """ms that linking takes of a prompt of 100,000 tokens that nothing matches, among 10,000 sessions that wait."""
    rnd = random.Random(seed)
    linker = TurnLinker()
    for number in range(10_000):
        prefix = _prefix(rnd.choices(range(30_000), k=600), True)
        linker.turn_finished(f"s{number}", past_of(prefix, 500, None, None, stopped=True))
    tokens = rnd.choices(range(30_000), k=100_000)
    own, vllms = _request("r", SentTurn(tokens, [1], {}, True), 1, False), _prefix(tokens, True)
    prompt = prompt_prefix(own, BLOCK_TOKENS)
    if prompt is None:
        raise ValueError("a prompt of token ids has a prefix")
    costs: dict[str, Callable[[], object]] = {
        "link_100k_tokens_ms": lambda: linker.link(vllms, (), None),
        "own_hashes_100k_tokens_ms": lambda: own_hashes(tokens, ""),
        "remember_100k_tokens_ms": lambda: past_of(whole_prefix(own, prompt), 99_000, None, None, stopped=True),
    }
    return {name: round(median_s(cost, 20) * 1e3, 4) for name, cost in costs.items()}


def _prefix(tokens: list[int], caching: bool) -> Any:
    return prompt_prefix(_request("r", SentTurn(tokens, [1], {}, True), 1, caching), BLOCK_TOKENS)


if __name__ == "__main__":
    run_stage(main)
