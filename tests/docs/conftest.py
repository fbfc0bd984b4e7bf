"""The same quiet as the commands' own tests have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def logs_as_before() -> Iterator[None]:
    """A command configures logging for its process; the tests after it get theirs back."""
    import logging

    import structlog

    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)
