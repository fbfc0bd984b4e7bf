"""What a run reads, in which order: rows that could not be fetched before, the feed, then slices of an open work list.

A first load and `--full` are a work list of all keys; the feed is always read first, so that a long load never keeps
the night's changes waiting.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tsi_fetch import guards
from tsi_fetch.counting import are, count
from tsi_fetch.errors import Exit, Guarded, TryAgain
from tsi_fetch.validators import usable
from tsi_fetch.words import Batch, Brought, Cursor, KeyPage, ListKind, Ref, State, Validators, WorkList

if TYPE_CHECKING:
    from tsi_fetch.context import Run

MOST_PASSES = 5
"""A listing is read again until two passes agree, at most so often."""

MOST_NAMED = 50
"""Refs that a guard names one by one."""


Batches = Generator[tuple[Batch, Brought] | None, None, None]
"""Batches for the loop to settle, with what brought them.  None: all before are to be
settled before it goes on."""


def read_all(run: Run) -> Batches:
    """Everything that this run is to read."""
    if run.settings.only:
        yield from _only(run, run.settings.only)
        return
    stream = run.source.stream
    cursor = run.store.position(stream).cursor  # a checkpoint may be large: only the feed keeps it
    run.tally.watermark = (cursor, cursor)
    work = _under_way(run)
    if work is None and (run.settings.full or cursor is None):
        work = _new_list(run, "first" if cursor is None else "full")
    elif work is not None:
        _goes_on(run, work)
    yield from _unfetched(run)
    whole = yield from _feed(run)
    if work is not None and whole:
        yield from _lists(run, work)
    if work is not None:
        _left(run)


def _under_way(run: Run) -> WorkList | None:
    """The list to go on with.  One of which nothing is left is over, where everything is to be read anew: whoever did
    the last of it may not have lived to close it."""
    work = run.store.open_list(run.source.stream)
    while run.settings.full and work is not None and not work.left and not run.store.take(work.id, 1):
        work = run.store.open_list(run.source.stream)
    return work


def _goes_on(run: Run, work: WorkList) -> None:
    """An open list is gone on with; that it is not complete, the run that began it may not have lived to say."""
    if not work.complete and work.kind in ("first", "full"):  # the others are not of the whole listing
        why = f"the {work.kind} load that is gone on with came of it"
        _incomplete(run, why, f"read it again with --full once {count(work.left, 'key')} of it {are(work.left)} done")
    if run.settings.full:
        if run.settings.again and not work.again:
            run.store.ask_again(work.id)
        run.tally.note(
            f"a {work.kind} load is under way ({work.left:,} of {count(work.total, 'key')} left) and is gone on with"
        )


def _only(run: Run, keys: Sequence[str]) -> Batches:
    """These keys, whatever the feed says: neither watermark, checkpoint nor work is read or moved."""
    cursor = run.store.position(run.source.stream).cursor
    run.tally.watermark = (cursor, cursor)
    scopes, main = list[str](), list[str]()
    for batch in _until_stopped(run, run.source.fetch(keys)):
        yield batch, Brought.KEY
        scopes += [claim.key for row in batch.rows for claim in row.scopes]
        main += [row.scopes[0].key for row in batch.rows if row.scopes]  # what stands beside it may well be empty
    yield None
    for key, state in run.store.scopes(main).items():
        if not state.refs and not run.tally.may_be_troubled(key):
            run.tally.note(f"the source has nothing for {key}, and no resource belongs to it")
    _vanish_guard(run, frozenset(scopes))
    run.store.advance(run.source.stream, None, clear=False, scopes=scopes)


def _unfetched(run: Run) -> Batches:
    """Keys that could not be fetched are asked for again by every run, until one can; so is what killed
    runs have left half written, or changed behind our backs."""
    unfetched = run.store.unfetched(run.source.stream)
    run.unfetched_before = frozenset(unfetched)
    keys = [*unfetched, *sorted(run.asked_again.difference(unfetched))]
    for batch in _until_stopped(run, run.source.fetch(keys)) if keys else ():
        yield batch, Brought.KEY


def _feed(run: Run) -> Generator[tuple[Batch, Brought] | None, None, bool]:
    """The change feed, whole.  The watermark moves once, at its end; False where time ran out before it."""
    stream = run.source.stream
    cursor: Cursor | None = None
    for batch in _until_stopped(run, run.source.pull(run.store.position(stream), run.started)):
        yield batch, Brought.FEED
        cursor = batch.cursor or cursor
        if run.out_of_time() and batch.cursor is None:
            _out_of_time(run, "the feed was not read to its end: the next run goes on")
            yield None
            return False
    yield None
    _end(run, cursor, clear=True)
    return True


def _lists(run: Run, work: WorkList) -> Batches:
    """The open lists, the oldest first: where a guard held back what was removed, several may be open again."""
    at: WorkList | None = work
    while at is not None:
        run.works_off(at)
        yield from _slices(run, at)
        at = None if run.out_of_time() else run.store.open_list(run.source.stream, at.id)
        if at is not None:
            _goes_on(run, at)
    run.works_off(None)


def _slices(run: Run, work: WorkList) -> Batches:
    """Slices of an open list, until it is done or the time is up; none while workers are at it (`backfill work`)."""
    done, after, before = 0, 0, tuple[tuple[int, str], ...]()
    run.progress("load", work.total - work.left, work.total)
    while not run.out_of_time():
        if run.store.worked_on(work.id):
            run.tally.note(f"workers are at it: tsi-fetch backfill show {work.id}")
            break
        items = tuple(run.store.take(work.id, run.settings.slice, after))
        if not items and not after:
            break
        if not items:  # the end; what is on its way is done once it is settled
            yield None
            after = 0
            continue
        if not after and items == before:
            raise TryAgain(
                f"the source gives no row for {count(len(items), 'key')} of its own listing", "see what it answers"
            )
        before, after = before if after else items, items[-1][0]
        keys = [key for _, key in items]
        known = {} if run.again else _validators(run, keys)
        for batch in _until_stopped(run, run.source.fetch(keys, known)):
            yield batch, Brought.LIST
            done += len(batch.rows)
            run.progress("load", work.total - work.left + done, work.total)
            if run.out_of_time():
                break
    yield None
    _end(run, None, clear=False)


def _left(run: Run) -> None:
    """Say what of the open lists is left."""
    left = run.store.open_list(run.source.stream)
    while left is not None:
        if left.left:
            run.tally.remainder += left.left
            keys = f"{left.left:,} of {count(left.total, 'key')} of the {left.kind} load"
            _out_of_time(run, f"{keys} {are(left.left)} left for the next run")
        left = run.store.open_list(run.source.stream, left.id)


def _validators(run: Run, keys: Sequence[str]) -> Mapping[str, Validators]:
    """By what the answers of these rows can be asked for."""
    return usable(run.store.validators(keys, run.source.mapping), run.settings.identity)


def _end(run: Run, cursor: Cursor | None, *, clear: bool) -> None:
    """End a pass: past the vanish guard, what is pending is accepted and the watermark moves: last of all."""
    stream = run.source.stream
    _vanish_guard(run)
    with run.tally.phase("remember"):
        run.store.advance(stream, cursor, clear=clear)
    if cursor is not None:
        run.tally.watermark = (run.tally.watermark[0], cursor)


def _vanish_guard(run: Run, scopes: frozenset[str] | None = None) -> None:
    """`Guarded` where more is to go than one run may remove, counted with what earlier passes of this run let go.

    `scopes`: of these alone (None: of all).
    """
    undecided = [p for p in run.store.pending() if not p.accepted and (scopes is None or p.scope in scopes)]
    if not undecided:
        return
    holders = run.store.holders(sorted({p.ref for p in undecided}))
    refs = guards.going(undecided, holders, run.settings.job)
    known = run.store.known(sorted(refs))
    refs = frozenset(ref for ref in refs if ref in known and known[ref].state is State.LIVE)  # what is gone cannot go
    most, accepted = run.settings.max_vanish, run.settings.accept_vanish
    tripped = guards.vanishing(refs, run.store.live(), most, accepted, run.let_go)
    if not tripped:
        run.let_go.update(ref.type for ref in refs)
        return
    run.store.discard(run.source.stream)
    run.tally.note(f"would vanish: {_some(refs)}")
    what = ", ".join(f"{v.going} of {v.live} {v.type}" for v in tripped)
    before = ", ".join(f"{run.let_go[v.type]} {v.type}" for v in tripped if run.let_go[v.type])
    others = f"{before} of it were let go before, and no more is" if before else "nothing is removed"
    raise Guarded(
        f"too much would vanish: {what}; {others}",
        f"see whether the source lost them; if they are really gone: --accept-vanish {max(v.going for v in tripped)}",
    )


def _some(refs: frozenset[Ref]) -> str:
    """The first of them, by name, and how many more."""
    named, more = sorted(refs)[:MOST_NAMED], len(refs) - MOST_NAMED
    return ", ".join(map(str, named)) + (f" and {more:,} more" if more > 0 else "")


def _until_stopped(run: Run, batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches, as long as nobody asks the run to stop; the time spent waiting for the source is counted."""
    ahead = run.air.reading(batches, lambda: not run.out_of_time())
    while True:
        run.stop.check()
        with run.tally.phase("wait"):
            batch = next(ahead, None)
        if batch is None:
            return
        yield batch
        run.progress("rows", run.tally.rows["read"], None)


