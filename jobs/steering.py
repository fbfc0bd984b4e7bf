"""Moving a watermark by hand: what is meant, what it will cause, and doing it under the job's lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from jobs.actor import actor
from jobs.config.duration import parse_duration, show_duration
from jobs.config.load import Configuration
from jobs.config.mistakes import one_of
from jobs.looking import Where
from jobs.wiring import Asked, new_run_id, source_class, target
from store.handle import open_store
from store.steering import Read, StreamRow, sinks_of
from store.trail import Deed
from tsi_fetch.clock import StopSignal
from tsi_fetch.counting import count
from tsi_fetch.errors import Usage
from tsi_fetch.words import Cursor, CursorKind, WorkList

Figures = dict[str, Any]
How = Literal["set", "skip", "rewind", "reset"]

EARLIEST = 1900
"""The first year that a watermark is set back to: sources count an overlap back from it, and calendars begin."""

_TIMES = (CursorKind.DATE, CursorKind.INSTANT)


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for.  `stream`: None for the only one; `to`: a value, or a span for `rewind`; None: forget it."""

    verb: Literal["set", "rewind", "reset"]
    stream: str | None = None
    to: str | None = None
    skip: bool = False


@dataclass(frozen=True, slots=True)
class Steered:
    """What a wish will cause.  `after`: None where the watermark is forgotten.

    `overlap`, `checkpoint`: rows settled inside the overlap, and of an unfinished pass; `work`: open lists; `read`: by
    the runs since `after`; `rows`, `live`: rows of the source that are remembered, and what is alive at the sink.
    """

    job: str
    sink: str
    stream: str
    how: How
    before: Cursor
    after: Cursor | None
    overlap: int
    checkpoint: int
    work: tuple[WorkList, ...]
    read: Read | None
    rows: int
    live: int


def standing(where: Where, job: str) -> list[Figures]:
    """Where each stream of the job stands, at each sink; one that was never read is named, too."""
    configuration = where.configuration(job)
    declared: str = source_class(configuration, job).stream
    rows: list[Figures] = []
    with where.opened(configuration, job) as stored:
        for sink in (sinks_of(stored, job) if stored else []) or [configuration.job(job).sink]:
            found = list(stored.reader(job, sink).steering.streams()) if stored else []
            if declared not in {row.stream for row in found}:
                found.append(StreamRow(declared, None, None, 0, ()))
            rows += [{"job": job, "sink": sink, **_stream(row)} for row in found]
    return rows


def _stream(row: StreamRow) -> Figures:
    cursor = row.cursor
    return {
        "stream": row.stream,
        "watermark": cursor.value if cursor else None,
        "kind": cursor.kind.value if cursor else None,
        "moved": row.moved.isoformat(timespec="seconds") if row.moved else None,
        "overlap": len(cursor.seen) if cursor else 0,
        "checkpoint": row.checkpoint,
        "work": [_list(work) for work in row.work],
    }


def _list(work: WorkList) -> Figures:
    return {"list": work.id, "kind": work.kind, "left": work.left, "total": work.total, "complete": work.complete}


def lines(rows: Sequence[Figures]) -> list[Figures]:
    """The same for a table: a line of words for the lists."""
    told = [{**row, "work": [work_in_words(work) for work in row["work"]]} for row in rows]
    told = [{**row, "watermark": row["watermark"] or "none: a first load is next"} for row in told]
    return [{name: value for name, value in row.items() if name != "kind"} for row in told]


def work_in_words(work: Figures) -> str:
    return f"{work['kind']}: {work['left']:,} of {count(work['total'], 'key')} left"


def foresee(configuration: Configuration, asked: Asked, wish: Wish) -> Steered:
    """What the wish will cause, by what the store says now; nothing is written.  Usage where it cannot be meant."""
    to = target(configuration, asked, None)
    with open_store(to.store.reveal()) as stored:
        book = stored.reader(asked.job, to.sink)
        rows = book.steering.streams()
        row = _chosen(rows, str(source_class(configuration, asked.job).stream), wish.stream, asked.job)
        if row.cursor is None:
            raise Usage(
                f"{row.stream} of {asked.job} has no watermark at {to.sink}: nothing was read yet, or it was reset",
                "the next run is a first load, and sets it",
            )
        how, after = aim(row.cursor, wish, stored.now())
        since = _begin_of(after) if after and how != "skip" else None
        return Steered(
            job=asked.job,
            sink=to.sink,
            stream=row.stream,
            how=how,
            before=row.cursor,
            after=after,
            overlap=len(row.cursor.seen),
            checkpoint=row.checkpoint,
            work=row.work,
            read=book.steering.read_since(since) if since else None,
            rows=book.steering.rows_remembered(),
            live=sum(book.live().values()),
        )


def _chosen(rows: Sequence[StreamRow], declared: str, named: str | None, job: str) -> StreamRow:
    by_name = {declared: StreamRow(declared, None, None, 0, ()), **{row.stream: row for row in rows}}
    if named is None and len(by_name) == 1:
        return by_name[declared]
    if named not in by_name:
        problem = f"there is no stream {named!r} of {job}" if named is not None else f"{job} has several streams"
        raise Usage(problem, f"name {one_of(by_name)}; tsi-fetch watermark show {job}")
    return by_name[named]


