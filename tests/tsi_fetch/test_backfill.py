"""Workers of a backfill, beside nightly runs and each other."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from beside import meanwhile, progress
from house import House, org
from table_source import TODAY

from store import backfills, queries
from store.handle import Stored, open_store
from tsi_fetch.errors import TryAgain
from tsi_fetch.ports import NOTHING, Turns
from tsi_fetch.words import Batch, KeyPage, RunRecord, StampedPage, Validators

TOMORROW = TODAY + timedelta(days=1)


def test_a_backfill_loads_its_keys_and_leaves_watermark_and_marker_alone(house: House) -> None:
    number = house.backfill("p1", "p2", "p3")
    report = house.work(number)
    assert (report.outcome, report.exit_code, report.counts) == (
        "done",
        0,
        {"Organization": {"created": 4}},
    )
    assert house.names() == {"a": "A", "b": "B", "c": "C", "s": "shared"}
    assert progress(house, number) == ("closed", 0, 3, 0)
    assert house.reader(lambda s: s.position("changes").cursor) is None
    assert not house.sink.marks


def test_a_run_after_it_finds_everything_unchanged(house: House) -> None:
    house.work(house.backfill("p1", "p2", "p3"))
    assert house.run().counts == {"Organization": {"unchanged": 4}}


def test_it_is_no_last_success_and_no_run_of_the_job(house: House) -> None:
    house.work(house.backfill("p1"))
    with open_store(house.url) as stored:
        [row] = queries.status(stored, "job")
    assert (row.last_success, row.last, row.work) == (None, None, None)


def test_it_deletes_nothing_and_the_next_run_carries_out_what_left(loaded: House) -> None:
    loaded.source.table["p1"] = {"s": "shared"}
    report = loaded.work(loaded.backfill("p1"))
    assert report.counts == {"Organization": {"unchanged": 1}}
    assert "a" in loaded.names()
    assert loaded.run(removal="delete").counts == {"Organization": {"deleted": 1}}
    assert "a" not in loaded.names()


def test_the_guard_discards_what_a_finished_backfill_decided_and_a_run_asks_anew(loaded: House) -> None:
    for key in ("p1", "p2", "p3"):
        loaded.source.table[key] = None
    number = loaded.backfill("p1", "p2", "p3")
    assert loaded.work(number).exit_code == 0
    assert loaded.run(removal="delete").exit_code == 77
    assert progress(loaded, number)[0] == "closed", "nobody would ever work on it again"
    assert len(loaded.names()) == 4
    assert loaded.run(removal="delete").exit_code == 77, "asked for anew, and refused anew"
    assert loaded.run(removal="delete", accept_vanish=4).counts == {"Organization": {"deleted": 4}}
    assert loaded.run().counts == {}


def test_what_a_run_settles_after_it_was_fetched_is_not_overwritten(loaded: House) -> None:
    """The answers of the worker are older: its claim is gone, and the item is done."""
    loaded.source.change("p1", {"a": "A2", "s": "shared"})

    def night() -> None:
        loaded.source.change("p1", {"a": "A3", "x": "new", "s": "shared"}, TOMORROW)
        assert loaded.run().exit_code == 0

    meanwhile(loaded, night)
    number = loaded.backfill("p1")
    assert loaded.work(number).counts == {}
    assert loaded.names()["a"] == "A3"
    assert loaded.names()["x"] == "new", "older answers, which lack it, do not let it leave"
    assert not loaded.reader(lambda s: s.pending())
    assert progress(loaded, number) == ("closed", 0, 1, 0)


@pytest.mark.parametrize("again", [True, False])
def test_what_was_asked_for_again_is_done_only_by_what_maps_and_sends_it(loaded: House, again: bool) -> None:
    """A run that finds the row unchanged does neither."""
    number = loaded.backfill("p1", "p2", again=again)
    assert loaded.run(full=True).rows["skipped"] == 3
    assert progress(loaded, number) == ("open", 2, 0, 0) if again else ("open", 0, 2, 0)
    report = loaded.work(number, again=again)
    assert (report.exit_code, report.rows.get("read", 0)) == (0, 2 if again else 0)
    assert progress(loaded, number) == ("closed", 0, 2, 0)


def test_answers_that_are_older_than_a_run_are_not_written_again_and_the_item_is_fetched_anew(loaded: House) -> None:
    """The run takes the claim away, and leaves the item to be done."""
    loaded.source.table["p1"] = {"a": "A2", "s": "shared"}

    def night() -> None:
        loaded.source.change("p1", {"a": "A3", "x": "new", "s": "shared"}, TOMORROW)
        assert loaded.run().exit_code == 0
        assert progress(loaded, number) == ("open", 1, 0, 0)

    meanwhile(loaded, night)
    number = loaded.backfill("p1", again=True)
    assert loaded.work(number, again=True).exit_code == 0
    assert loaded.source.asked.count("p1") == 4, "the load, the worker, the night, the worker"
    assert (loaded.names()["a"], loaded.names()["x"]) == ("A3", "new")
    assert not loaded.reader(lambda s: s.pending())
    assert progress(loaded, number) == ("closed", 0, 1, 0)


def test_a_run_again_does_what_was_asked_for_again(loaded: House) -> None:
    number = loaded.backfill("p1", "p2", again=True)
    assert loaded.run(full=True, again=True).exit_code == 0
    assert progress(loaded, number) == ("open", 0, 2, 0)


def test_what_a_run_retires_after_it_was_fetched_stays_retired(loaded: House) -> None:
    def night() -> None:
        loaded.source.change("p3", None, TOMORROW)
        assert loaded.run(removal="delete", accept_vanish=1).counts == {"Organization": {"deleted": 1}}

    meanwhile(loaded, night)
    loaded.source.table["p3"] = {"c": "C2"}
    assert loaded.work(loaded.backfill("p3")).counts == {}
    assert "c" not in loaded.names()


def test_trouble_that_a_run_has_after_it_was_fetched_stays_in_quarantine(loaded: House) -> None:
    def night() -> None:
        loaded.source.broken.add("p1")
        loaded.source.change("p1", {"a": "A2"}, TOMORROW)
        assert loaded.run().exit_code == 65

    meanwhile(loaded, night)
    loaded.work(loaded.backfill("p1"))
    assert loaded.reader(lambda s: s.oldest_quarantine()) is not None


def test_what_a_run_could_not_fetch_after_it_was_fetched_is_asked_for_again(loaded: House) -> None:
    def night() -> None:
        loaded.source.unfetched.add("p1")
        loaded.source.change("p1", {"a": "A2"}, TOMORROW)
        assert loaded.run().exit_code == 65

    meanwhile(loaded, night)
    loaded.work(loaded.backfill("p1"))
    assert loaded.reader(lambda s: s.unfetched("changes")) == ["p1"]
    loaded.source.unfetched.clear()
    assert loaded.run().exit_code == 0
    assert loaded.names()["a"] == "A2"


def test_what_another_worker_settles_meanwhile_is_not_overwritten(loaded: House) -> None:
    """The first one was paused for longer than its claim lasts."""
    number = loaded.backfill("p1")
    loaded.source.table["p1"] = {"a": "old", "s": "shared"}

    def other() -> None:
        loaded.source.table["p1"] = {"a": "new", "s": "shared"}
        assert loaded.work(number).counts == {"Organization": {"unchanged": 1, "updated": 1}}

    meanwhile(loaded, other)
    assert loaded.work(number, expiry=0).counts == {}
    assert loaded.names()["a"] == "new"
    with open_store(loaded.url) as stored:
        assert len(backfills.workers(stored, number)) == 2


def test_a_product_of_its_own_that_one_run_asks_for_withdraws_the_claim_and_it_is_fetched_anew(loaded: House) -> None:
    def only() -> None:
        loaded.source.table["p1"] = {"a": "A3", "s": "shared"}
        assert loaded.run(only=("p1",)).exit_code == 0

    meanwhile(loaded, only)
    loaded.source.table["p1"] = {"a": "A2", "s": "shared"}
    number = loaded.backfill("p1")
    loaded.work(number)
    assert loaded.names()["a"] == "A3"
    assert progress(loaded, number) == ("closed", 0, 1, 0)
    assert [h[0] for h in loaded.sink.history[org("a")]].count(loaded.sink.history[org("a")][-1][0]) == 1


def test_an_item_that_cannot_be_fetched_is_tried_again_then_set_aside_with_its_reason(house: House) -> None:
    house.source.unfetched.add("p1")
    number = house.backfill("p1", "p2")
    report = house.work(number)
    assert (report.outcome, report.exit_code) == ("quarantined", 65)
    assert progress(house, number) == ("closed", 0, 1, 1)
    assert house.source.asked.count("p1") == 3
    with open_store(house.url) as stored:
        assert [(a.key, a.attempts, a.reason) for a in backfills.asides(stored, number, 9)] == [
            ("p1", 3, "answered 500")
        ]
        assert queries.quarantine(stored, "job") == [], "it lies on the list, not in the quarantine"
        house.source.unfetched.clear()
        backfills.resume(stored, number)
    assert house.work(number).exit_code == 0
    assert progress(house, number) == ("closed", 0, 2, 0)


def test_items_that_never_can_be_fetched_are_set_aside_though_nothing_else_is_left(house: House) -> None:
    many = [f"q{n}" for n in range(9)]
    house.source.unfetched.update(many)
    number = house.backfill(*many)
    assert house.work(number, at_once=5).exit_code == 65
    assert progress(house, number) == ("closed", 0, 0, 9)


def test_a_source_that_is_down_is_no_fault_of_the_items(house: House) -> None:
    many = [f"q{n}" for n in range(9)]
    house.source.unfetched.update(many)
    house.source.table.clear()
    house.source.keys = lambda: iter(())  # type: ignore[method-assign]
    number = house.backfill(*many)
    assert house.work(number, at_once=5).exit_code == 75
    assert progress(house, number) == ("open", 9, 0, 0)
    with open_store(house.url) as stored:
        assert backfills.asides(stored, number, 9) == []


def goes_down(house: House, *keys: str) -> None:
    """These cannot be fetched, and the listing cannot be had."""
    house.source.unfetched.update(keys)
    house.source.keys = lambda: iter(())  # type: ignore[method-assign]


def tries(house: House, number: int, key: str) -> int:
    with open_store(house.url) as stored, stored.database.read() as conn:
        found = conn.exec_driver_sql("SELECT attempts FROM work WHERE list = ? AND key = ?", (number, key))
        return int(found.scalar_one())


@pytest.mark.parametrize("keys", [("p1",), ("p1", "p2")])
def test_a_source_that_is_down_is_no_fault_of_one_item_or_two(house: House, keys: tuple[str, ...]) -> None:
    goes_down(house, *keys)
    number = house.backfill(*keys)
    assert house.work(number).exit_code == 75
    assert progress(house, number) == ("open", len(keys), 0, 0)
    assert [tries(house, number, key) for key in keys] == [0] * len(keys)


def test_a_source_that_goes_down_is_no_fault_of_an_item_that_failed_before(house: House) -> None:
    """It is tried again alone."""
    house.source.unfetched.add("p1")
    number = house.backfill("p1", "p2")
    listing, keys = list[int](), house.source.keys

    def once() -> Iterator[KeyPage]:
        listing.append(1)
        return keys() if len(listing) == 1 else iter(())

    house.source.keys = once  # type: ignore[method-assign]
    assert house.work(number, at_once=1).exit_code == 75
    assert tries(house, number, "p1") == 1, "that of the day on which the source was there"
    assert progress(house, number) == ("open", 2, 0, 0)
    house.source.keys = keys  # type: ignore[method-assign]
    house.source.unfetched.clear()
    assert house.work(number).exit_code == 0
    assert progress(house, number) == ("closed", 0, 2, 0)


def test_what_a_source_that_is_there_answers_for_one_product_alone_is_that_items_fault(house: House) -> None:
    house.source.unfetched.add("p1")
    number = house.backfill("p1")
    assert house.work(number).exit_code == 65
    assert progress(house, number) == ("closed", 0, 0, 1)


def test_a_row_that_cannot_be_used_goes_to_quarantine_and_is_done(house: House) -> None:
    house.source.broken.add("p1")
    number = house.backfill("p1", "p2")
    report = house.work(number)
    assert (report.exit_code, [t.key for t in report.quarantined]) == (65, ["p1"])
    assert progress(house, number) == ("closed", 0, 2, 0)


def test_too_many_refusals_halt_it_for_all_workers_until_somebody_resumes_it(house: House) -> None:
    many = [f"q{n}" for n in range(30)]
    house.source.table.update({key: {key: key} for key in many})
    house.source.broken.update(many)
    number = house.backfill(*many)
    assert house.work(number, at_once=30).exit_code == 77
    assert progress(house, number)[0] == "halted"
    assert house.work(number).exit_code == 77, "for whoever comes later"
    with open_store(house.url) as stored:
        backfills.resume(stored, number)
    assert house.work(number, accept_refusals=30).exit_code == 65
    assert progress(house, number) == ("closed", 0, 30, 0)


def test_a_wiped_sink_halts_it(loaded: House) -> None:
    loaded.sink.marks.clear()
    number = loaded.backfill("p1")
    assert loaded.work(number).exit_code == 77
    assert progress(loaded, number)[:2] == ("halted", 1)


def test_what_one_claims_no_other_gets_and_what_is_released_anybody_gets(house: House) -> None:
    number = house.backfill("p1", "p2", "p3")
    with open_store(house.url) as stored:
        one, other = (stored.worker("job", "memory", name, number).claims for name in ("one", "other"))
        assert [item.key for item in one.claim(2)] == ["p1", "p2"]
        assert [item.key for item in other.claim(2)] == ["p3"]
        assert other.claim(2) == []
        one.release()
        assert [item.key for item in other.claim(2)] == ["p1", "p2"]
        assert one.mine() == frozenset()
        assert len(other.mine()) == 3


def test_the_worker_that_let_its_claim_expire_is_lost(house: House) -> None:
    number = house.backfill("p1")
    with open_store(house.url) as stored:
        dead = stored.worker("job", "memory", "dead", number, expiry=0)
        dead.begin_run(RunRecord("dead", "job", house.clock.now(), whole=False))
        assert len(dead.claims.claim(1)) == 1
        assert house.work(number).exit_code == 0
        assert {row.record.id: row.record.outcome for row in backfills.workers(stored, number)}["dead"] == "lost"


def test_a_run_does_not_call_a_worker_lost(loaded: House) -> None:
    number = loaded.backfill("p1", "p2")
    meanwhile(loaded, loaded.run)
    loaded.work(number)
    with open_store(loaded.url) as stored:
        assert [row.record.outcome for row in backfills.workers(stored, number)] == ["done"]


def test_a_cancelled_one_ends_after_what_is_written(house: House) -> None:
    number = house.backfill("p1", "p2", "p3")

    def cancelled() -> None:
        with open_store(house.url) as stored:
            backfills.cancel(stored, number, "tester@desk")

    meanwhile(house, cancelled)
    report = house.work(number, at_once=1)
    assert (report.outcome, report.counts) == ("partial", {})
    assert progress(house, number)[0] == "cancelled"


def test_time_that_is_up_is_no_failure_and_others_go_on(house: House) -> None:
    house.slow_fetches(50)
    number = house.backfill("p1", "p2", "p3")
    report = house.work(number, at_once=1, max_duration=timedelta(seconds=60))
    assert (report.outcome, report.exit_code, report.remainder) == ("partial", 0, 2)
    assert house.work(number).exit_code == 0
    assert progress(house, number) == ("closed", 0, 3, 0)


def test_time_that_is_up_ends_the_wait_for_a_turn_too(house: House) -> None:
    number = house.backfill("p1")
    with open_store(house.url) as stored, stored.lease("job", "memory", "night", expiry=60, wait=lambda s: None):
        report = house.work(number, max_duration=timedelta(seconds=30))
    assert (report.outcome, report.exit_code) == ("partial", 0)
    assert progress(house, number) == ("open", 1, 0, 0)


def test_a_run_that_waits_goes_before_workers(house: House) -> None:
    with open_store(house.url) as stored:
        worker = stored.worker("job", "memory", "worker", house.backfill("p1"))
        with worker.turn("worker", lambda s: None):
            assert not worker.wanted()
            with pytest.raises(TryAgain), stored.lease("job", "memory", "night", expiry=0, wait=lambda s: None):
                pass
            assert worker.wanted()
        tries: list[float] = []

        def impatient(seconds: float) -> None:
            tries.append(seconds)
            raise TryAgain("enough")

        with pytest.raises(TryAgain), worker.turn("worker", impatient):
            pass
        assert tries, "it lets the run pass, though the lease is free"
        with stored.lease("job", "memory", "night", expiry=60, wait=lambda s: None):
            assert not worker.wanted()


@contextmanager
def opened(house: House) -> Iterator[Stored]:
    with open_store(house.url) as stored:
        yield stored


def test_a_worker_killed_after_its_write_leaves_a_note_that_the_next_one_works_in(loaded: House) -> None:
    """The sink is ahead of the store; the source takes its change back."""
    loaded.source.table["p1"] = {"a": "A2", "s": "shared"}
    number = loaded.backfill("p1")
    write = loaded.sink.write

    def dying(*given: Any) -> Any:
        for outcomes in write(*given):
            raise KeyboardInterrupt(str(outcomes))

    loaded.sink.write = dying  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        loaded.work(number)
    loaded.sink.write = write  # type: ignore[method-assign]
    assert loaded.names()["a"] == "A2"
    loaded.source.table["p1"] = {"a": "A", "s": "shared"}
    with opened(loaded) as stored:
        backfills.lost(stored, "worker-2")
    loaded.clock.sleep(1)
    assert loaded.work(number).exit_code == 0
    assert loaded.names()["a"] == "A"


def test_a_window_becomes_the_keys_that_changed_in_it(house: House) -> None:
    since, until = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)

    def changed(begin: datetime, end: datetime) -> Iterator[StampedPage]:
        assert (begin, end) == (since, until)
        inside, outside = since + timedelta(hours=1), until
        yield StampedPage((("p1", inside), ("p2", outside), ("p3", None), ("p1", since)))

    house.source.changed, house.source.zone = changed, UTC  # type: ignore[attr-defined]
    with open_store(house.url) as stored, stored.beginning("job", "memory", "maker", lambda s: None) as book:
        number = backfills.begin(book, stored, "changes", {})
        backfills.add_window(stored, number, since, until)
        book.start_list(number, complete=False, cursor=None)
    report = house.work(number)
    assert (report.exit_code, sorted(house.source.asked)) == (0, ["p1", "p3"])
    assert progress(house, number) == ("closed", 0, 3, 0)


def test_a_source_without_orders_is_fetched_in_the_turn(loaded: House) -> None:
    """Nothing tells whether what was fetched before it is still new."""
    row = loaded.source._row

    def unordered(*given: Any) -> Any:
        return replace(row(*given), order=None)

    loaded.source._row = unordered  # type: ignore[method-assign]
    loaded.source.table["p1"] = {"a": "A2", "s": "shared"}
    holders: list[str | None] = []
    fetch = loaded.source.fetch

    def watched(keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        with open_store(loaded.url) as stored:
            found = queries.lease(stored, "job")
        holders.append(found.holder if found else None)
        yield from fetch(keys, known)

    loaded.source.fetch = watched  # type: ignore[method-assign]
    assert loaded.work(loaded.backfill("p1", "p2", "p3")).exit_code == 0
    assert loaded.names()["a"] == "A2"
    assert holders[0] is None
    assert all(holder and holder.startswith("worker") for holder in holders[1:])
    assert len(holders) == 3


def test_a_key_that_the_source_does_not_know_is_told(house: House) -> None:
    report = house.work(house.backfill("p1", "p1x"))
    assert (report.exit_code, report.notes) == (
        0,
        ("the source has nothing for p1x, and no resource belongs to it",),
    )


def test_a_key_whose_row_is_refused_is_not_called_unknown_to_the_source(house: House) -> None:
    house.sink.edit(org("c"), b'{"resourceType":"Organization","id":"c","name":"somebody else"}')
    report = house.work(house.backfill("p3"))
    assert (report.exit_code, [t.code for t in report.quarantined]) == (65, ["foreign"])
    assert not any("has nothing for" in note for note in report.notes)


def test_who_merely_believes_no_more_what_is_remembered_has_not_written_it(loaded: House) -> None:
    """`explain` names the run that wrote it last."""
    loaded.sink.edit(org("a"), loaded.sink.body(org("b")))
    loaded.source.change("p1", {"a": "A2", "s": "shared"})
    assert loaded.run().exit_code == 65
    with open_store(loaded.url) as stored, stored.database.read() as conn:
        wrote = "SELECT runs.id FROM known JOIN runs ON runs.no = known.run WHERE ident = 'a'"
        assert conn.exec_driver_sql(wrote).scalar() == "run-1"


def test_what_is_fetched_ahead_and_settled_by_a_run_before_its_turn_is_dropped_though_it_is_claimed_anew(
    loaded: House,
) -> None:
    """Ring 1, seed 770: claimed again while the older answers waited for their turn, they passed for the newer ones."""
    fetched = threading.Event()
    fetch = loaded.source.fetch

    def watched(keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        yield from list(fetch(keys, known))
        if "p2" in keys:
            fetched.set()

    class After:
        """The first turn comes when the second slice is fetched, and after a night."""

        def __init__(self, turns: Turns) -> None:
            self.turns, self.wanted = turns, turns.wanted

        def turn(self, *given: Any) -> Any:
            if not fetched.is_set():
                assert fetched.wait(60)
                loaded.source.table["p2"] = {"b": "B2", "x": "new", "s": "shared"}
                assert loaded.run(only=("p2",)).exit_code == 0
            return self.turns.turn(*given)

    loaded.source.fetch = watched  # type: ignore[method-assign]
    number = loaded.backfill("p1", "p2", "p3")
    assert loaded.work(number, at_once=1, wrap_turns=After).exit_code == 0
    assert loaded.names()["b"] == "B2"
    assert loaded.names()["x"] == "new"
    assert not loaded.reader(lambda s: s.pending())
    assert progress(loaded, number) == ("closed", 0, 3, 0)
