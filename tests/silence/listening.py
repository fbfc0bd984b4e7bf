"""Everything that came out, by outlet, and the search in it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import re
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import psycopg

from jobs.__main__ import main
from jobs.cli.group import cli
from jobs.cli.voice import Voice
from tsi_fetch.errors import Usage

OURS = ("jobs", "sinks", "sources", "store", "tsi_fetch")
LOGGERS = (*OURS, "alembic", "asyncio", "concurrent", "httpcore", "httpx", "psycopg", "sqlalchemy")
SPOKEN = ("runs", "audit", "quarantine", "waiting")
"""Tables that are outlets of their own; all others are `other`."""


@dataclass
class Heard:
    """Texts by outlet, each with what brought it forth.  `surprises`: commands that did not end as they should; `run`:
    every command line that was, with its exit code."""

    texts: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    run: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)

    def add(self, outlet: str, origin: str, text: object) -> None:
        """`text`, as it is and without the breaks that a table puts into it."""
        plain = str(text)
        squeezed = re.sub(r"[\s│]+", "", plain)
        self.texts[outlet].append((origin, f"{plain}\n{squeezed}"))

    def where(self, outlet: str, words: tuple[str, ...]) -> list[str]:
        """What said any of these words at this outlet: origin, and a little of what is around it."""
        spelt = [spelling for word in words for spelling in spellings(word)]
        return [f"{origin}: …{around(text, s)}…" for origin, text in self.texts[outlet] for s in spelt if s in text]


def around(text: str, word: str) -> str:
    at = text.find(word)
    return text[max(0, at - 80) : at + 80]


def spellings(word: str) -> list[str]:
    """A word as it is, in a URL, in JSON, and in Base64."""
    spelt = (word, quote(word, safe=""), quote(word), json.dumps(word)[1:-1], word.replace("/", "\\/"))
    return list(dict.fromkeys((*spelt, base64.b64encode(word.encode()).decode().rstrip("="))))


class Records(logging.Handler):
    """Keeps what loggers say before anybody strikes anything out: our own all, libraries their warnings."""

    def __init__(self, heard: Heard) -> None:
        super().__init__()
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING or record.name.partition(".")[0] in OURS:
            self._heard.add("logs", record.name, record.getMessage())


@contextlib.contextmanager
def debugging(heard: Heard) -> Iterator[None]:
    """All libraries at DEBUG, heard at the source; their lines go on to whatever the command line has set up."""
    records = Records(heard)
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).addHandler(records)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
            logging.getLogger(name).removeHandler(records)


def say(heard: Heard, *arguments: str, outlet: str = "said") -> tuple[int, str]:
    """Run one command in this process; what it writes is heard.  Its exit code and its stdout."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    heard.run.append((arguments, code))
    shown = " ".join(arguments[:3])
    heard.add(outlet, f"stdout of {shown}", out.getvalue())
    heard.add("said", f"stderr of {shown}", err.getvalue())
    return code, out.getvalue()


def raised(heard: Heard, *arguments: str) -> Exception | None:
    """The same command without the one who turns exceptions into words: the exception's own texts are heard."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            cli.main(args=list(arguments), prog_name="tsi-fetch", standalone_mode=False, obj=Voice())
        except (click.ClickException, Usage) as e:
            return e  # its text quotes what was typed; what `main` makes of it is heard by `say`
        except Exception as e:  # noqa: BLE001  # whatever it is: its texts are what is tried here
            heard.add("raised", " ".join(arguments[:3]), f"{e}\n{e!r}\n{e.args}\n{vars(e)}")
            return e
    return None


def hear_sqlite(heard: Heard, file: Path) -> None:
    """All tables of a store, and the bytes of its files."""
    with contextlib.closing(sqlite3.connect(file)) as conn:
        names = [name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            _table(heard, name, conn.execute(f'SELECT * FROM "{name}"').fetchall())
    for part in sorted(file.parent.glob(f"{file.name}*")):
        heard.add("file", part.name, part.read_bytes().decode("latin-1"))


def hear_postgres(heard: Heard, url: str) -> None:
    with psycopg.connect(url) as conn:
        names = [n for (n,) in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()]
        for name in names:
            _table(heard, name, conn.execute(f'SELECT * FROM "{name}"').fetchall())


def _table(heard: Heard, name: str, rows: list[Any]) -> None:
    outlet = name.removesuffix("_for") if name.removesuffix("_for") in SPOKEN else "other"
    for row in rows:
        for value in row:
            heard.add(outlet, f"table {name}", _readable(value))


def _readable(value: Any) -> str:
    if isinstance(value, bytes | memoryview):
        raw = bytes(value)
        try:
            raw += zlib.decompress(raw)
        except zlib.error:  # it was none of the packed ones
            raw += b""
        return raw.decode("utf-8", "replace")
    return str(value)


def hear_folder(heard: Heard, outlet: str, folder: Path) -> None:
    """Every file in it, and its name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            heard.add(outlet, path.name, f"{path.relative_to(folder)}\n{path.read_bytes().decode('utf-8', 'replace')}")
