"""Runs, the marker, and what lies in quarantine."""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from store.access import Access
from store.bulk import among, now, put
from store.schema import jobs, marks, quarantine, runs
from tsi_fetch.words import Mark, RunRecord


class Trouble(NamedTuple):
    """An open entry of the quarantine, without its bodies."""

    stream: str
    key: str
    digest: bytes
    opened: datetime
    unfetched: bool


_TROUBLE = [quarantine.c[name] for name in Trouble._fields]


class Ledger:
    """`replay` marks runs that took their input from a recording, `list_id` those of a backfill's workers, of which
    `expiry` is for how many seconds their sign of life lasts."""

    def __init__(
        self, access: Access, *, replay: bool = False, list_id: int | None = None, expiry: float | None = None
    ) -> None:
        self._access = access
        self._replay = replay
        self._list, self._expiry = list_id, expiry

    def begin_run(self, record: RunRecord) -> None:
        access = self._access
        values = {
            **_values(record),
            "id": record.id,
            "job": access.job_no,
            "started": record.started,
            "host": socket.gethostname(),
            "fence": access.guard.number if access.guard else None,
            "replay": self._replay,
            "whole": record.whole,
            "list": self._list,
        }
        with access.write() as conn:
            alive = None if self._expiry is None else now(conn) + timedelta(seconds=self._expiry)
            new = insert(runs).values(**values, alive_until=alive)
            number = int(conn.execute(new.returning(runs.c.no)).scalar_one())
        access.run = (number, record.id)

    def end_run(self, record: RunRecord) -> None:
        """`LeaseLost` where a successor has the job: it has marked this run as lost already."""
        with self._access.write() as conn:
            conn.execute(update(runs).where(runs.c.id == record.id).values(_values(record)))

    def unfetched(self, stream: str) -> Sequence[str]:
        """Row keys in quarantine because they could not be fetched, in order."""
        return sorted({t.key for t in self.troubles() if t.unfetched and t.stream == stream})

    def in_quarantine(self, stream: str, digests: Sequence[bytes]) -> frozenset[bytes]:
        """Which of these lie open in quarantine already.  A batch's handful: no need for one parameter."""
        these = (quarantine.c.stream == stream, quarantine.c.digest.in_(digests))
        with self._access.read() as conn:
            found = conn.scalars(select(quarantine.c.digest).where(*self._lying(), *these)) if digests else ()
            return frozenset(bytes(digest) for digest in found)

    def once_unfetched(self, stream: str, keys: Collection[str]) -> Sequence[Trouble]:
        """Entries of these keys that could not be fetched, open or closed.  For a plan."""
        mine = (quarantine.c.job == self._access.job_no, quarantine.c.stream == stream)
        with self._access.read() as conn:
            these = (*mine, quarantine.c.unfetched.is_(True), among(conn, quarantine.c.key, keys))
            return [Trouble(*row) for row in conn.execute(select(*_TROUBLE).where(*these))] if keys else []

    def ran(self, run: str, *, anybody: bool = False) -> bool:
        """True where this id is a run of this job, at whatever sink (`anybody`: of any job): what it wrote is ours."""
        query = select(jobs.c.name).join(runs, runs.c.job == jobs.c.id).where(runs.c.id == run)
        with self._access.read() as conn:
            job = conn.scalar(query)
        return job is not None and (anybody or job == self._access.job)

    def oldest_quarantine(self) -> datetime | None:
        with self._access.read() as conn:
            oldest: datetime | None = conn.scalar(select(func.min(quarantine.c.opened)).where(*self._lying()))
        return oldest

    def troubles(self) -> Sequence[Trouble]:
        """Everything that lies in this job's quarantine."""
        with self._access.read() as conn:
            return [Trouble(*row) for row in conn.execute(select(*_TROUBLE).where(*self._lying()))]

    def _lying(self) -> tuple[ColumnElement[bool], ...]:
        return (quarantine.c.job == self._access.job_no, quarantine.c.closed.is_(None))

    def marks(self) -> tuple[Mark | None, Mark | None]:
        """The remembered marker and the intended one."""
        columns = (marks.c.intended, marks.c.run, marks.c.counter, marks.c.version)
        with self._access.read() as conn:
            found = conn.execute(select(*columns).where(marks.c.job == self._access.job_no))
            by = {row.intended: Mark(row.run, row.counter, row.version) for row in found}
        return by.get(False), by.get(True)

    def intend(self, mark: Mark) -> None:
        with self._access.write() as conn:
            put(conn, marks, [self._mark(mark, intended=True)], on=("job", "intended"))

    def marked(self, mark: Mark) -> None:
        """The move was acknowledged: remember it, forget the intent."""
        with self._access.write() as conn:
            put(conn, marks, [self._mark(mark, intended=False)], on=("job", "intended"))
            conn.execute(delete(marks).where(marks.c.job == self._access.job_no, marks.c.intended.is_(True)))

    def _mark(self, mark: Mark, *, intended: bool) -> dict[str, object]:
        job = self._access.job_no
        return {"job": job, "intended": intended, "run": mark.run, "counter": mark.counter, "version": mark.version}


def ask_again(conn: Connection, job_no: int, stream: str, keys: Collection[str]) -> None:
    """Of these keys, those that were asked for since they could not be fetched are to be asked for once more."""
    mine = (quarantine.c.job == job_no, quarantine.c.stream == stream, among(conn, quarantine.c.key, keys))
    over = (quarantine.c.unfetched.is_(True), quarantine.c.closed.is_not(None))
    conn.execute(update(quarantine).where(*mine, *over).values(closed=None, why=None, opened=now(conn)))


def not_overtaken(conn: Connection, job_no: int, stream: str, keys: Collection[str], *, since: datetime) -> None:
    """Entries of these keys that were overtaken since then lie there again, as old as they are."""
    mine = (quarantine.c.job == job_no, quarantine.c.stream == stream, among(conn, quarantine.c.key, keys))
    over = (quarantine.c.why == "overtaken", quarantine.c.closed >= since)
    conn.execute(update(quarantine).where(*mine, *over).values(closed=None, why=None))


def _values(record: RunRecord) -> dict[str, object]:
    """What may change until a run has ended."""
    report = msgspec.json.encode(dict(record.report)).decode()
    return {"ended": record.ended, "outcome": record.outcome, "exit_code": record.exit_code, "report": report}
