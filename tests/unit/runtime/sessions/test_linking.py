import gc
import itertools
import random
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augserve.runtime.sessions.indexes import PromptLengths
from augserve.runtime.sessions.linking import MAX_COMPARED, MAX_EQUALS, MAX_LENGTHS, Link, TurnLinker
from augserve.runtime.sessions.past import past_of
from augserve.runtime.sessions.prefix import OWN_BLOCK_TOKENS, Prefix, own_hashes

BLOCK = 16
END = 2  # the token that stops an output
SYSTEM = list(range(1000, 1100))
HEADER = [5, 6, 7]  # begins the assistant's message


def prefix(token_ids: Sequence[int], salt: str = "", block: int = BLOCK) -> Prefix:
    """A prefix hashed in blocks, as vLLM does it."""
    hashes: list[bytes] = []
    for end in range(block, len(token_ids) + 1, block):
        before = hashes[-1] if hashes else b"-"
        hashes.append(before[:24] + hash((before, salt, *token_ids[end - block : end])).to_bytes(8, "big", signed=True))
    return Prefix(token_ids, hashes, block, len(token_ids), salt)


class Conversations:
    """A linker, driven by prompts and outputs."""

    def __init__(self) -> None:
        self.linker = TurnLinker()
        self.numbers = itertools.count()

    def arrive(
        self,
        prompt: Sequence[int],
        calls: Sequence[str | None] = (None, None),
        tenant: str | None = None,
        salt: str = "",
    ) -> Link | None:
        return self.linker.link(prefix(prompt, salt), calls, tenant)

    def finish(
        self,
        session: str,
        prompt: Sequence[int],
        output: Sequence[int],
        call: str | None = None,
        tenant: str | None = None,
        salt: str = "",
        failed: bool = False,
    ) -> None:
        past = past_of(prefix([*prompt, *output], salt), len(prompt), call, tenant, stopped=output[-1:] == [END])
        self.linker.turn_ended(session, past, finished=not failed)


@pytest.fixture
def conversations() -> Conversations:
    return Conversations()


def words(seed: int, count: int) -> list[int]:
    return [2000 + (seed * 7919 + 104_729 * index * (seed + 3)) % 30_000 for index in range(count)]


FIRST = [*SYSTEM, *words(1, 9), *HEADER]
OUTPUT = [*words(2, 40), END]
NEXT = [*FIRST, *OUTPUT, *words(3, 20), *HEADER]


def test_a_prompt_that_begins_with_the_last_prompt_and_output_is_linked(
    conversations: Conversations,
) -> None:
    assert conversations.arrive(FIRST) is None
    conversations.finish("a", FIRST, OUTPUT)
    assert conversations.arrive(NEXT) == Link("a", "prefix")


@pytest.mark.parametrize("shared", range(80, 118))
def test_a_shared_system_prompt_links_nothing(conversations: Conversations, shared: int) -> None:
    conversations.finish("a", FIRST, OUTPUT)
    other = [*NEXT[:shared], *words(9, 60), *HEADER] if shared < len(FIRST) else [*FIRST, *words(9, 60)]
    assert conversations.arrive(other) is None


def test_equal_prompts_are_distinguished_by_their_outputs(conversations: Conversations) -> None:
    outputs = {f"s{number}": [*words(number, 30), END] for number in range(20, 60)}
    for session, output in outputs.items():
        conversations.finish(session, FIRST, output)
    for session, output in reversed(outputs.items()):
        assert conversations.arrive([*FIRST, *output, *words(3, 20)]) == Link(session, "prefix")
    assert conversations.arrive([*FIRST, *words(99, 30), END]) is None


def test_a_turn_is_continued_only_once(conversations: Conversations) -> None:
    conversations.finish("a", FIRST, OUTPUT)
    assert conversations.arrive(NEXT) is not None
    assert conversations.arrive(NEXT) is None
    conversations.finish("a", NEXT, OUTPUT)
    assert conversations.arrive(NEXT[:-4]) is None


