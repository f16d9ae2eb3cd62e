"""Real agent sessions as token sequences, turn by turn as a client sends them, for the benchmark `linking`."""

import json
import random
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from augserve.runtime.hints.conversation import hints_of

Template = Literal["verbatim", "rewritten", "reasoning-dropped"]
Ids = Literal["none", "numbered", "random"]
RESULT_CHARACTERS = 4000
"""Characters of a tool result; longer ones are cut to save time."""
OUTPUT_TOKENS = 160
SCALE = 4
"""Divisor for sessions without text: a block of 64 tokens becomes one of 16."""
SYSTEM = "You are a coding agent. Work in /testbed, use the tools that you are given, and say what you do. " * 12


@dataclass(frozen=True, slots=True)
class SentTurn:
    """A turn as it reaches the engine, and the answer of the model."""

    prompt: Sequence[int]
    output: Sequence[int]
    hints: Mapping[str, Any]
    extends: bool  # the prompt starts with the previous prompt


Message = dict[str, Any]


def read_text_sessions(archive: Path, limit: int) -> Iterator[list[Message]]:
    """The first `limit` sessions of Claude Code's logs in a tar archive, as OpenAI messages."""
    with tarfile.open(archive) as members:
        for member in members:
            stream = members.extractfile(member)
            if stream is None or limit == 0:
                continue
            records = [json.loads(line) for line in stream.read().splitlines()]
            main = [each for each in records if each["type"] in ("user", "assistant") and not each["isSidechain"]]
            messages = _messages(main)
            if sum(message["role"] == "assistant" for message in messages) > 1:
                limit -= 1
                yield messages


