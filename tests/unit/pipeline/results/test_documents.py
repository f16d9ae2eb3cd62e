from augserve.pipeline.results.documents import evaluation_markdown, headline_markdown

from .conftest import cell, closed


def tables_in(text):
    return sum(line.startswith(("|:-", "|-")) for line in text.splitlines())


def test_the_document_of_an_evaluation_has_every_table_of_every_workload(results):
    assert tables_in(evaluation_markdown(results)) == 5  # agents, by thirds; cells, ablations, static settings
    results.cells["coding"] = {"p": {"2x": {"vllm": cell(4)}}}
    results.capacity90["coding"] = {"p": {"vllm": 3.0}}
    text = evaluation_markdown(results)
    assert tables_in(text) == 6
    assert text.index("coding-agents on p") < text.index("mix on p")
    assert text.index("mix on p") < text.index("coding on p")


def test_the_headline_has_policies_ablations_and_limits_of_each_workload_and_the_tuned_settings(results, selection):
    text = headline_markdown(results, selection)
    assert tables_in(text) == 6
    assert text.index("coding-agents on p") < text.index("mix on p")
    assert "trial 3" in text


def test_the_headline_names_the_engine_of_every_workload(results, selection):
    results.cells["mine"] = {"mine": {"9": {"vllm": closed(20.0), "augserve": closed(30.0)}}}
    text = headline_markdown(results, selection)
    assert "mine on its own engine" in text
    assert "coding-agents on p" in text
