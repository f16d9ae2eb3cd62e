from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.recording.tracer import measure_tokens
from augserve.runtime.vllm_compat import is_decode


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
    cached = [one for one in requests if not one.new]
    return Output(
        [New(one.name, one.before) for one in requests if one.new],
        Cached([one.name for one in cached], [one.before for one in cached], [one.outputs for one in cached]),
        {one.name: one.tokens for one in requests},
        sum(one.tokens for one in requests),
        {one.name: one.spec_token_ids for one in requests if one.spec_token_ids},
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
def test_a_step_is_measured_as_by_asking_every_request(facts: list[tuple[int, ...]], speculates: bool) -> None:
    requests = []
    for number, (prompt, before, tokens, outputs, new, speculated) in enumerate(facts):
        spec = [7] * speculated if speculates else []
        decodes = bool(outputs)
        requests.append(
            Live(f"r{number}", prompt, before, 1 + len(spec) if decodes else tokens, outputs, bool(new), spec)
        )
    decodes = [is_decode(one, one.tokens) for one in requests]  # type: ignore[arg-type]
    expected = (
        sum(one.tokens for one, decode in zip(requests, decodes, strict=True) if not decode),
        sum(decodes),
        sum(one.num_computed_tokens for one in requests),
    )
    by_name = {one.name: one for one in requests}
    assert measure_tokens(output(requests), by_name) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("tokens", "prefill", "decodes"), [(1, 1, 0), (2, 2, 0)])
def test_a_prompts_last_token_is_no_decode(tokens: int, prefill: int, decodes: int) -> None:
    whole = Live("new", 10, 10 - tokens, tokens, 0, new=True)
    rest = Live("chunked", 10, 10 - tokens, tokens, 0, new=False)
    for request in (whole, rest):
        assert measure_tokens(output([request]), {}) == (prefill, decodes, 10)  # type: ignore[arg-type]
