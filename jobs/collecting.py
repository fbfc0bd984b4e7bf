"""Python's collector of cycles, for as long as a run lasts: it makes many small values, and hardly a cycle."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = 50_000
"""Containers made and not yet let go of before the collector looks at the youngest; CPython's own is 700, at which the
collector takes a third of an unchanged run (dev/bench_sink.py, (c))."""


@contextmanager
def seldom() -> Iterator[None]:
    """Collect seldom, and leave out what is there already: the modules.  Put back at the end."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(SELDOM, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