def test_an_aborted_turn_may_be_retried(conversations: Conversations) -> None:
    conversations.finish("a", FIRST, OUTPUT)
    assert conversations.arrive(NEXT) is not None
    conversations.finish("a", NEXT, [1], failed=True)
    assert conversations.arrive(NEXT) == Link("a", "prefix")


def test_an_aborted_first_turn_is_continued(conversations: Conversations) -> None:
    conversations.finish("a", FIRST, OUTPUT[:-1], failed=True)
    assert conversations.arrive(NEXT) == Link("a", "prefix")


def test_the_same_prompt_continues_nothing(conversations: Conversations) -> None:
    conversations.finish("a", FIRST, OUTPUT)
    assert conversations.arrive(FIRST) is None


@pytest.mark.parametrize("output", [[], [2001], [2001, 2002, 2003], [2001, END]])
def test_very_short_outputs_link_only_with_their_stop_token(conversations: Conversations, output: list[int]) -> None:
    conversations.finish("a", FIRST, output)
    assert (conversations.arrive([*FIRST, *output, *words(9, 9)]) is not None) == (output[-1:] == [END])


def test_a_template_may_end_the_message_with_another_token(conversations: Conversations) -> None:
    conversations.finish("a", FIRST, OUTPUT)
    assert conversations.arrive([*FIRST, *OUTPUT[:-1], 3, *words(3, 20)]) == Link("a", "prefix")


def test_a_rewritten_output_is_recognised(conversations: Conversations) -> None:
    reasoning, answer, other = words(4, 300), words(2, 60), words(6, 60)
    conversations.finish("a", FIRST, [*reasoning, *answer, END])
    conversations.finish("b", FIRST, [*reasoning[::-1], *other, END])
    assert conversations.arrive([*FIRST, *other, 3, *words(3, 20)]) == Link("b", "prefix")
    assert conversations.arrive([*FIRST, *answer, 3, *words(3, 20)]) == Link("a", "prefix")


def test_a_short_answer_is_recognised_after_its_reasoning_is_dropped(conversations: Conversations) -> None:
    for session, reasoning, answer in (("a", words(4, 300), words(2, 12)), ("b", words(5, 300), words(7, 12))):
        conversations.finish(session, FIRST, [*reasoning, *answer, END])
    assert conversations.arrive([*FIRST, 9, *words(7, 12), END, *words(3, 90)]) == Link("b", "prefix")
    assert conversations.arrive([*FIRST, *words(8, 12), END, *words(2, 12), END]) is None


def test_a_rewritten_output_of_an_unknown_session_links_nothing(conversations: Conversations) -> None:
    """Its first words are those of a known session."""
    conversations.finish("a", FIRST, [*words(2, 40), *words(4, 40), END])
    assert conversations.arrive([*FIRST, 9, *words(2, 40), *words(6, 40), 3, *words(3, 20)]) is None


def test_outputs_that_are_too_similar_link_nothing(conversations: Conversations) -> None:
    for session, last in (("a", 51), ("b", 52)):
        conversations.finish(session, FIRST, [*words(2, 40), last, END])
    assert conversations.arrive([*FIRST, 9, *words(2, 40), 3, *words(3, 20)]) is None


def test_prompts_of_another_adapter_or_salt_link_nothing(conversations: Conversations) -> None:
    short = FIRST[:10]
    for prompt in (FIRST, short):
        conversations.finish("a", prompt, OUTPUT, salt="x")
        assert conversations.arrive([*prompt, *OUTPUT, 9], salt="y") is None
        assert conversations.arrive([*prompt, *OUTPUT, 9], salt="x") is not None


def test_tenants_are_never_mixed(conversations: Conversations) -> None:
    conversations.finish("a", FIRST, OUTPUT, call="c1", tenant="x")
    assert conversations.arrive(NEXT, ("c1", None), tenant="y") is None
    assert conversations.arrive(NEXT, ("c1", None), tenant="x") is not None


def test_call_ids_link_a_rewritten_past(conversations: Conversations) -> None:
    conversations.finish("a", FIRST, OUTPUT, call="c1")
    assert conversations.arrive(words(8, 200), ("c2", "c1")) == Link("a", "call_id")
    conversations.finish("a", words(8, 200), OUTPUT, call="c2")
    assert conversations.arrive(words(7, 200), ("c2", "c1")) == Link("a", "call_id")


