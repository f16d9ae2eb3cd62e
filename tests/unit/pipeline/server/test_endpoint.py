import pytest

from augserve.pipeline.server.endpoint import Endpoint, ReplayError, counted, parse_counters

METRICS = """# HELP vllm:num_preemptions_total Number of preemptions.
vllm:num_preemptions_total{engine="0",model_name="m"} 3.0
vllm:num_preemptions_total{engine="1",model_name="m"} 2.0
vllm:prefix_cache_hits_total{engine="0"} 10.0
vllm:other_total 7.0
"""


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_an_address_may_end_in_its_version(url, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert Endpoint.parse(url) == Endpoint("http://h:1/v1", None)
    assert Endpoint.parse(url).root == "http://h:1"


@pytest.mark.parametrize("url", ["", "h:1", "ftp://h", "http://"])
def test_an_invalid_address_is_an_error_of_one_line(url):
    with pytest.raises(ReplayError, match="--url"):
        Endpoint.parse(url)


def test_counters_are_summed_over_engines_and_reported_as_increases():
    before = parse_counters(METRICS)
    assert before == {"preemptions": 5.0, "prefix_cache_hits": 10.0}
    assert counted(before, {"preemptions": 9.0, "prefix_cache_hits": 10.0}) == {
        "preemptions": 4.0,
        "prefix_cache_hits": 0.0,
    }
    assert counted(None, before) == {}
