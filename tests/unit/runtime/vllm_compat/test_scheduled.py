from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.vllm_compat import is_decode, measure_tokens


@dataclass
class Live:
    """A request as schedule() leaves it, `tokens` of it scheduled."""

    name: str
    num_prompt_tokens: int
    before: int
    tokens: int
    outputs: int
    new: bool
    spec_token_ids: list[int] = field(default_factory=list)

    @property
    def num_computed_tokens(self) -> int:
        return self.before + self.tokens


@dataclass
class New:
    req_id: str
    num_computed_tokens: int


@dataclass
class Cached:
    req_ids: list[str]
    num_computed_tokens: list[int]
    num_output_tokens: list[int]


@dataclass
class Output:
    scheduled_new_reqs: list[New]
    scheduled_cached_reqs: Cached
    num_scheduled_tokens: dict[str, int]
    total_num_scheduled_tokens: int
    scheduled_spec_decode_tokens: dict[str, list[int]]


def output(requests: list[Live]) -> Output:
    cached = [request for request in requests if not request.new]
    return Output(
        [New(request.name, request.before) for request in requests if request.new],
        Cached(
            [request.name for request in cached],
            [request.before for request in cached],
            [request.outputs for request in cached],
        ),
        {request.name: request.tokens for request in requests},
        sum(request.tokens for request in requests),
        {request.name: request.spec_token_ids for request in requests if request.spec_token_ids},
    )


@st.composite
def live(draw: st.DrawFn) -> tuple[int, int, int, int, bool, int]:
    """Prompt, computed before, tokens, outputs so far, whether new, speculated tokens: as vLLM may have them."""
    prompt = draw(st.integers(1, 50))
    if draw(st.booleans()):  # decodes
        outputs, speculated = draw(st.integers(1, 20)), draw(st.integers(0, 3))
        return prompt, prompt + outputs - 1, 1 + speculated, outputs, False, speculated
    before = draw(st.integers(0, prompt - 1))
    return prompt, before, draw(st.integers(1, prompt - before)), 0, draw(st.booleans()), 0


@given(st.lists(live(), min_size=1, max_size=20), st.booleans())
def test_the_counts_equal_those_of_each_request_added_up(facts: list[tuple[int, ...]], speculates: bool) -> None:
    requests = []
    for number, (prompt, before, tokens, outputs, new, speculated) in enumerate(facts):
        spec = [7] * speculated if speculates else []
        decodes = bool(outputs)
        requests.append(
            Live(f"r{number}", prompt, before, 1 + len(spec) if decodes else tokens, outputs, bool(new), spec)
        )
    decodes = [is_decode(request, request.tokens) for request in requests]  # type: ignore[arg-type]
    expected = (
        sum(request.tokens for request, decode in zip(requests, decodes, strict=True) if not decode),
        sum(decodes),
        sum(request.num_computed_tokens for request in requests),
    )
    by_name = {request.name: request for request in requests}
    assert measure_tokens(output(requests), by_name) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("tokens", "prefill", "decodes"), [(1, 1, 0), (2, 2, 0)])
def test_the_last_token_of_a_prompt_is_not_a_decode(tokens: int, prefill: int, decodes: int) -> None:
    complete = Live("new", 10, 10 - tokens, tokens, 0, new=True)
    rest = Live("chunked", 10, 10 - tokens, tokens, 0, new=False)
    for request in (complete, rest):
        assert measure_tokens(output([request]), {}) == (prefill, decodes, 10)  # type: ignore[arg-type]
