"""What the store remembers against what the sink holds, and what the runs said against how they ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from dev.load.index import Index
from store.handle import open_store
from store.job_store import JobBook
from store.queries import quarantine, runs
from tests.faults.records import COUNTED, false_ends
from tests.faults.seen import Ended, Evidence
from tsi_fetch.words import Known, RunRecord, State

JOB, SINK, STREAM = "cima", "epi", "registroCambios"
MOST_RUNS = 10_000
Told = Iterator[str]


def misremembered(store: str, index: Index, *, verbatim: bool) -> Told:
    """`verbatim`: the sink keeps what it is sent as it is sent, so that digests can be compared."""
    with open_store(store) as stored:
        book = stored.reader(JOB, SINK)
        for known in _all_known(book):
            index.remember([str(known.ref)])
            yield from _other(known, index, verbatim=verbatim)
        yield from (f"{ref} is at the sink, and nobody remembers it" for ref in index.forgotten())
        yield from (f"{p.ref} is still to go" for p in book.pending())
        yield from (f"{ref} waits" for ref in book.waiting_graph())
        work = book.open_list(STREAM)
        if work:
            yield f"{work.left} keys of a {work.kind} load are left"
        for row in quarantine(stored, JOB):
            yield f"{row.key} lies in quarantine for {row.fault.code}, and all the register says can be used"


def _other(known: Known, index: Index, *, verbatim: bool) -> Told:
    there = index.at(str(known.ref))
    if there is None or there.digest is None:
        if known.state is not State.DELETED:
            yield f"{known.ref} is remembered, and is nowhere"
        return
    if known.state is State.DELETED:
        yield f"{known.ref} is remembered as deleted, and is there"
    elif known.version != there.version:
        yield f"{known.ref} is remembered in another version than it is in"
    elif verbatim and known.digest != there.digest:
        yield f"{known.ref} is remembered with another content"
    elif known.state is State.RETIRED and not there.over:
        yield f"{known.ref} is remembered as retired, and is not over"


def _all_known(book: JobBook) -> Iterator[Known]:
    """Page by page."""
    after = 0
    while page := book.entries(after, 1000):
        yield from (entry.known for entry in page)
        after = page[-1].number


def misreported(ends: Sequence[Ended], index: Index, *, histories: bool) -> Told:
    """`histories`: the sink says which run made which version."""
    yield from false_ends(Evidence({}, set(), {}, runs=ends))
    for end in ends:
        if end.code < 0 and end.recorded is None and end.outcome not in ("lost", None):
            yield f"{end.run} was killed, and is recorded as {end.outcome}"
    yield from _miscounted(ends, index) if histories else ()


def _miscounted(ends: Sequence[Ended], index: Index) -> Told:
    """A run that ended by itself has counted what it made; one that was stopped may have been told of less.  What a
    killed one never heard of, another one may have found out."""
    written = index.written()
    unheard = {end.run for end in ends if end.recorded is None}
    slack: Counter[str] = Counter()
    for (run, kind), number in written.items():
        slack[kind] += number * (run in unheard)
    for end in ends:
        told = {
            kind: sum(number for word, number in actions.items() if word in COUNTED)
            for kind, actions in end.report.get("counts", {}).items()
        }
        mine = {kind: number for (run, kind), number in written.items() if run == end.run}
        for kind in sorted(told.keys() | mine.keys()):
            said, made = told.get(kind, 0), mine.get(kind, 0)
            if said > made + slack[kind] or (said < made and end.said in (0, 65)):
                yield f"{end.run} counted {said} {kind} written, and made {made} versions"


def as_recorded(store: str, ends: Sequence[Ended]) -> list[Ended]:
    """The same runs as their records say now: one that was killed is called lost only later."""
    with open_store(store) as stored:
        records = {row.record.id: row.record for row in runs(stored, JOB, MOST_RUNS)}
    return [_recorded(end, records.get(end.run)) for end in ends]


def _recorded(end: Ended, record: RunRecord | None) -> Ended:
    return Ended(end.run, end.code, record.outcome, record.exit_code, record.report) if record else end
