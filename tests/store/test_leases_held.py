"""One runner a job: contention, takeover, fencing, heartbeats."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update

from store import queries
from store.handle import Stored
from store.leases import Fence, Heart
from store.schema import leases
from tsi_fetch.clock import microseconds
from tsi_fetch.errors import LeaseLost, TryAgain
from tsi_fetch.words import Cursor, CursorKind, Known, Mark, Ref, RunRecord, Settlement

S = "changes"
AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
A = Ref("Organization", "a")
SETTLEMENT = Settlement(S, known=(Known(A, "cima", b"d" * 16, "1", 5, 1),), checkpoint=("1",))
LONG = 3600.0
"""An expiry in which no test's heartbeat comes round."""


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


def expire(stored: Stored) -> None:
    """The holder was paused: its lease ran out an hour ago, on the store's clock."""
    with stored.database.write() as conn:
        conn.execute(update(leases).values(expires=stored_now(stored) - timedelta(hours=1)))


def stored_now(stored: Stored) -> datetime:
    return datetime.now(UTC)


def test_who_waits_for_a_held_lease_waits_one_expiry_and_tries_again_later(stored: Stored) -> None:
    waits: list[float] = []
    with stored.lease("cima", "out", "run-1", expiry=LONG, wait=never) as book:
        with pytest.raises(TryAgain, match="cima") as refused, stored.lease("cima", "out", "run-2", wait=waits.append):
            raise AssertionError("two hold it")
        assert type(refused.value) is TryAgain
        assert 60 <= sum(waits) <= 61
        book.settle(SETTLEMENT)
    with stored.lease("cima", "out", "run-3", wait=never) as book:
        assert A in book.known([A])


def test_another_jobs_lease_is_its_own(stored: Stored) -> None:
    with (
        stored.lease("cima", "out", "run-1", expiry=LONG, wait=never) as one,
        stored.lease("other", "out", "run-2", expiry=LONG, wait=never) as two,
    ):
        one.settle(SETTLEMENT)
        two.settle(Settlement(S, checkpoint=("9",)))
        assert two.position(S).checkpoint == {"9"}


def test_a_lease_is_of_the_job_whatever_its_sink(stored: Stored) -> None:
    with (
        stored.lease("cima", "out", "run-1", expiry=LONG, wait=never),
        pytest.raises(TryAgain),
        stored.lease("cima", "another", "run-2", expiry=0.1, wait=lambda s: None),
    ):
        raise AssertionError("two hold it")


def test_a_waiter_gets_the_lease_as_soon_as_it_is_given_back(stored: Stored) -> None:
    with ExitStack() as first:
        first.enter_context(stored.lease("cima", "out", "run-1", expiry=LONG, wait=never))
        with stored.lease("cima", "out", "run-2", wait=lambda seconds: first.close()) as book:
            book.settle(SETTLEMENT)
            assert A in book.known([A])


def test_a_holder_that_was_overtaken_changes_nothing(stored: Stored) -> None:
    with stored.lease("cima", "out", "run-1", expiry=LONG, wait=never) as paused:
        paused.begin_run(RunRecord("run-1", "cima", AT))
        expire(stored)
        with stored.lease("cima", "out", "run-2", expiry=LONG, wait=never) as successor:
            successor.begin_run(RunRecord("run-2", "cima", AT))
            for act in (
                lambda: paused.settle(SETTLEMENT),
                lambda: paused.advance(S, Cursor(CursorKind.DATE, "2026-03-02"), clear=True),
                lambda: paused.discard(S),
                lambda: paused.intend(Mark("run-1", 1)),
                lambda: paused.marked(Mark("run-1", 1)),
                lambda: paused.begin_list("first", S),
                lambda: paused.note_keys(1, 1, ["a"]),
                lambda: paused.start_list(1, complete=True, cursor=None),
                lambda: paused.end_run(RunRecord("run-1", "cima", AT, AT, "done", 0)),
                paused.permit,
            ):
                with pytest.raises(LeaseLost):
                    act()
            assert (successor.known([A]), successor.position(S).checkpoint) == ({}, frozenset())
            assert successor.marks() == (None, None)
        outcomes = {r.record.id: r.record.outcome for r in queries.runs(stored)}
        assert outcomes == {"run-1": "lost", "run-2": "running"}
    holder = queries.lease(stored, "cima")
    assert holder is not None
    assert holder.holder is None