def test_the_call_ids_of_a_branch_do_not_link_it_to_its_origin(conversations: Conversations) -> None:
    conversations.finish("a", words(7, 100), OUTPUT, call="c2")
    assert conversations.arrive(words(8, 200), ("other", "c1")) is None


def test_a_call_id_of_two_sessions_links_nothing(conversations: Conversations) -> None:
    conversations.finish("a", FIRST, OUTPUT, call="c1")
    conversations.finish("b", words(5, 90), OUTPUT, call="c1")
    assert conversations.arrive(words(8, 200), ("c1", None)) is None


def test_a_forgotten_session_links_nothing(conversations: Conversations) -> None:
    conversations.finish("a", FIRST, OUTPUT, call="c1")
    conversations.linker.forget("a")
    conversations.linker.forget("a")
    assert conversations.arrive(NEXT, ("c1", None)) is None
    assert len(conversations.linker) == 0


def test_the_number_of_equal_prompts_is_bounded(conversations: Conversations) -> None:
    for number in range(MAX_EQUALS + 10):
        conversations.finish(f"s{number}", FIRST, [*words(number, 30), END])
    assert len(conversations.linker) == MAX_EQUALS


class Counted(list[int]):
    """Token ids that count how many of them are read."""

    read = 0

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        self.read += len(found) if isinstance(place, slice) else 1
        return found


