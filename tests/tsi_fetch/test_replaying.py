"""Quarantined rows once more, through today's code."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from datetime import timedelta

import pytest
from house import House, org
from table_source import TODAY, organization

from store import queries
from store.handle import open_store
from tsi_fetch.fhir.tokens import parse
from tsi_fetch.words import Change, Fault, Row, Upsert

TOMORROW = TODAY + timedelta(days=1)


def lying(house: House, state: str = "open") -> list[tuple[str, str, int, str | None]]:
    with open_store(house.url) as stored:
        return [(row.key, row.fault.code, row.attempts, row.why) for row in queries.quarantine(stored, state=state)]


@pytest.fixture
def troubled(loaded: House) -> House:
    """A night has brought a row that the mapping of that day could not use."""
    mapped = loaded.source.to_changes

    loaded.source.change("p1", {"a": "A2", "s": "shared"})
    meant = loaded.source._row("p1", ()).answers[0].body
    loaded.source.broken.add("p1")
    assert loaded.run().exit_code == 65
    loaded.source.broken.clear()

    def today(row: Row) -> Sequence[Change]:
        """A mapping that knows what the odd answer means."""
        if row.answers[0].body == b"oops":
            return [Upsert(org(i), organization(i, n), row.key, row.order) for i, n in parse(meant).items()]
        return mapped(row)

    loaded.source.to_changes = today  # type: ignore[method-assign]
    return loaded


def test_what_the_code_of_today_can_use_is_written_and_leaves_the_quarantine(troubled: House) -> None:
    asked = list(troubled.source.asked)
    report = troubled.replay()
    assert (report.outcome, report.exit_code) == ("done", 0)
    assert report.counts == {"Organization": {"unchanged": 1, "updated": 1}}
    assert troubled.names()["a"] == "A2"
    assert troubled.source.asked == asked, "the source was not asked"
    assert lying(troubled) == []
    assert lying(troubled, "closed") == [("p1", "not-json", 1, "replayed")]


def test_it_is_no_last_success_and_the_next_night_changes_nothing(troubled: House) -> None:
    with open_store(troubled.url) as stored:
        before = queries.status(stored)[0].last_success
    troubled.replay()
    with open_store(troubled.url) as stored:
        assert queries.status(stored)[0].last_success == before
    assert troubled.run().counts == {}


def test_what_still_fails_stays_with_one_more_attempt(loaded: House) -> None:
    loaded.source.broken.add("p1")
    loaded.source.change("p1", {"a": "A2"})
    loaded.run()
    report = loaded.replay()
    assert (report.exit_code, [t.key for t in report.quarantined]) == (65, ["p1"])
    assert lying(loaded) == [("p1", "not-json", 2, None)]


def test_newer_answers_of_another_row_stay_and_the_entry_too(troubled: House) -> None:
    """A row of parts speaks for the same scope, and has come since."""
    troubled.source.table["p9"] = {"a": "A9"}
    row = troubled.source._row

    def speaks_for_p1(key: str, settles: tuple[str, ...]) -> Row:
        made = row(key, settles)
        return made if key != "p9" else Row("p9", made.answers, made.order, row("p1", ()).scopes, settles)

    mapped = troubled.source.to_changes

    def into_p1(row: Row) -> Sequence[Change]:
        found = mapped(row)
        return (
            [Upsert(u.ref, u.body, "p1", u.order) for u in found if isinstance(u, Upsert)] if row.key == "p9" else found
        )

    troubled.source._row, troubled.source.to_changes = speaks_for_p1, into_p1  # type: ignore[method-assign]
    troubled.source.change("p9", {"a": "A9"}, TOMORROW)
    assert troubled.run().exit_code == 0
    assert troubled.names()["a"] == "A9"
    report = troubled.replay()
    assert report.exit_code == 65
    assert "newer answers have come since" in report.reasons[0].what
    assert troubled.names()["a"] == "A9"
    assert lying(troubled) == [("p1", "not-json", 1, None)], "with its own reason, as it was"
    assert troubled.replay().exit_code == 65, "and can be tried as often as anybody likes"


def test_what_could_not_be_fetched_since_is_still_asked_for(troubled: House) -> None:
    """Two entries of one key: the answers of the first night, and that the second night could fetch none."""
    troubled.source.unfetched.add("p1")
    troubled.source.change("p1", {"a": "A3", "s": "shared"}, TOMORROW)
    assert troubled.run().exit_code == 65
    report = troubled.replay()
    assert report.exit_code == 65
    assert "has no stored answers" in report.reasons[0].what
    assert troubled.names()["a"] == "A2"
    assert troubled.reader(lambda s: s.unfetched("changes")) == ["p1"]
    troubled.source.unfetched.clear()
    assert troubled.run().exit_code == 0
    assert troubled.names()["a"] == "A3"


def test_a_refused_change_is_mapped_anew_from_its_row(loaded: House) -> None:
    loaded.sink.refuse = {org("a"): Fault("sink", "$", "not today")}
    loaded.source.change("p1", {"a": "A2", "s": "shared"})
    assert loaded.run().exit_code == 65
    assert loaded.replay().exit_code == 65
    assert [entry[2] for entry in lying(loaded)] == [2]
    loaded.sink.refuse = {}
    assert loaded.replay().exit_code == 0
    assert loaded.names()["a"] == "A2"
    assert lying(loaded) == []
    assert loaded.run().counts == {}


def test_what_leaves_by_a_replay_is_left_to_the_next_run_and_its_guard(troubled: House) -> None:
    mapped = troubled.source.to_changes
    troubled.source.to_changes = lambda row: [u for u in mapped(row) if u.ref != org("a")]  # type: ignore[method-assign]
    assert troubled.replay().exit_code == 0
    assert "a" in troubled.names()
    assert troubled.run(removal="delete").counts == {"Organization": {"deleted": 1}}


def test_a_replay_holds_few_rows_however_many_lie_in_quarantine(loaded: House) -> None:
    keys = [f"m{n}" for n in range(60)]
    loaded.source.broken.update(keys)
    for key in keys:
        loaded.source.change(key, {key: key})
    assert loaded.run(accept_refusals=60).exit_code == 65
    mapped, held = loaded.source.to_changes, list[int]()

    def counting(row: Row) -> Sequence[Change]:
        held.append(sum(isinstance(thing, Row) for thing in gc.get_objects()))
        return mapped(row)

    loaded.source.to_changes = counting  # type: ignore[method-assign]
    loaded.source.told.clear()
    loaded.source.settled = lambda batch: None  # type: ignore[method-assign]  # which would keep them
    gc.collect()
    assert loaded.replay().troubles == 60
    assert len(held) == 60
    assert max(held) - held[0] < 30
