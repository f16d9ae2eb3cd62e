"""Tasks of benchmarks whose sessions must not be split between training and test."""

import re

_TASK = re.compile(r"(\S+__\S+)-\d+")


def task_family(name: str) -> str:
    """The repository of a task (`owner__name-123` is one of `owner__name`); another name is its own family."""
    task = _TASK.fullmatch(name)
    return task[1] if task else name