@pytest.mark.parametrize("spread", [1, 7])
def test_what_an_arrival_reads_is_bounded(conversations: Conversations, spread: int) -> None:
    """Past turns of one prompt each, or of prompts that all begin the arriving one."""
    text = words(1, 4200)
    for number in range(1000):
        conversations.finish(f"s{number}", text[: 1 + 4 * number // spread], words(number, 24))
    arriving = Counted([*text, *words(5, 60_000)])
    hashed = prefix(arriving)
    arriving.read = 0
    assert conversations.linker.link(hashed, (), None) is None
    assert arriving.read < MAX_LENGTHS * BLOCK + MAX_COMPARED * 2 * 40


def test_two_hundred_rewritten_outputs_of_one_prompt_are_all_linked(conversations: Conversations) -> None:
    outputs = {f"s{number}": random.Random(number).choices(range(100, 30_000), k=300) for number in range(MAX_EQUALS)}
    for session, output in outputs.items():
        conversations.finish(session, FIRST, [*output, END])
    for session, output in outputs.items():
        rewritten = [*FIRST, 9, *output[:50], 11, *output[51:], *words(3, 40)]
        assert conversations.arrive(rewritten) == Link(session, "prefix")


def test_prompts_of_other_tenants_take_no_place(conversations: Conversations) -> None:
    conversations.finish("a", FIRST, OUTPUT, tenant="x")
    for number in range(MAX_EQUALS + 10):
        conversations.finish(f"s{number}", FIRST, [*words(number, 30), END], tenant="y")
    assert conversations.arrive(NEXT, tenant="x") == Link("a", "prefix")


@given(st.lists(st.tuples(st.binary(max_size=2), st.integers(0, 8), st.booleans()), max_size=40))
def test_a_length_is_known_as_long_as_one_of_its_prompts(changes: list[tuple[bytes, int, bool]]) -> None:
    lengths, known = PromptLengths(), Counter[tuple[bytes, int]]()
    for anchor, rest, added in changes:
        if added:
            lengths.add(anchor, rest)
            known[anchor, rest] += 1
        elif known[anchor, rest]:
            lengths.discard(anchor, rest)
            known[anchor, rest] -= 1
    for anchor in {anchor for anchor, _, _ in changes} - {b""}:
        found = set(lengths.within(Prefix([0] * 19, [anchor], 10, 19))) - set(range(10))
        assert found == {10 + rest for rest in range(9) if known[anchor, rest]}


def test_own_hashes_link_where_vllm_makes_none() -> None:
    def own(token_ids: list[int]) -> Prefix:
        return Prefix(token_ids, own_hashes(token_ids, "x"), OWN_BLOCK_TOKENS, len(token_ids), "x")

    linker = TurnLinker()
    for session, first in (("short", words(1, 90)), ("long", words(4, 5000))):
        linker.turn_ended(session, past_of(own([*first, *OUTPUT]), len(first), None, None, stopped=True), finished=True)
        assert linker.link(own([*words(5, 90), *OUTPUT, 9]), (), None) is None
        assert linker.link(own([*first, *OUTPUT, 9]), (), None) == Link(session, "prefix")


def test_own_hashes_continue_known_ones() -> None:
    tokens = words(4, 5000)
    assert own_hashes(tokens, "x", own_hashes(tokens[:3000], "x")) == own_hashes(tokens, "x")
    assert own_hashes(tokens, "y") != own_hashes(tokens, "x")


def test_a_remembered_session_takes_little_memory_and_nothing_that_collections_visit() -> None:
    count = 1000
    linker = TurnLinker()
    tracemalloc.start()
    for number in range(count):
        tokens = [*words(number, 300), *words(number + 1, 100), END]
        past = past_of(prefix(tokens), 300, f"{number:032x}", f"{number:032x}", stopped=True)
        linker.turn_ended(f"chatcmpl-{number:032x}", past, finished=True)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(linker) == count
    assert size / count < 1400
    gc.collect()
    tracked = len(gc.get_objects())
    del linker
    gc.collect()
    assert tracked - len(gc.get_objects()) < count / 2  # the process's threads and libraries free some


FLAGS = st.booleans()
WORDS = st.lists(st.integers(10, 12), max_size=7)  # too few to be taken for a rewritten output


@settings(max_examples=300)
@given(st.data())
def test_sessions_are_never_merged(data: st.DataObject) -> None:
    """Sessions of few words in small blocks, so that everything collides that can: a link is always to a session whose
    last turn, to the token, the new prompt continues, and which has no other turn under way."""
    linker = TurnLinker()
    block = data.draw(st.integers(1, 6))
    histories: dict[str, list[int]] = {}
    running: dict[str, tuple[list[int], list[int] | None]] = {}
    for number in range(data.draw(st.integers(1, 40))):
        ends: bool = data.draw(FLAGS)
        if running and ends:
            session = data.draw(st.sampled_from(sorted(running)))
            prompt, before = running.pop(session)
            output = [*data.draw(WORDS), END]
            past = past_of(prefix([*prompt, *output], block=block), len(prompt), None, None, stopped=True)
            finished: bool = data.draw(FLAGS)
            if finished or before is None:
                linker.turn_ended(session, past, finished=True)
                histories[session] = [*prompt, *output]
            else:
                linker.turn_ended(session, past, finished=False)
                histories[session] = before
            continue
        base = data.draw(st.sampled_from([[], *histories.values()]))
        prompt = [*base, *data.draw(WORDS), 10]
        link = linker.link(prefix(prompt, block=block), (None, None), None)
        if link is None:
            running[f"s{number}"] = (prompt, None)
            continue
        assert link.session_id not in running
        history = histories[link.session_id]
        assert prompt[: len(history) - 1] == history[:-1]
        running[link.session_id] = (prompt, history)


@settings(max_examples=100)
@given(st.permutations(list(range(12))), st.integers(1, 40), st.booleans())
def test_distinct_sessions_are_distinguished_in_any_order(order: list[int], system: int, rewritten: bool) -> None:
    conversations = Conversations()
    sessions = {f"s{number}": [*words(0, system), *words(number // 3, 5), *HEADER] for number in range(12)}
    for turn in range(3):
        outputs = {}
        for session, prompt in sessions.items():
            outputs[session] = [*words(100 * turn + int(session[1:]) * 1000, 60), END]
            conversations.finish(session, prompt, outputs[session])
        for number in order:
            session = f"s{number}"
            output = [*outputs[session][1:-1], 3] if rewritten else outputs[session]
            sessions[session] = [*sessions[session], *output, *words(turn, 30), *HEADER]
            assert conversations.arrive(sessions[session]) == Link(session, "prefix")
