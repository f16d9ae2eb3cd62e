"""Ends a child process when its parent dies, even by `kill -9`."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Call in the child: the kernel sends SIGTERM when the thread that started the child dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
