"""How the command line speaks: results to stdout, errors and logs to stderr, and never a secret to either."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, TextIO

from jobs.config.secret import Secrets
from jobs.reporting.place import Place
from jobs.reporting.unheard import unheard
from jobs.reporting.visible import visible, visible_all
from tsi_fetch.errors import TryAgain

if TYPE_CHECKING:
    from jobs.planning import Listing
    from jobs.reporting.progress import Shown
    from tsi_fetch.errors import TsiFetchError


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and "KUBERNETES_SERVICE_HOST" not in os.environ


class Voice:
    """Decides between text for a person and JSON lines for a log; what it writes went through `secrets`."""

    def __init__(self) -> None:
        self.secrets = Secrets()
        self.as_json = False
        self.place = Place()
        self.log = "text" if _is_terminal(sys.stderr) else "json"
        self._configured = False

    def speak(self, *, log: str | None = None, as_json: bool = False, place: Place | None = None) -> None:
        """Called first by a command: how it was asked to speak, and where it looks.  A run that logs JSON reports JSON,
        too."""
        from jobs.reporting.logs import configure

        self.place = place or self.place
        self.log = log or self.log
        self.as_json = as_json
        configure(self.log, self.secrets, sys.stderr)
        self._configured = True

    def tell_of(self, job: str) -> None:
        """What is recommended from now on is about this job: a number alone means nothing where there are several
        stores."""
        from jobs.config.load import Reach, load_configuration

        jobs = load_configuration(self.place.config, reach=Reach(), secrets=self.secrets).settings.jobs
        if len({one.store for one in jobs.values()}) > 1:
            self.place = replace(self.place, job=job)

    def show(self, value: Any, text: str) -> None:
        """A result: `value` as JSON where that was asked for, else `text`."""
        self._write(sys.stdout, _line(self.secrets.redact_all(value)) if self.as_json else self._fit(text))

    def say(self, text: str) -> None:
        """What is about to be done: for whoever watches, so not among the results."""
        if self._logs_json():
            self._json_line("about to", "info", {"what": text})
        else:
            self._write(sys.stderr, self._fit(text))

    def clean(self, value: Any) -> Any:
        """A JSON value, for a table: secrets are struck out before a narrow column may break them in two."""
        return visible_all(self.secrets.redact_all(value))

    def report(self, report: Mapping[str, Any], places: Sequence[str] = (), listing: Listing | None = None) -> None:
        """A run's report: as a person likes to read it, or as one line.  `places`: where its results are; `listing`:
        what a plan would do to each resource."""
        from jobs.reporting.line import report_line
        from jobs.reporting.planned import planned_text
        from jobs.reporting.text import report_text

        clean = self.secrets.redact_all({**report, "places": list(places)} if places else dict(report))
        if self.as_json or self.log == "json":
            line = report_line(clean)
            self._write(sys.stdout, line) if listing is None else self._with_members(line, listing)
        else:
            text = report_text(visible_all(clean), colour=_is_terminal(sys.stdout))  # colours are not to be shown
            self._write(sys.stdout, self.secrets.redact(self.place.completed(text)))
            if listing is not None:
                for listed in planned_text(self._clean_each(listing), listing.more):
                    self._write(sys.stdout, listed)

    def _clean_each(self, listing: Listing) -> Iterator[Any]:
        return (self.secrets.redact_all(entry) for entry in listing.entries())

    def _with_members(self, line: str, listing: Listing) -> None:
        """The report's object, with the list as its last members; an entry at a time is in memory."""
        from tsi_fetch.fhir.tokens import dump

        pieces = chain([f'{line[:-1]}, "resources": ['], _separated(map(dump, self._clean_each(listing))))
        self._pieces(chain(pieces, [f'], "more": {listing.more}}}\n']))

    def progress(self) -> Shown:
        """Draws on a terminal, logs sparsely elsewhere."""
        from jobs.reporting.progress import Drawn, Logged

        return Drawn(sys.stderr) if self.log == "text" and _is_terminal(sys.stderr) else Logged()

    def error(self, message: str, hint: str, code: int) -> None:
        """What went wrong and what to do, once, at the end."""
        hint = self.place.completed(hint)
        if self._logs_json():
            self._json_error("error", {"error": message, "hint": hint, "exit_code": int(code)})
            return
        text = f"tsi-fetch: {message}\n" + (f"what to do: {hint}\n" if hint else "")
        self._write(sys.stderr, self._fit(text))

    def errors(self, troubles: Sequence[TsiFetchError]) -> None:
        """Beside what is shown all the same."""
        for trouble in troubles:
            self.error(trouble.message, trouble.hint, trouble.exit_code)

    def help(self, text: str) -> None:
        """What there is, for somebody who named no command: it is their mistake, so not among the results."""
        self._write(sys.stderr, text)

    def bug(self, what: str, frames: Sequence[str]) -> None:
        hint = "this is a bug in tsi-fetch: please report the lines above (they hold no data)"
        if self._logs_json():
            self._json_error("bug", {"error": what, "frames": list(frames), "hint": hint, "exit_code": 70})
            return
        lines = "\n".join(frames)
        self._write(sys.stderr, self._fit(f"tsi-fetch: an unexpected {what}\n{lines}\nwhat to do: {hint}\n"))

    def _fit(self, text: str) -> str:
        return visible(self.secrets.redact(text))

    def _logs_json(self) -> bool:
        # before a command has said how it speaks, the command line itself is wrong: a person reads that
        return self._configured and self.log == "json"

    def _json_error(self, event: str, fields: Mapping[str, Any]) -> None:
        self._json_line(event, "error", fields)

    def _json_line(self, event: str, level: str, fields: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat()  # the line's own stamp, as structlog's: nothing is decided by it
        line = {"event": event, "level": level, "timestamp": now, **self.secrets.redact_all(fields)}
        self._write(sys.stderr, _line(line))

    @staticmethod
    def _write(stream: TextIO, text: str) -> None:
        """Write and flush.  A reader who went away (`| head`) takes nothing from the run: its exit code stands.
        TryAgain where what was found cannot be written; what went wrong besides is told as far as it can be."""
        Voice._pieces([text if text.endswith("\n") else text + "\n"], stream)

    @staticmethod
    def _pieces(pieces: Iterable[str], stream: TextIO | None = None) -> None:
        out = stream or sys.stdout
        try:
            for text in pieces:  # half a surrogate pair cannot be written; JSON's way
                out.write(text.encode("utf-8", "backslashreplace").decode())
            out.flush()
        except OSError as e:
            unheard(out)
            if out is sys.stdout and not isinstance(e, BrokenPipeError):
                raise TryAgain(
                    f"what was found cannot be written: {e.strerror}", "make room where the output goes to"
                ) from e


def _separated(values: Iterable[bytes]) -> Iterator[str]:
    for number, value in enumerate(values):
        yield f"{', ' if number else ''}{value.decode()}"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
