"""A plan's store answers as the store would have, had the plan been a run; and nothing beneath changes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from store.handle import Stored, open_scratch, open_store
from store.job_store import JobBook
from store.overlay import Overlay
from store.schema import leases, metadata
from tsi_fetch.ports import JobStore
from tsi_fetch.words import (
    Cursor,
    CursorKind,
    Doubt,
    Fault,
    Known,
    Mark,
    Quarantined,
    Ref,
    Row,
    RunRecord,
    ScopeSettled,
    Settlement,
    State,
    Waiting,
    WorkList,
)

S = "changes"
AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
REFS = [Ref(kind, ident) for kind in ("Bundle", "List") for ident in "abcdef"]
ABSENT = [Ref("Composition", ident) for ident in "abc"]
SCOPES = [str(n) for n in range(6)]


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


def contents(stored: Stored) -> dict[str, list[tuple[object, ...]]]:
    """Everything that is stored, leases aside."""
    with stored.database.read() as conn:
        return {
            t.name: sorted((tuple(row) for row in conn.execute(select(t))), key=repr)
            for t in metadata.sorted_tables
            if t is not leases
        }


def trouble(key: str, *, unfetched: bool) -> Quarantined:
    fault = Fault("unfetched" if unfetched else "bad", "$", "a rule")
    row = Row(key, unfetched=fault if unfetched else None)
    return Quarantined(key, row.digest, fault, row)


def settlement(chance: random.Random) -> Settlement:
    """What a batch might settle: some refs move between scopes, some fail, some come back."""
    known = [
        Known(r, chance.choice(["cima", "cima", "other"]), bytes([chance.randrange(9)] * 16), "1", 1, 1, state)
        for r in chance.sample(REFS, 3)
        for state in [chance.choice([State.LIVE, State.LIVE, State.RETIRED])]
    ]
    scopes = []
    for key in chance.sample(SCOPES, 2):
        refs = chance.sample(REFS, 5)
        cut = chance.randrange(5)
        scopes.append(ScopeSettled(key, frozenset(refs[:cut]), frozenset(refs[cut:]), b"r" * 16, 1, key))
    return Settlement(
        S,
        tuple(known),
        tuple(scopes),
        tuple(trouble(k, unfetched=chance.random() < 0.5) for k in chance.sample(SCOPES, 1)),
        tuple(chance.sample(SCOPES, 2)),
        tuple(chance.sample(SCOPES, 3)),
        tuple(chance.sample(SCOPES, 1)),
        tuple(chance.sample(REFS, 1)),
        tuple(waiting(ref, chance) for ref in chance.sample(REFS, chance.randrange(3))),
        tuple((ref, chance.choice([None, 1, 2])) for ref in chance.sample(REFS, 1)),
    )


def waiting(ref: Ref, chance: random.Random) -> Waiting:
    missing = frozenset(chance.sample(ABSENT, 2))
    body = bytes([chance.randrange(9)])
    return Waiting(ref, body, chance.choice(SCOPES), "row", chance.choice([None, 1, 2, 3]), 1, missing)


def doubt(chance: random.Random) -> Doubt:
    """What a batch might be about to write: some of it known, some of it for scopes never seen."""
    refs = chance.sample([*REFS, *ABSENT], 4)
    scopes = [
        ScopeSettled(key, frozenset(chance.sample(refs, 2)), frozenset(), None, None, "row")
        for key in chance.sample([*SCOPES, "new"], 2)
    ]
    return Doubt(tuple(refs), tuple(scopes), 1)


def write(store: JobStore, chance: random.Random) -> None:
    """A note, and the settlement that answers it."""
    number = store.doubt(doubt(chance))
    store.settle(replace(settlement(chance), doubt=number))


def new_list(store: JobStore, chance: random.Random) -> None:
    number = store.begin_list("full", S)
    for n in (1, 2):
        store.note_keys(number, n, chance.sample(SCOPES, 4))
    store.agree(number, 2)
    store.start_list(number, complete=chance.random() < 0.7, cursor=Cursor(CursorKind.DATE, "2026-01-01"))


def take(store: JobStore, chance: random.Random) -> None:
    if works := open_lists(store):
        store.take(chance.choice(works).id, 2)


def open_lists(store: JobStore) -> list[WorkList]:
    found, after = list[WorkList](), 0
    while work := store.open_list(S, after):
        found.append(work)
        after = work.id
    return found


def look_again(store: JobStore, chance: random.Random) -> None:
    """What lost runs noted has arrived, in part."""
    for late in store.late():
        refs = [ref for ref in late.refs if chance.random() < 0.5]
        store.arrived(late.of(refs), [ref for ref in refs if chance.random() < 0.3])


def step(store: JobStore, chance: random.Random) -> None:
    acts: list[Callable[[], None]] = [
        lambda: store.settle(settlement(chance)),
        lambda: store.settle(settlement(chance)),
        lambda: store.settle(settlement(chance)),
        lambda: write(store, chance),
        lambda: store.advance(S, Cursor(CursorKind.DATE, f"2026-02-0{chance.randrange(1, 9)}"), clear=True),
        lambda: store.advance(S, None, clear=False, scopes=chance.sample(SCOPES, 2)),
        lambda: store.discard(S),
        lambda: take(store, chance),
        lambda: take(store, chance),
        lambda: store.intend(Mark("run", chance.randrange(9))),
        lambda: store.marked(Mark("run", chance.randrange(9), "1")),
    ]
    chance.choice(acts)()


def seen(store: JobStore) -> dict[str, object]:
    """Everything that a loop can ask; a list's number is its own."""
    return {
        "position": store.position(S),
        "scopes": store.scopes([*SCOPES, "new"]),
        "known": store.known([*REFS, *ABSENT]),
        "pending": sorted(str(replace(p, decided=None)) for p in store.pending()),
        "live": store.live(),
        "holders": store.holders([*REFS, *ABSENT]),
        "graph": store.waiting_graph(),
        "waiting": {w.ref: replace(w, since=None) for w in store.waiting(REFS)},
        "waits": store.oldest_waiting() is not None,
        "lists": [(work.kind, work.complete, work.total, work.left) for work in open_lists(store)],
        "unfetched": store.unfetched(S),
        "in_quarantine": store.in_quarantine(S, [trouble(k, unfetched=False).digest for k in SCOPES]),
        "oldest": store.oldest_quarantine() is None,
        "marks": store.marks(),
        "ran": store.ran("before"),
    }


