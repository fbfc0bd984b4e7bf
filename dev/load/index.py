"""All that a sink holds, noted in a file: a checker asks it product by product, and keeps nothing in memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.load.resources import Noted, noted

AT_ONCE = 2_000  # rows of one insert

_TABLES = """
CREATE TABLE seen (type TEXT, ref TEXT, number INT, version TEXT, run TEXT, owner TEXT, label TEXT, over INT,
                   facts TEXT, digest BLOB, last INT DEFAULT 0);
CREATE TABLE known (ref TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE asked (owner TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_FINISH = """
CREATE INDEX seen_ref ON seen (ref, number);
UPDATE seen SET last = 1 WHERE number = (SELECT max(number) FROM seen AS other WHERE other.ref = seen.ref);
CREATE INDEX seen_owner ON seen (owner, last);
CREATE INDEX seen_label ON seen (type, label, last);
"""
_COLUMNS = "type, ref, number, version, run, owner, label, over, facts, digest"


@dataclass(frozen=True, slots=True)
class Version:
    """One version as the sink gives it.  `body` is None for a deletion; `run`: who wrote it, where the sink tells."""

    type: str
    ident: str
    number: int
    version: str
    body: bytes | None
    run: str | None = None


@dataclass(frozen=True, slots=True)
class There:
    """One version as it was noted; `digest` is None for a deletion."""

    type: str
    ref: str
    number: int
    version: str
    run: str | None
    owner: str
    label: str
    over: bool
    facts: Any
    digest: bytes | None


class Index:
    """Made of a sink's versions, in any order.  `unreadable`: refs of what is none of CIMA's resources."""

    def __init__(self, path: Path, versions: Iterable[Version]) -> None:
        path.unlink(missing_ok=True)
        self._db = sqlite3.connect(path)
        self._db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;{_TABLES}")
        self.unreadable: list[str] = []
        self._fill(versions)
        self._db.executescript(_FINISH)

    def close(self) -> None:
        self._db.close()

    def _fill(self, versions: Iterable[Version]) -> None:
        rows: list[tuple[Any, ...]] = []
        for version in versions:
            rows.append(self._row(version))
            if len(rows) >= AT_ONCE:
                self._insert(rows)
                rows = []
        self._insert(rows)

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        self._db.executemany(f"INSERT INTO seen ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._db.commit()

    def _row(self, v: Version) -> tuple[Any, ...]:
        ref = f"{v.type}/{v.ident}"
        found = self._noted(ref, v.body) if v.body is not None else Noted("", "", True, None, b"")
        facts = json.dumps(found.facts) if found.facts is not None else None
        digest = found.digest if v.body is not None else None
        return v.type, ref, v.number, v.version, v.run, found.owner, found.label, int(found.over), facts, digest

    def _noted(self, ref: str, body: bytes) -> Noted:
        try:
            return noted(body)
        except (KeyError, IndexError, StopIteration, ValueError):
            self.unreadable.append(ref)
            return Noted("", "", False, None, b"")

    def of(self, *owners: str) -> list[There]:
        """The last versions of what belongs to these; whoever asks has asked for them (`strangers`)."""
        self._db.executemany("INSERT OR IGNORE INTO asked VALUES (?)", [(owner,) for owner in owners])
        return list(self._rows(f"owner IN ({', '.join('?' * len(owners))}) AND last = 1", *owners))

    def labelled(self, kind: str, label: str) -> list[There]:
        return list(self._rows("type = ? AND label = ? AND last = 1", kind, label))

    def last(self, kind: str) -> Iterator[There]:
        """The last versions of a type."""
        return self._rows("type = ? AND last = 1", kind)

    def at(self, ref: str) -> There | None:
        """What is there now."""
        return next(self._rows("ref = ? AND last = 1", ref), None)

    def histories(self) -> Iterator[list[There]]:
        """All versions of each resource that has more than one, oldest first."""
        some: list[There] = []
        for one in self._rows("ref IN (SELECT ref FROM seen WHERE number > 1) ORDER BY ref, number"):
            if some and some[0].ref != one.ref:
                yield some
                some = []
            some.append(one)
        if some:
            yield some

    def strangers(self) -> Iterator[str]:
        """What is there, belongs to somebody, and was asked for by nobody."""
        where = "last = 1 AND digest IS NOT NULL AND type <> 'Organization' AND owner NOT IN (SELECT owner FROM asked)"
        return (row[0] for row in self._db.execute(f"SELECT ref FROM seen WHERE {where}"))

    def remember(self, refs: Iterable[str]) -> None:
        """These are what a store remembers."""
        self._db.executemany("INSERT OR IGNORE INTO known VALUES (?)", [(ref,) for ref in refs])

    def forgotten(self) -> Iterator[str]:
        where = "last = 1 AND digest IS NOT NULL AND ref NOT IN (SELECT ref FROM known)"
        return (row[0] for row in self._db.execute(f"SELECT ref FROM seen WHERE {where}"))

    def written(self) -> dict[tuple[str, str], int]:
        """How many versions of each type each run wrote."""
        found = self._db.execute("SELECT run, type, count(*) FROM seen WHERE run IS NOT NULL GROUP BY run, type")
        return {(run, kind): number for run, kind, number in found}

    def size(self) -> tuple[int, int]:
        """Resources that are there, and versions of all that ever were."""
        now = self._db.execute("SELECT count(*) FROM seen WHERE last = 1 AND digest IS NOT NULL").fetchone()
        return int(now[0]), int(self._db.execute("SELECT count(*) FROM seen").fetchone()[0])

    def _rows(self, where: str, *values: object) -> Iterator[There]:
        for row in self._db.execute(f"SELECT {_COLUMNS} FROM seen WHERE {where}", values):
            kind, ref, number, version, run, owner, label, over, facts, digest = row
            said = json.loads(facts) if facts else None
            yield There(kind, ref, number, version, run, owner, label, bool(over), said, digest)