def _out_of_time(run: Run, what: str) -> None:
    run.tally.partial = True
    run.tally.note(what)


def _new_list(run: Run, kind: ListKind) -> WorkList:
    """Read the listing until two passes agree; a first load's list sets the watermark in the same transaction."""
    stream = run.source.stream
    list_id = run.store.begin_list(kind, stream, again=run.settings.again)
    cursor: Cursor | None = None
    agreed, unreadable, seen = False, 0, 0
    for number in range(1, MOST_PASSES + 1):
        unreadable, seen = 0, 0
        for page in _pages(run):
            run.stop.check()
            cursor = cursor or page.cursor
            unreadable += page.unreadable
            seen += len(page.keys)
            with run.tally.phase("remember"):
                run.store.note_keys(list_id, number, page.keys)
            run.progress("listing", seen, None)
        agreed = number > 1 and run.store.agree(list_id, number)
        if agreed and not unreadable:
            break
    if not seen:
        raise TryAgain("the source's listing is empty", "a register is never empty: ask again later")
    complete = agreed and not unreadable
    if not complete:
        lost = f"{unreadable} of its rows cannot be read"
        _incomplete(run, lost if unreadable else f"no two of {MOST_PASSES} readings agreed")
    work = run.store.start_list(list_id, complete=complete, cursor=cursor if kind == "first" else None)
    if kind == "first":
        run.tally.watermark = (None, cursor)
    return work


def _pages(run: Run) -> Iterator[KeyPage]:
    """One pass over the listing; the time spent waiting for it is counted."""
    pages = iter(run.source.keys())
    while True:
        with run.tally.phase("wait"):
            page = next(pages, None)
        if page is None:
            return
        yield page


def _incomplete(run: Run, why: str, hint: str = "read it again with --full") -> None:
    run.said_incomplete = True
    run.tally.reason(
        Exit.QUARANTINE,
        f"the listing was incomplete ({why})",
        f"what it gave is loaded, and nothing is removed because of it; {hint}",
    )
