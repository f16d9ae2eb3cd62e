import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.tables.splits import SPLIT_SEEDS, SplitError, assign_parts, assign_uses, held_out_use, position

GROUPS = st.sets(st.text(max_size=6), min_size=3, max_size=80)
SHARES = st.floats(0.01, 0.45)


@given(GROUPS, SHARES, SHARES)
def test_every_group_is_in_one_part_and_no_part_is_empty(groups, validation, test):
    parts = assign_parts(groups, validation, test)
    assert set(parts) == groups
    assert set(parts.values()) == {"train", "validation", "test"}
    assert parts == assign_parts(sorted(groups), validation, test)


@given(GROUPS, SHARES, SHARES)
def test_training_and_validation_groups_neither_tune_nor_report(groups, validation, test):
    parts, uses = assign_parts(groups, validation, test), assign_uses(groups, validation, test)
    assert set(uses) == groups
    assert all((parts[group] == "test") == (uses[group] != "train") for group in groups)


def test_a_group_keeps_its_part_as_the_set_grows():
    many = [f"session {number}" for number in range(400)]
    few = assign_parts(many[:100], 0.15, 0.2)
    grown = assign_parts(many, 0.15, 0.2)
    assert few == {group: grown[group] for group in many[:100]}


def test_the_shares_hold_on_average():
    parts = list(assign_parts(map(str, range(4000)), 0.15, 0.2).values())
    assert parts.count("test") / 4000 == pytest.approx(0.2, abs=0.02)
    assert parts.count("validation") / 4000 == pytest.approx(0.15, abs=0.02)
    uses = [held_out_use(str(number)) for number in range(4000)]
    for use, share in {"tune": 0.3, "select": 0.2, "report": 0.5}.items():
        assert uses.count(use) / 4000 == pytest.approx(share, abs=0.03)


@given(st.text())
def test_a_position_is_in_the_unit_interval_whatever_the_name(name):
    assert 0 <= position(name) < 1


def test_two_groups_cannot_be_split():
    with pytest.raises(SplitError, match="2 groups"):
        assign_parts(["a", "b"], 0.15, 0.2)


def test_each_use_generates_sessions_of_its_own():
    assert len(set(SPLIT_SEEDS.values())) == len(SPLIT_SEEDS) == 4
