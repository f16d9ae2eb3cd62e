from hypothesis import given
from hypothesis import strategies as st

from augserve.data.workload.copies import copied
from augserve.data.workload.model import Session, SharedPrefix, ToolCall, Turn
from augserve.data.workload.prefixes import prompt_prefixes
from augserve.data.workload.steady_state import entered
from augserve.data.workload.token_ids import session_contexts

SYSTEM = SharedPrefix("made:prefix:system", 64)
BEGUN = Session("parent", "made", 0.0, (Turn(200, 40), Turn(9, 9)), shared=(SYSTEM,))
FORK = Session(
    "child", "made", 0.5, (Turn(300, 20, (ToolCall("grep", 1.0, 7),)), Turn(7, 20)), shared=prompt_prefixes(BEGUN, 0)
)
PARENT = Session(
    "parent",
    "made",
    0.0,
    (
        Turn(200, 40, (ToolCall("Task", 2.0, 30, FORK),)),
        Turn(30, 40, (ToolCall("bash", 1.0, 50),), kept_tokens=150),
        Turn(50, 40),
    ),
    shared=(SYSTEM,),
)


def equal_tokens(one: list[int], other: list[int]) -> int:
    """The first tokens that are equal, which the prefix cache shares."""
    return next((n for n, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), len(one))


def child_of(session: Session) -> Session:
    return next(session.agents)


@given(st.integers(0, 50), st.integers(0, 50))
def test_copies_share_the_common_prefix_and_no_other_token(one: int, other: int) -> None:
    pairs = zip(session_contexts(copied(PARENT, one)), session_contexts(copied(PARENT, other)), strict=True)
    for left, right in pairs:
        assert equal_tokens(left, right) == (len(left) if one == other else SYSTEM.tokens)


def test_the_own_tokens_of_copies_are_equal_by_chance_only() -> None:
    left, right = (session_contexts(copied(PARENT, copy))[-1][SYSTEM.tokens :] for copy in (0, 1))
    same = sum(a == b for a, b in zip(left, right, strict=True))
    assert same <= 3 + 2  # the last token of each of three outputs, and chance


def test_a_copied_sub_agent_shares_the_context_of_its_own_parent_only() -> None:
    copy = copied(PARENT, 1)
    child, parent = session_contexts(child_of(copy))[0], session_contexts(copy)[0]
    assert equal_tokens(child, parent) == 200
    assert equal_tokens(child, session_contexts(PARENT)[0]) == SYSTEM.tokens


def test_copies_that_enter_midway_differ_too() -> None:
    left, right = (session_contexts(entered(copied(PARENT, copy), 1))[0] for copy in (1, 2))
    assert equal_tokens(left, right) == SYSTEM.tokens
