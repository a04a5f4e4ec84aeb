"""A signal as a question that the loop asks between two steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals() -> Iterator[Callable[[], bool]]:
    """Turns the first SIGINT or SIGTERM into a question to ask; a second one acts as ever."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread() or os.environ.get("LOCAL_RANK"):
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        received.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
