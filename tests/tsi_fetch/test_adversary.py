"""The promises, attacked: kills with a source that moves on, dead keys, second writers, guards at the wrong moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from house import House, org
from memory_sink import MemorySink
from table_source import TODAY, TableSource, organization

from store.handle import open_store
from store.job_store import JobBook
from tsi_fetch.decide import Policy, decide
from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.ports import JobStore, Permit, Sink
from tsi_fetch.words import (
    Action,
    Batch,
    Change,
    Cursor,
    CursorKind,
    Deletion,
    Fault,
    KeyPage,
    Known,
    Outcome,
    Ref,
    Row,
    RunRecord,
    ScopeClaim,
    ScopeSettled,
    Settlement,
    State,
    Upsert,
    Validators,
    Write,
)

TOMORROW = TODAY + timedelta(days=1)


def retired(house: House, ident: str) -> bool:
    return b'"active":false' in house.sink.live()[org(ident)]


class Dies:
    """The process ends right after the nth write of the sink, before anything of it is remembered."""

    def __init__(self, inner: Sink, nth: int = 1) -> None:
        self._inner, self._left = inner, nth

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        self._left -= 1
        outcomes = list(self._inner.write(writes, permit))
        if self._left == 0:
            raise KeyboardInterrupt
        yield from outcomes


def die_after_a_write(house: House, nth: int = 1, **settings: object) -> None:
    with suppress(KeyboardInterrupt):
        house.run(wrap_sink=lambda s: Dies(s, nth), **settings)  # type: ignore[arg-type,return-value]
        pytest.fail("the run was to die")


# -- killed between the write and its memory, and the source moves on


def test_killed_after_an_update_and_the_source_takes_it_back(loaded: House) -> None:
    loaded.source.change("p1", {"a": "A2", "s": "shared"})
    die_after_a_write(loaded)
    assert loaded.names()["a"] == "A2"
    loaded.source.change("p1", {"a": "A", "s": "shared"})
    assert loaded.run().exit_code == 0
    assert loaded.names()["a"] == "A", "what is remembered says A already, and yet the sink holds A2"


@pytest.mark.parametrize("removal", ["retire", "delete"])
def test_killed_after_a_removal_and_the_product_comes_back_as_it_was(loaded: House, removal: str) -> None:
    loaded.source.change("p1", None)
    die_after_a_write(loaded, removal=removal)
    loaded.source.change("p1", {"a": "A", "s": "shared"}, TOMORROW)
    assert loaded.run(removal=removal).exit_code == 0
    assert org("a") in loaded.sink.live()
    assert not retired(loaded, "a")


def test_killed_after_a_creation_and_the_source_moves_on(loaded: House) -> None:
    loaded.source.change("p4", {"d": "D"})
    die_after_a_write(loaded)
    loaded.source.change("p4", {"d": "D2"})
    assert loaded.run().exit_code == 0, "what a killed run of ours made is not foreign"
    assert loaded.names()["d"] == "D2"


class DownAt:
    """The sink is down from its nth send on."""

    def __init__(self, inner: object, sink: MemorySink, nth: int) -> None:
        self._inner, self._sink, self._left = inner, sink, nth

    def permit(self) -> None:
        self._left -= 1
        self._sink.down = self._left <= 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def test_what_was_created_before_the_sink_went_down_goes_with_its_product(loaded: House) -> None:
    loaded.source.change("p4", {"d": "D"})
    loaded.source.change("p5", {"e": "E"})
    loaded.sink.bundle = 1
    report = loaded.run(wrap_store=lambda s: DownAt(s, loaded.sink, 3))  # type: ignore[arg-type,return-value]
    assert (report.exit_code, loaded.names()["d"]) == (75, "D")
    loaded.sink.down = False
    loaded.source.change("p4", None)
    assert loaded.run().exit_code == 0
    assert retired(loaded, "d"), "it is known, and no product holds it"


# -- keys that cannot be fetched


def test_a_few_keys_that_can_never_be_fetched_do_not_stop_the_feed(house: House) -> None:
    for n in range(60):
        house.source.table[f"m{n}"] = {f"m{n}": "M"}
    house.source.unfetched = {"m0", "m1", "m2"}
    assert house.run().exit_code == 65
    house.source.change("p3", {"c": "C2"})
    report = house.run()
    assert house.names()["c"] == "C2"
    assert report.exit_code == 65


def test_many_old_unfetched_keys_do_not_count_against_the_night(house: House) -> None:
    for n in range(500):
        house.source.table[f"m{n}"] = {f"m{n}": "M"}
    house.source.batch = 100
    house.source.unfetched = {f"m{n}" for n in range(0, 440, 20)}  # 22 of 503
    assert house.run().exit_code == 65
    house.source.change("p3", {"c": "C2"})
    assert house.run().exit_code == 65
    assert house.names()["c"] == "C2"


def test_a_removal_found_by_asking_again_is_not_lost_to_a_tripped_guard(loaded: House) -> None:
    for n in range(6):
        loaded.source.change(f"m{n}", {f"m{n}": "M"})
    loaded.source.change("p1", None)
    loaded.source.unfetched = {"p1"}
    assert loaded.run().exit_code == 65
    loaded.source.unfetched.clear()
    for n in range(6):
        loaded.source.change(f"m{n}", None, TOMORROW)
    assert loaded.run().exit_code == 77
    assert loaded.run(accept_vanish=10).exit_code == 0
    assert retired(loaded, "m0")
    assert retired(loaded, "a"), "the feed never names p1 again: it is to be asked for as before"


# -- somebody else's work


def test_what_others_made_after_theirs_was_deleted_is_not_overwritten(loaded: House) -> None:
    loaded.sink.edit(org("a"), None)
    loaded.source.change("p1", None)
    assert loaded.run().exit_code == 0
    loaded.sink.edit(org("a"), organization("a", "somebody's"))
    loaded.source.change("p1", {"a": "A", "s": "shared"}, TOMORROW)
    report = loaded.run()
    assert loaded.names()["a"] == "somebody's"
    assert [t.code for t in report.quarantined] == ["foreign"]


def test_lower_never_replaces_higher_where_the_tombstones_version_is_not_known() -> None:
    body = organization("a", "A")
    gone = Known(org("a"), "job", canonical_digest(body), None, 9, 1, State.DELETED)
    assert decide(Upsert(org("a"), body, "p1", 8), gone, None, Policy("job", 1)).action is Action.OLDER


# -- two jobs at one sink


def other_job(house: House, work: Callable[[JobBook], None]) -> None:
    """Another job of the same store settles something, while the first one runs."""
    with open_store(house.url) as stored, stored.lease("other", "memory", "run-other", wait=lambda s: None) as book:
        book.begin_run(RunRecord("run-other", "other", house.clock.now()))
        work(book)


class Meanwhile:
    """Something happens right before the sink's nth call of one method."""

    def __init__(self, inner: Sink, method: str, happens: Callable[[], None]) -> None:
        self._inner, self._method, self._happens = inner, method, happens

    def __getattr__(self, name: str) -> object:
        value = getattr(self._inner, name)
        if name != self._method:
            return value

        def call(*args: object, **kwargs: object) -> object:
            happens, self._happens = self._happens, lambda: None
            happens()
            return value(*args, **kwargs)

        return call


