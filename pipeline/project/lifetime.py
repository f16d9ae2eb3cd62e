"""A child process that does not outlive its parent, whatever ends that."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """In the child: be told to end (SIGTERM) when the thread that started it dies, `kill -9` included."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