def _messages(records: Sequence[Mapping[str, Any]]) -> list[Message]:
    messages: list[Message] = []
    answer_id = None
    for record in records:
        content = record["message"]["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if record["type"] == "assistant":
            if record["message"]["id"] != answer_id:
                answer_id = record["message"]["id"]
                messages.append({"role": "assistant", "content": "", "tool_calls": []})
            answers = [message for message in messages if message["role"] == "assistant"]
            for block in blocks:
                if block["type"] == "text":
                    answers[-1]["content"] += block["text"]
                elif block["type"] == "tool_use":
                    function = {"name": block["name"], "arguments": json.dumps(block["input"])}
                    answers[-1]["tool_calls"].append({"id": block["id"], "type": "function", "function": function})
            continue
        for block in blocks:
            if block["type"] == "tool_result":
                text = block.get("content")
                text = text if isinstance(text, str) else json.dumps(text)
                text = text[:RESULT_CHARACTERS]
                messages.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": text})
            elif block["type"] == "text":
                messages.append({"role": "user", "content": block["text"]})
    return messages


class Renderer:
    """Renders ChatML with tool calls as JSON in tags, encoded message by message."""

    def __init__(self, tokenizer: Tokenizer, template: Template, ids: Ids) -> None:
        self._encode = lru_cache(100_000)(lambda text: tuple(tokenizer.encode(text, add_special_tokens=False).ids))
        self._template = template
        self._ids = ids
        self.end_id = tokenizer.encode("<|im_end|>", add_special_tokens=False).ids[0]

    def turns(self, messages: Sequence[Message], first: str, compact_every: int | None) -> Iterator[SentTurn]:
        """The turns of a session that begins with `first`; the client drops old messages now and then."""
        sent: list[Message] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": first}]
        extends, answers = True, 0
        rest = messages[next(i for i, message in enumerate(messages) if message["role"] == "assistant") :]
        for message in rest:
            if message["role"] == "assistant":
                prompt = [token for each in sent for token in self._message(each)]
                prompt += self._encode("<|im_start|>assistant\n")
                output = [*self._encode(self._answer(message, as_sent=False))[:OUTPUT_TOKENS], self.end_id]
                yield SentTurn(prompt, output, self._hints(sent), extends)
                extends, answers = True, answers + 1
                if compact_every and answers % compact_every == 0:
                    sent = [*sent[:2], *sent[-2:]] if sent[-2]["role"] == "assistant" else sent[:2]
                    extends = False
            sent.append(message)

    def _message(self, message: Message) -> Sequence[int]:
        text = self._answer(message, as_sent=True) if message["role"] == "assistant" else message["content"]
        if message["role"] == "assistant":
            begun = self._encode(f"<|im_start|>assistant\n{text}")
            header = self._encode("<|im_start|>assistant\n")
            return [*begun[: len(header) + OUTPUT_TOKENS], self.end_id, *self._encode("\n")]
        return self._encode(f"<|im_start|>{message['role']}\n{text}<|im_end|>\n")

    def _answer(self, message: Message, as_sent: bool) -> str:
        """The text of the assistant as the model wrote it, or as the template renders it in later prompts."""
        rewritten = as_sent and self._template == "rewritten"
        parts = [message["content"].strip() if rewritten else message["content"]]
        for call in message["tool_calls"]:
            function = call["function"]
            arguments = function["arguments"]
            if rewritten:
                arguments = json.dumps(json.loads(arguments), separators=(",", ":"), ensure_ascii=False)
            parts.append(f'<tool_call>\n{{"name": "{function["name"]}", "arguments": {arguments}}}\n</tool_call>')
        text = "\n".join(part for part in parts if part)
        if self._template == "reasoning-dropped" and not as_sent:
            words = random.Random(text).sample(SYSTEM.split(), 40)
            text = f"<think>\n{' '.join(words)}\n</think>\n{text}"
        return text

    def _hints(self, sent: Sequence[Message]) -> Mapping[str, Any]:
        if self._ids == "none":
            return {}
        if self._ids == "random":
            return hints_of({"messages": sent})
        numbered = []
        for message in sent:
            calls = [{**call, "id": f"call_{index}"} for index, call in enumerate(message.get("tool_calls", ()))]
            numbered.append({**message, "tool_calls": calls, "tool_call_id": "call_0"})
        return hints_of({"messages": numbered})


def read_block_sessions(archive: Path, limit: int, max_tokens: int) -> Iterator[list[SentTurn]]:
    """Sessions known only by hashes of blocks of 64 tokens, as synthetic tokens, up to `max_tokens` after scaling.

    The text after the old prompt in the next prompt starts with the output.
    """
    with tarfile.open(archive) as members:
        for member in members:
            stream = members.extractfile(member)
            if stream is None or limit == 0:
                continue
            requests = [each for each in json.load(stream)["requests"] if "hash_ids" in each]
            blocks = [each["hash_ids"][: each["in"] // 64] for each in requests]
            if len(blocks) > 1 and max(map(len, blocks)) * (64 // SCALE) < max_tokens:
                limit -= 1
                yield list(_block_turns(member.name, blocks, [each["out"] for each in requests]))


def _block_turns(name: str, blocks: Sequence[Sequence[int]], outputs: Sequence[int]) -> Iterator[SentTurn]:
    extends = True
    for index, prompt in enumerate(blocks):
        after = blocks[index + 1] if index + 1 < len(blocks) else []
        goes_on = list(after[: len(prompt)]) == list(prompt) and len(after) > len(prompt)
        length = max(outputs[index] // SCALE, 1)
        answer = after[len(prompt) :] if goes_on else [-1 - index - each for each in range(length // 16 + 1)]
        yield SentTurn(_tokens(name, prompt), _tokens(name, answer)[: min(length, OUTPUT_TOKENS)], {}, extends)
        extends = goes_on


def _tokens(name: str, blocks: Sequence[int]) -> list[int]:
    return [token for block in blocks for token in _block(name, block)]


@lru_cache(200_000)
def _block(name: str, block: int) -> tuple[int, ...]:
    return tuple(random.Random(f"{name}/{block}").choices(range(100, 40_000), k=64 // SCALE))