def test_what_another_job_made_at_the_same_moment_is_not_overwritten(loaded: House) -> None:
    loaded.source.change("p4", {"d": "D"})

    def happens() -> None:
        other_job(loaded, lambda book: loaded.sink.edit(org("d"), organization("d", "theirs"), "run-other"))

    report = loaded.run(wrap_sink=lambda s: Meanwhile(s, "write", happens))  # type: ignore[arg-type,return-value]
    assert (report.exit_code, loaded.names()["d"]) == (65, "theirs")


def test_what_another_job_takes_hold_of_while_removals_go_on_stays(loaded: House) -> None:
    loaded.source.change("p1", None)

    def happens() -> None:
        held = ScopeSettled("q", frozenset({org("a")}), frozenset(), None, None, "q")
        other_job(loaded, lambda book: book.settle(Settlement("changes", scopes=(held,))))

    def at_the_end(store: JobStore) -> JobStore:
        return After(store, "advance", happens)  # type: ignore[return-value]

    report = loaded.run(shared=frozenset({"Organization"}), wrap_store=at_the_end)
    assert report.exit_code == 0
    assert not retired(loaded, "a")


class After:
    """Something happens after the list of what is to go was read for the first time past `method`."""

    def __init__(self, inner: JobStore, method: str, happens: Callable[[], None]) -> None:
        self._inner, self._method, self._happens, self._armed = inner, method, happens, False

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def advance(self, *args: object, **kwargs: object) -> None:
        self._inner.advance(*args, **kwargs)  # type: ignore[arg-type]
        self._armed = True

    def pending(self) -> object:
        found = self._inner.pending()
        if self._armed:
            self._armed = False
            self._happens()
        return found


# -- quarantine


def test_what_is_refused_stays_in_quarantine_for_every_product_that_asks_for_it(loaded: House) -> None:
    loaded.sink.refuse[org("s")] = Fault("hapi-0450", "name", "too long")
    loaded.source.change("p1", {"a": "A", "s": "bad"})
    loaded.source.change("p2", {"b": "B", "s": "bad"})
    assert loaded.run().exit_code == 65
    loaded.source.change("p2", {"b": "B"}, TOMORROW)
    loaded.run()
    assert loaded.reader(lambda s: s.oldest_quarantine()) is not None, "p1 still asks for what was refused"


