"""The command line of `vllm serve`, read by vLLM's own parser, and the configuration that vLLM makes of it."""

import contextlib
import importlib
import io
import logging
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser

from ..names import VllmConfig

_PARSERS = ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.common.cli_args")
"""Modules with vLLM's `make_arg_parser`: up to 0.32, and from 0.33."""


class ServeArgumentsError(ValueError):
    """vLLM refuses the arguments; the message is its own, in one line."""


def parse_serve_arguments(arguments: Sequence[str]) -> Namespace:
    """The arguments after `vllm serve`. Raises ServeArgumentsError."""
    with _quiet():
        parsed: Namespace = _parser().parse_args(list(arguments))
    if parsed.model_tag is not None:
        parsed.model = parsed.model_tag
    return parsed


def engine_config(parsed: Namespace) -> VllmConfig:
    """The configuration that vLLM starts its engines with. Reads the model's configuration, no weights.

    Raises ServeArgumentsError.
    """
    try:
        with _quiet():
            config: VllmConfig = AsyncEngineArgs.from_cli_args(parsed).create_engine_config()
            return config
    except Exception as error:  # vLLM and its libraries raise many kinds
        raise ServeArgumentsError(_one_line(error)) from error


def _parser() -> Any:
    old, new = _PARSERS
    try:
        module = importlib.import_module(old)
    except ModuleNotFoundError:
        module = importlib.import_module(new)
    return module.make_arg_parser(_Parser(prog="vllm serve"))  # type: ignore[no-untyped-call]


class _Parser(FlexibleArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ServeArgumentsError(" ".join(message.split()))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what vLLM prints and logs on its way."""
    logger = logging.getLogger("vllm")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and "validation error" in lines[0]:  # pydantic names the cause below
        lines = lines[1:]
    return " ".join(lines)[:300] or type(error).__name__
