import pyarrow as pa
import pytest

from augserve.pipeline.step_times.chunks import prompt_chunks


def steps(*prefill_tokens):
    return pa.Table.from_pylist([{"start_s": float(at), "prefill_tokens": n} for at, n in enumerate(prefill_tokens)])


def turn(prompt, cached, arrival_s, first_token_s):
    facts = {"prompt_tokens": prompt, "cached_tokens": cached}
    return facts | {"arrival_s": arrival_s, "first_token_s": first_token_s}


def chunks(step_table, *turns):
    return prompt_chunks(step_table.column("start_s").to_numpy(), step_table, pa.Table.from_pylist(list(turns)))


def pairs(step_table, *turns):
    return chunks(step_table, *turns).pairs.tolist()


def test_a_whole_prompt_is_in_the_step_of_its_first_token():
    assert pairs(steps(0, 100, 0), turn(400, 300, 0.5, 1.9)) == [0, 100 * 350, 0]


def test_a_prompt_longer_than_a_step_begins_in_the_steps_before():
    found = pairs(steps(0, 1000, 1000, 200), turn(2200, 0, 0.5, 3.9))
    assert found == [0, 1000 * 500, 1000 * 1500, 200 * 2100]


def test_a_chunk_attends_to_all_tokens_before_it_and_its_own():
    assert chunks(steps(0, 1000, 200), turn(1500, 300, 0.5, 2.9)).kv_tokens.tolist() == [0, 1300, 1500]


def test_a_first_token_at_the_very_begin_of_a_step_is_of_the_step_before():
    assert pairs(steps(0, 100, 100), turn(400, 300, 0.5, 2.0 + 1e-7)) == [0, 100 * 350, 0]


def test_prompts_share_a_step():
    found = pairs(steps(0, 600, 600), turn(300, None, 0.5, 1.9), turn(900, 0, 0.5, 2.9))
    assert found == [0, 300 * 150 + 300 * 150, 600 * 600]


def test_no_chunk_is_before_its_turn_s_arrival_and_turns_without_a_token_have_none():
    found = pairs(steps(500, 0, 100), turn(600, 0, 0.5, 2.9), turn(50, 0, 0.0, None))
    assert found == pytest.approx([0, 0, 100 * 550])
