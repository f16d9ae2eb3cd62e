from augserve.data.tables.ancestry import lineage


def key(name):
    return "made", name


def parents_of(**parents):
    return {key(child): key(parent) for child, parent in parents.items()}


def test_the_ancestors_come_from_below():
    assert lineage(key("c"), parents_of(c="b", b="a")) == ([key("c"), key("b"), key("a")], None)


def test_a_session_in_a_circle_closes_it_itself():
    assert lineage(key("a"), parents_of(a="b", b="a")) == ([key("a"), key("b")], key("a"))


def test_a_session_below_a_circle_is_not_in_it():
    assert lineage(key("c"), parents_of(c="a", a="b", b="a")) == ([key("c"), key("a"), key("b")], key("a"))
