import itertools
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augserve.runtime.sessions.linking import MAX_EQUALS, Link, TurnLinker, past_of
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


def test_a_remembered_session_takes_less_than_two_kilobytes() -> None:
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
    assert size / count < 2048


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