@contextmanager
def planning(stored: Stored) -> Iterator[Overlay]:
    with open_scratch() as scratch, scratch.lease("cima", "out", "plan", wait=never) as above:
        yield Overlay(stored.reader("cima", "out"), above)


def live_through(book: JobBook, chance: random.Random, steps: int) -> None:
    book.begin_run(RunRecord("before", "cima", AT))
    for _ in range(steps):
        step(book, chance)
    while chance.random() < 0.6 and len(open_lists(book)) < 3:
        new_list(book, chance)
    for _ in range(chance.randrange(3)):  # it was killed between these writes and their settlements
        book.doubt(doubt(chance))
        if chance.random() < 0.5:
            book.recover()


@pytest.mark.parametrize("seed", range(15))
def test_a_plan_sees_what_a_run_would_have_seen(tmp_path: Path, sqlite_template: Path, seed: int) -> None:
    chance = random.Random(seed)
    url = f"sqlite:///{tmp_path / 'beneath.db'}"
    shutil.copy(sqlite_template, tmp_path / "beneath.db")
    with open_store(url) as stored, stored.lease("other", "out", "run-0", wait=never) as other:
        other.settle(Settlement(S, scopes=(ScopeSettled("0", frozenset(REFS[:3]), frozenset(), None, None, "0"),)))
        with stored.lease("cima", "out", "run-1", wait=never) as book:
            live_through(book, chance, chance.randrange(12))
        other.settle(Settlement(S, scopes=(ScopeSettled("9", frozenset(REFS[2:5]), frozenset(), None, None, "9"),)))
    shutil.copy(tmp_path / "beneath.db", tmp_path / "twin.db")
    with ExitStack() as stack:
        beneath = stack.enter_context(open_store(url))
        before = contents(beneath)
        plan = stack.enter_context(planning(beneath))
        twin = stack.enter_context(open_store(f"sqlite:///{tmp_path / 'twin.db'}"))
        run = stack.enter_context(twin.lease("cima", "out", "run-2", wait=never))
        run.recover()
        assert seen(plan) == seen(run)
        assert [replace(n, since=None) for n in plan.late()] == [replace(n, since=None) for n in run.late()]
        look_again(plan, random.Random(seed))
        look_again(run, random.Random(seed))
        assert seen(plan) == seen(run)
        for n in range(15):
            one, two = random.Random(f"{seed} {n}"), random.Random(f"{seed} {n}")
            step(plan, one)
            step(run, two)
            assert seen(plan) == seen(run), f"after step {n}"
        assert contents(beneath) == before


def test_a_plans_new_list_asks_what_a_runs_would(stored: Stored) -> None:
    known = tuple(Known(r, "cima", b"d" * 16, "1", 1, 1) for r in REFS[:2])
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        scopes = (ScopeSettled("7#psum", frozenset(REFS[:2]), frozenset(), None, None, "7"),)
        book.settle(Settlement(S, known=known, scopes=scopes))
        book.advance(S, Cursor(CursorKind.DATE, "2026-03-01"), clear=True)
    before = contents(stored)
    with planning(stored) as plan:
        number = plan.begin_list("full", S)
        plan.note_keys(number, 1, ["1", "2"])
        plan.note_keys(number, 2, ["2", "1"])
        assert plan.agree(number, 2) is True
        started = plan.start_list(number, complete=True, cursor=Cursor(CursorKind.DATE, "2026-03-09"))
        assert (started.total, started.left, plan.open_list(S)) == (3, 3, started)
        assert [key for _, key in plan.take(number, 9)] == ["1", "2", "7"]
        plan.settle(Settlement(S, keys=("1", "2", "7")))
        assert plan.take(number, 9) == []
        assert plan.open_list(S) is None
        assert plan.position(S).cursor == Cursor(CursorKind.DATE, "2026-03-01")
        plan.begin_run(RunRecord("plan", "cima", AT))
        plan.end_run(RunRecord("plan", "cima", AT, AT, "done", 0))
        plan.permit()
        assert plan.store_id == stored.store_id
    assert contents(stored) == before


def test_a_plan_accepts_only_what_nobody_holds_beneath_either(stored: Stored) -> None:
    known = tuple(Known(r, "cima", b"d" * 16, "1", 1, 1) for r in REFS[:2])
    one, two = (ScopeSettled(k, frozenset(REFS[:2]), frozenset(), None, None, k) for k in "12")
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        book.settle(Settlement(S, known=known, scopes=(one, two)))
    with planning(stored) as plan:
        plan.settle(Settlement(S, scopes=(ScopeSettled("1", frozenset(), frozenset(REFS[:2]), None, None, "1"),)))
        assert plan.holders(REFS[:1]) == {REFS[0]: {"cima/1", "cima/2"}}
        plan.advance(S, None, clear=True)
        assert plan.pending() == []
        assert plan.holders(REFS[:1]) == {REFS[0]: {"cima/2"}}
