"""Random session trees."""

from hypothesis import strategies as st

from augserve.data.workload.model import Session, ToolCall, Turn

TIMES_S = st.floats(0, 20)


@st.composite
def trees(draw: st.DrawFn, name: str, depth: int = 2, longest: int = 5) -> Session:
    turns = []
    count = draw(st.integers(1, longest))
    context = 0
    for number in range(count):
        calls = []
        for call in range(draw(st.integers(1, 3)) if number + 1 < count else 0):
            agent = None
            if depth and draw(st.booleans()):
                agent = draw(trees(f"{name}/{number}.{call}", depth - 1, 3))
            calls.append(ToolCall(f"tool-{call}", draw(TIMES_S), draw(st.integers(0, 40)), agent))
        kept = draw(st.one_of(st.none(), st.integers(0, context))) if number else None
        turn = Turn(draw(st.integers(1, 90)), draw(st.integers(1, 12)), tuple(calls), kept)
        context = (context if kept is None else kept) + turn.new_tokens + turn.output_tokens
        turns.append(turn)
    return Session(name, "made", draw(TIMES_S), tuple(turns))


def forests(most: int = 6) -> st.SearchStrategy[list[Session]]:
    """Lists of 1 to `most` trees with different ids."""
    return st.integers(1, most).flatmap(lambda count: st.tuples(*(trees(f"s{n}") for n in range(count))).map(list))
