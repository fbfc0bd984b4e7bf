"""Logs: one JSON object a line in a pod, plain lines on a terminal; every line has its secrets struck out."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

from jobs.config.secret import Secrets
from jobs.reporting.unheard import Heard
from jobs.reporting.visible import visible_all


class Redactor:
    """The last processor before rendering: whatever was logged, by whomever, leaves without secrets."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        clean = {key: self._secrets.redact_all(_plain(value)) for key, value in event.items() if key[:1] != "_"}
        return cast(MutableMapping[str, Any], visible_all(clean))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | dict | list | tuple | None) else str(value)


def configure(mode: str, secrets: Secrets, stream: TextIO) -> None:
    """Send structlog's and the standard library's log lines to `stream` as `mode` (text or json) says.

    Libraries speak from WARNING on: httpx would log every URL.  Tracebacks stay out, as their values may be bodies.
    """
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        Redactor(secrets),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if mode == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=lambda *_: None)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Heard(stream))),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(Heard(stream))
    handler.setFormatter(_Lines(shared, renderer))
    handler.setLevel(logging.WARNING)  # the root's level does not bind a logger that has a level of its own
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class _Lines(logging.Formatter):
    """A line of a library's logger, in the same form as ours."""

    def __init__(self, shared: list[Any], renderer: Any) -> None:
        super().__init__()
        self._processors = [*shared, renderer]

    def format(self, record: logging.LogRecord) -> str:
        line: Any = {"event": record.getMessage(), "logger": record.name}
        for processor in self._processors:
            line = processor(None, record.levelname.lower(), line)
        return str(line)