def test_the_loser_does_not_give_back_its_successors_lease(stored: Stored) -> None:
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(stored.lease("cima", "out", "run-1", expiry=LONG, wait=never))
        expire(stored)
        second.enter_context(stored.lease("cima", "out", "run-2", expiry=LONG, wait=never))
        first.close()
        held = queries.lease(stored, "cima")
        assert held is not None
        assert held.holder == "run-2"


def test_a_run_that_ended_is_not_marked_as_lost(stored: Stored) -> None:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        book.begin_run(RunRecord("run-1", "cima", AT))
        book.end_run(RunRecord("run-1", "cima", AT, AT, "failed", 75))
    with stored.lease("cima", "out", "run-2", wait=never):
        assert [r.record.outcome for r in queries.runs(stored)] == ["failed"]


def test_a_heartbeat_renews_the_lease_and_notices_its_loss(stored: Stored) -> None:
    with stored.lease("cima", "out", "run-1", expiry=LONG, wait=never):
        expire(stored)
        fence = Fence("cima", 1, LONG, alone=False)
        heart = Heart(stored.database, fence, LONG)
        assert heart.beat() is True
        fence.permit()
        held = queries.lease(stored, "cima")
        assert held is not None
        assert held.expires is not None
        assert held.expires > datetime.now(UTC) + timedelta(minutes=50)
        with stored.database.write() as conn:
            conn.execute(update(leases).values(fence=2))
        assert heart.beat() is False
        with pytest.raises(LeaseLost):
            fence.permit()


def test_the_heartbeat_beats_by_itself(stored: Stored) -> None:
    with stored.lease("cima", "out", "run-1", expiry=0.2, wait=never) as book:
        first = queries.lease(stored, "cima")
        for _ in range(2000):
            now = queries.lease(stored, "cima")
            assert now is not None
            assert first is not None
            if now.expires != first.expires:
                break
        assert now.expires != first.expires
        book.settle(SETTLEMENT)


def test_nothing_is_sent_once_the_last_good_heartbeat_is_too_old() -> None:
    fence = Fence("cima", 1, 60.0, alone=False)
    fence.permit()
    fence.good(since=-1e9)
    with pytest.raises(LeaseLost):
        fence.permit()


def test_a_view_that_only_reads_refuses_to_write(stored: Stored) -> None:
    reader = stored.reader("cima", "out")
    for act in (
        lambda: reader.settle(SETTLEMENT),
        lambda: reader.advance(S, None, clear=False),
        lambda: reader.discard(S),
        lambda: reader.begin_list("first", S),
        lambda: reader.intend(Mark("run-1", 1)),
        lambda: reader.begin_run(RunRecord("run-1", "cima", AT)),
        reader.permit,
    ):
        with pytest.raises(RuntimeError, match="only reads"):
            act()
    assert reader.position(S).cursor is None


def test_instants_are_kept_to_the_microsecond(stored: Stored) -> None:
    with stored.lease("cima", "out", "run-1", wait=never) as book:
        moment = datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
        book.begin_run(RunRecord("run-1", "cima", moment))
    (run,) = queries.runs(stored)
    assert run.record.started == moment
    with stored.database.read() as conn:
        assert conn.execute(text("SELECT started FROM runs")).scalar() == microseconds(moment) == -1


def test_who_waits_says_at_once_for_which_run_and_how_long(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    told: list[list[str]] = []

    def wait(seconds: float) -> None:
        told.append([record.getMessage() for record in caplog.records])

    with stored.lease("cima", "out", "run-1", expiry=20, wait=never):
        assert caplog.records == []
        with pytest.raises(TryAgain), stored.lease("cima", "out", "run-2", expiry=60, wait=wait):
            raise AssertionError("two hold it")
    [said] = told[0]
    assert told[-1] == [said]  # once, however long it waits
    assert said.startswith("waiting for the lease of cima, which run run-1 on ")
    assert " holds: for 60 s at the most; where that run was killed, for " in said
    assert 0 < int(said.split()[-2]) <= 20


def test_who_need_not_wait_says_nothing(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as killed:
        killed.enter_context(stored.lease("cima", "out", "run-1", expiry=LONG, wait=never))
        expire(stored)
        with stored.lease("cima", "out", "run-2", wait=never):
            assert caplog.records == []