def aim(before: Cursor, wish: Wish, now: datetime) -> tuple[How, Cursor | None]:
    """Where a watermark goes, and whether that is back or forward.  Pure; `now` in UTC; Usage where it may not.

    Forward is past what nobody has settled, and only by the name of `skip`; of values without an order nobody knows.
    """
    if wish.verb == "reset" or wish.to is None:
        return "reset", None
    after = _rewound(before, wish.to) if wish.verb == "rewind" else _read(before.kind, wish.to)
    if before.kind in _TIMES and _begin_of(after).year < EARLIEST:
        raise _too_early()
    if after.value == before.value:
        raise Usage(f"the watermark stands at {before.value} already", "rewind it by a span to have more read again")
    if before.kind in _TIMES and after.precedes(before):
        return wish.verb, after
    if wish.verb == "rewind":
        raise Usage(
            f"{after.value} is not before {before.value}, where the watermark stands",
            "rewind goes back only: by a span like 7d, or to a value before that",
        )
    if before.kind in _TIMES and _begin_of(after) > now:
        raise Usage(f"{after.value} is not over yet", "a watermark is never later than now: what comes would be lost")
    if not wish.skip:
        raise Usage(
            f"from {before.value} to {after.value} would pass what was never read: a watermark moves on by being read",
            "if what lies between is to be left out for good, say --skip; `run --full` reads it all",
        )
    return "skip", Cursor(after.kind, after.value, before.seen)


def _rewound(before: Cursor, to: str) -> Cursor:
    if before.kind not in _TIMES:
        raise Usage(
            f"a watermark of the kind {before.kind.value} has no before and after: it cannot be rewound",
            "reset has everything read again",
        )
    try:
        span = parse_duration(to)
    except ValueError:
        return _read(before.kind, to, or_a_span=True)
    try:
        if before.kind is CursorKind.INSTANT:
            return Cursor(before.kind, (datetime.fromisoformat(before.value) - span).isoformat())
        if span % timedelta(days=1):
            raise Usage(f"this watermark counts days; {show_duration(span)} is not whole days", "write it like 7d")
        return Cursor(before.kind, (date.fromisoformat(before.value) - span).isoformat())
    except OverflowError:
        raise _too_early() from None


def _too_early() -> Usage:
    return Usage(f"no source tells of what changed before {EARLIEST}", "reset has everything read again")


def _read(kind: CursorKind, value: str, *, or_a_span: bool = False) -> Cursor:
    """A value of this kind, spelt as sources do.  `or_a_span`: whether a span would have been as good."""
    try:
        if kind is CursorKind.DATE:
            return Cursor(kind, date.fromisoformat(value).isoformat())
        if kind is CursorKind.INSTANT:
            instant = datetime.fromisoformat(value)
            if instant.tzinfo is None:
                raise ValueError("no zone")
            return Cursor(kind, instant.astimezone(UTC).isoformat())
        value.encode()  # half a surrogate pair is what the shell's bytes become that are no UTF-8
    except (ValueError, OverflowError):
        raise _unreadable(kind, value, or_a_span=or_a_span) from None
    if not value.strip():
        raise Usage("the value is empty", "reset forgets a watermark")
    return Cursor(kind, value)


def _unreadable(kind: CursorKind, value: str, *, or_a_span: bool) -> Usage:
    if or_a_span:
        what = f"{value!r} is neither a span of time, like 7d, nor {_KINDS[kind]}"
        return Usage(what, "days are d, hours h, minutes m, seconds s; a span is not zero")
    what = f"{value!r} is no value of this watermark, which is {_KINDS[kind]}"
    if kind not in _TIMES:
        return Usage(what, "tsi-fetch watermark show says what it is now")
    return Usage(what, "write it like that; a span, like 7d, is for rewind")


_KINDS = {
    CursorKind.DATE: "a day like 2026-03-02",
    CursorKind.INSTANT: "an instant with its zone, like 2026-03-02T08:30:00Z",
    CursorKind.OPAQUE: "UTF-8 text of the source's own",
    CursorKind.SNAPSHOT: "UTF-8 text of the source's own",
}


def _begin_of(cursor: Cursor) -> datetime:
    """The earliest instant that a date or an instant can mean here: in UTC."""
    if cursor.kind is CursorKind.DATE:
        return datetime.combine(date.fromisoformat(cursor.value), time(), UTC)
    return datetime.fromisoformat(cursor.value)


def steer(configuration: Configuration, asked: Asked, planned: Steered, why: str, stop: StopSignal) -> None:
    """Do it: under the job's lease, in one transaction with its entry in the audit trail.

    TryAgain where the watermark is not any more where `foresee` saw it, or another runner has the job.
    """
    to = target(configuration, asked, None)
    with open_store(to.store.reveal()) as stored:
        clock = stored.clock(stop)
        expiry = configuration.job(asked.job).lease_expiry.total_seconds()
        run_id = new_run_id(clock.now())
        with stored.lease(asked.job, to.sink, run_id, expiry=expiry, wait=clock.sleep) as book:
            deed = Deed(actor(), f"watermark {planned.how}", why, _detail(planned))
            if planned.after is None:
                book.steering.forget(planned.stream, planned.before, deed)
            elif planned.how == "skip":
                book.steering.skip(planned.stream, planned.before, planned.after, deed)
            else:
                book.steering.rewind(planned.stream, planned.before, planned.after, deed)


def _detail(planned: Steered) -> Figures:
    return {
        "stream": planned.stream,
        "kind": planned.before.kind.value,
        "from": planned.before.value,
        "to": planned.after.value if planned.after else None,
        "checkpoint": planned.checkpoint,
        "work": [_list(work) for work in planned.work],
    }


def figures(planned: Steered) -> Figures:
    """JSON types only."""
    return {
        "job": planned.job,
        "sink": planned.sink,
        "how": planned.how,
        **_detail(planned),
        "overlap": planned.overlap,
        "read_since": asdict(planned.read) if planned.read else None,
        "rows_remembered": planned.rows,
        "live": planned.live,
    }
