from augserve.pipeline.results.breakdown import by_kind, by_third


def test_each_kind_of_session_is_a_column_and_ablations_are_left_out(results):
    cells = results.cells["mix"]["p"]["2x"]
    cells["augserve"] |= {"attainment_of_chatbot": 0.9, "attainment_of_chatbot_low": 0.8, "attainment_of_image": 0.5}
    cells["vllm"] |= {"attainment_of_chatbot": 0.1}
    table = by_kind(results, ("mix", "p"))
    assert table.columns.tolist() == ["policy", "chatbot", "image"]
    assert table["policy"].tolist() == ["AugServe", "stock vLLM", "InferCept"]
    assert table["chatbot"].tolist() == ["90.0%", "10.0%", "–"]


def test_a_workload_of_one_kind_has_no_table_by_kind(results):
    assert not len(by_kind(results, ("mix", "p")))


def test_session_times_are_told_by_thirds(results):
    results.cells["coding-agents"]["p"]["16"]["vllm"]["session_time_long_mean_s"] = 240.0
    table = by_third(results, ("coding-agents", "p"))
    assert table.loc[(table["agents"] == 16) & (table["policy"] == "stock vLLM"), "long"].tolist() == ["240"]