# -- scopes that are not whole, and explicit deletions


class History(TableSource):
    """Tells changes one by one, deletions too, as a server's history does: `None` deletes `x-<key>`."""

    def _row(self, key: str, settles: tuple[str, ...]) -> Row:
        return replace(super()._row(key, settles), scopes=(ScopeClaim("all", whole=False),))

    def to_changes(self, row: Row) -> Sequence[Change]:
        if row.answers[0].status == 204:
            return [Deletion(org(row.key), "all", row.order)]
        return [replace(u, scope="all") for u in super().to_changes(row) if isinstance(u, Upsert)]


@pytest.fixture
def history(tmp_path: Path) -> House:
    return House(tmp_path, History({"p1": {"p1": "A"}, "p2": {"p2": "B"}, "p3": {"p3": "C"}}, batch=1))


def test_a_later_change_of_a_scope_that_is_not_whole_cancels_no_deletion(history: House) -> None:
    assert history.run().exit_code == 0
    history.source.change("p1", None)
    history.source.change("p2", {"p2": "B2"})
    assert history.run().exit_code == 0
    assert retired(history, "p1")


# -- orphans, and listings


def test_killed_after_a_creation_and_the_product_goes(loaded: House) -> None:
    loaded.source.change("p4", {"d": "D"})
    die_after_a_write(loaded)
    loaded.source.change("p4", None)
    assert loaded.run().exit_code == 0
    assert retired(loaded, "d")


def test_a_first_load_that_could_not_read_all_keys_is_not_green(house: House) -> None:
    house.source.keys = lambda: iter([KeyPage(("p1", "p2"), Cursor(CursorKind.DATE, TODAY.isoformat()), 1)])  # type: ignore[method-assign]
    assert house.run().exit_code != 0


class TooMany(Exception):
    """The source was asked far more often than there are keys."""


def test_a_key_that_the_source_gives_no_row_for_does_not_keep_the_run_for_ever(house: House) -> None:
    fetch, asked = house.source.fetch, []

    def without_p2(keys: Sequence[str], known: Mapping[str, Validators]) -> Iterator[Batch]:
        asked.append(keys)
        if len(asked) > 20:
            raise TooMany
        return fetch([key for key in keys if key != "p2"], known)

    house.source.fetch = without_p2  # type: ignore[method-assign,assignment]
    assert house.run().exit_code == 75
    assert house.names() == {"a": "A", "c": "C", "s": "shared"}


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_full_load_that_is_killed_goes_on_and_removes_what_is_gone(loaded: House, nth: int) -> None:
    loaded.source.table |= {"p1": {"a": "A2", "s": "shared"}, "p3": None, "p4": {"d": "D"}}
    loaded.source.batch = 1
    die_after_a_write(loaded, nth, full=True)
    assert loaded.run(full=True).exit_code == 0
    assert loaded.names()["a"] == "A2"
    assert loaded.names()["d"] == "D"
    assert retired(loaded, "c")
    assert not retired(loaded, "s")


def test_only_beside_an_unfinished_pass_loses_nothing_of_it(loaded: House) -> None:
    loaded.source.batch = 1
    loaded.source.change("p1", {"a": "A2", "s": "shared"})
    loaded.source.change("p3", None)
    loaded.source.down_after = 1
    assert loaded.run().exit_code == 75
    loaded.source.table["p2"] = {"b": "B2", "s": "shared"}
    assert loaded.run(only=("p2",)).exit_code == 0
    loaded.source.down_after = None
    assert loaded.run().exit_code == 0
    assert loaded.names() == {"a": "A2", "b": "B2", "c": "C", "s": "shared"}
    assert retired(loaded, "c")


def test_what_somebody_deletes_while_it_is_being_retired_stays_deleted(loaded: House) -> None:
    loaded.source.change("p3", None)
    write = loaded.sink.write

    def delete_before(writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        loaded.sink.edit(Ref("Organization", "c"), None)
        return write(writes, permit)

    loaded.sink.write = delete_before  # type: ignore[method-assign]
    report = loaded.run()
    assert report.counts == {"Organization": {"deleted": 1}}
    assert Ref("Organization", "c") not in loaded.sink.live()


def test_only_leaves_the_work_of_a_list_to_the_list(house: House) -> None:
    house.slow_fetches(60)
    left = house.run(max_duration=timedelta(seconds=30)).remainder
    house.run(only=("p3",))
    work = house.reader(lambda s: s.open_list("changes"))
    assert (left, work.left) == (1, 1)


def test_what_the_sink_refuses_to_create_is_not_counted_as_alive(house: House) -> None:
    house.sink.refuse[Ref("Organization", "a")] = Fault("hapi-0450", "name", "too long")
    house.run()
    assert house.reader(lambda s: s.live()) == {"Organization": 3}
