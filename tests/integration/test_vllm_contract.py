"""What vLLM's functions do, compared with the releases that AugServe was written for.

Bodies are read from vLLM's source files and not imported. `make test-contract` runs this file on every supported
release; experiments/vllm_release.py records a new one.
"""

import ast

import pytest

from experiments.vllm_release import ABSENT, fingerprint, fingerprints, installed, recorded


def test_the_functions_that_augserve_relies_on_do_what_they_did() -> None:
    release, folder = installed()
    releases = recorded()
    nearest = release if release in releases else list(releases)[-1]
    assert fingerprints(folder) == releases[nearest], f"vLLM {release} differs from {nearest}"


def test_the_names_and_signatures_are_those_that_augserve_uses() -> None:
    from augserve.runtime.vllm_compat import check_vllm

    check_vllm()


def test_every_tested_release_is_recorded() -> None:
    from augserve.runtime.vllm_compat.supported import TESTED

    assert tuple(recorded()) == TESTED


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ("def f(a):\n    '''Text.'''\n    return (a,  # why\n      1)", True),
        ("def f(a):\n    return a, 2", False),
        ("def f(b):\n    return b, 1", False),
    ],
    ids=["layout", "constant", "parameter"],
)
def test_only_code_changes_a_fingerprint(changed: str, same: bool) -> None:
    plain = fingerprint(ast.parse("def f(a):\n    return a, 1"), "f")
    assert (fingerprint(ast.parse(changed), "f") == plain) is same


def test_a_function_that_is_gone_is_absent() -> None:
    assert fingerprint(ast.parse("class A:\n    pass"), "A.f") == ABSENT
