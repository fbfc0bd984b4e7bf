"""The checker on the whole: with a defect planted into the program itself, a few lives are enough to turn it red."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from sinks.fhir.server import FhirServer
from sinks.fhir.wire import Wire
from sources.cima import feed, mapping, product, source
from sources.cima.dates import madrid_date
from sources.cima.mapping.package import packages
from store.claims import Claims
from store.handle import Stored
from store.job_store import JobBook
from store.leases import Fence
from store.notes import Notes
from store.schema import work as items
from tests.faults.inside import NOWHERE, TAMPERING, Inside, room, template, tried
from tests.faults.register_story import REFUSED
from tests.faults.working import Working
from tests.sinks.disturbed_hapi import LATE
from tests.sinks.sudden_death import Death, Doom
from tsi_fetch import decide, departures, judge, late, run, write
from tsi_fetch.decide import decide_stale as stale
from tsi_fetch.errors import Guarded, LeaseLost, TryAgain
from tsi_fetch.http.failures import Unreachable
from tsi_fetch.judge import ACKNOWLEDGED, Judged, Turned
from tsi_fetch.marker import Marker
from tsi_fetch.report import Report, Tally
from tsi_fetch.words import (
    Answer,
    Batch,
    Brought,
    Cursor,
    Doubt,
    Fault,
    Known,
    Outcome,
    Result,
    Row,
    RunRecord,
    ScopeClaim,
    Settlement,
    State,
)

MOST_LIVES = 60
Plant = Callable[[pytest.MonkeyPatch], None]


def watermark_before_the_write(patch: pytest.MonkeyPatch) -> None:
    note = run._note

    def before(running: Any, judged: Any, brought: Any) -> int | None:
        keys = tuple(key for t in judged.turned for key in t.row.settles)
        running.store.settle(Settlement(running.source.stream, checkpoint=keys))
        number: int | None = note(running, judged, brought)
        return number

    patch.setattr(run, "_note", before)


def the_watermark_moves_in_spite_of_an_unsettled_row(patch: pytest.MonkeyPatch) -> None:
    """A run that does not get through the feed says so, and that it has moved the watermark all the same."""
    true = run.launch

    def launched(running: Any, batch: Batch, brought: Brought) -> None:
        try:
            true(running, batch, brought)
        except TryAgain:
            position = running.store.position(batch.stream)
            days = [json.loads(key)[1] for row in batch.rows for key in row.settles]
            if brought is Brought.FEED and days and position.cursor:
                newest = max(position.cursor.value, madrid_date(max(days)).isoformat())
                cursor = replace(position.cursor, value=newest, seen=position.cursor.seen | position.checkpoint)
                running.store.advance(batch.stream, cursor, clear=True)
                running.tally.watermark = (position.cursor, cursor)
            raise

    patch.setattr(run, "launch", launched)


def _with_outcomes(patch: pytest.MonkeyPatch, change: Callable[[Outcome], Outcome]) -> None:
    true = FhirServer.write

    def written(self: FhirServer, *arguments: Any) -> Iterator[Sequence[Outcome]]:
        for outcomes in true(self, *arguments):
            yield [change(outcome) for outcome in outcomes]

    patch.setattr(FhirServer, "write", written)


def refusals_are_swallowed(patch: pytest.MonkeyPatch) -> None:
    def fine(outcome: Outcome) -> Outcome:
        return replace(outcome, result=Result.UPDATED, version="1") if outcome.result is Result.REFUSED else outcome

    _with_outcomes(patch, fine)


def what_is_refused_takes_its_product_along(patch: pytest.MonkeyPatch) -> None:
    """One resource that the server never takes, and the whole row lies in quarantine."""
    true = judge._turn_row

    def turned(*arguments: Any) -> Turned:
        row = true(*arguments)
        refused = any(REFUSED.encode() in upsert.body for upsert in row.upserts)
        return Turned(row.row, row.raw, fault=Fault("refused", "$", "one of its resources is")) if refused else row

    patch.setattr(judge, "_turn_row", turned)


def the_status_of_an_entry_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def fine(outcome: Outcome) -> Outcome:
        held = outcome.held
        stale = outcome.result is Result.STALE
        return replace(outcome, result=Result.UPDATED, version=held.version if held else "1") if stale else outcome

    _with_outcomes(patch, fine)


def nothing_is_noted_before_a_write(patch: pytest.MonkeyPatch) -> None:
    def unnoted(self: Notes, doubt: Doubt) -> int:
        return 0

    patch.setattr(Notes, "add", unnoted)


def nobody_looks_again(patch: pytest.MonkeyPatch) -> None:
    """At what a lost run had sent, and what may have arrived since."""
    patch.setattr(late, "look_again", lambda running: None)


def what_is_set_aside_is_not_said(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tally, "trouble", lambda self, key, fault: None)


def what_is_retired_is_remembered_as_alive(patch: pytest.MonkeyPatch) -> None:
    true = departures._after

    def after(*arguments: Any) -> Known:
        known = true(*arguments)
        return replace(known, state=State.LIVE) if known.state is State.RETIRED else known

    patch.setattr(departures, "_after", after)


def the_digest_of_what_was_there_is_kept(patch: pytest.MonkeyPatch) -> None:
    """Of what is retired: it is no longer what is at the sink."""
    true = departures._after

    def after(known: Known, *arguments: Any) -> Known:
        return replace(true(known, *arguments), digest=known.digest)

    patch.setattr(departures, "_after", after)


def nothing_ever_leaves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(departures, "carry_out", lambda running: None)


def what_could_not_be_fetched_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(JobBook, "unfetched", lambda self, stream: ())


def a_first_load_ends_with_its_first_slice(patch: pytest.MonkeyPatch) -> None:
    true = JobBook.take

    def once(self: JobBook, list_id: int, count: int, after: int = 0) -> Sequence[tuple[int, str]]:
        if after:
            return ()
        items = true(self, list_id, count, after)
        if items:
            with self._access.write() as conn:
                conn.exec_driver_sql("UPDATE work SET state = 1")
        return items

    patch.setattr(JobBook, "take", once)


def the_clock_may_go_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Stored, "latest", lambda self: None)


def equal_content_is_written_again(patch: pytest.MonkeyPatch) -> None:
    for module in (decide, departures):
        patch.setattr(module, "same", lambda one, two: False)


def a_run_is_done_before_it_has_ended(patch: pytest.MonkeyPatch) -> None:
    true = JobBook.begin_run

    def begun(self: JobBook, record: RunRecord) -> None:
        true(self, record)
        with self._access.write() as conn:
            conn.exec_driver_sql("UPDATE runs SET outcome = 'done' WHERE outcome = 'running'")

    patch.setattr(JobBook, "begin_run", begun)


def stale_writes_are_given_up(patch: pytest.MonkeyPatch) -> None:
    def acknowledged(*_: Any, **__: Any) -> decide.Anew:
        return decide.Anew(acknowledged=True, version="1")

    patch.setattr(write, "decide_stale", acknowledged)


def a_500_of_the_register_is_swallowed(patch: pytest.MonkeyPatch) -> None:
    """It is taken for the answer that a product is gone."""

    def asked(part: str, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except Unreachable:
            return Answer(part, "", 204, b"", datetime(2100, 1, 1, tzinfo=UTC))

    patch.setattr(product, "_ask", asked)


def resources_are_posted(patch: pytest.MonkeyPatch) -> None:
    true = Wire.transact

    def posted(self: Wire, content: bytes, *arguments: Any, **named: Any) -> Any:
        marker = b'"resourceType":"Device"' in content
        sent = content if marker else content.replace(b'"method":"PUT"', b'"method":"POST"')
        return true(self, sent, *arguments, **named)

    patch.setattr(Wire, "transact", posted)


def the_fence_is_not_checked_in_the_commit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Fence, "check", lambda self, conn: None)


def what_is_retired_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(departures, "_word", lambda outcome: "kept")


def what_is_written_is_counted_as_it_was_meant(patch: pytest.MonkeyPatch) -> None:
    """Not as the sink acknowledged it."""
    true = Judged.count_acknowledged

    def meant(self: Judged, outcomes: Sequence[Outcome], tally: Tally) -> None:
        true(self, [replace(o, result=Result.UPDATED) if o.result in ACKNOWLEDGED else o for o in outcomes], tally)

    patch.setattr(Judged, "count_acknowledged", meant)


def a_report_says_that_the_watermark_is_further(patch: pytest.MonkeyPatch) -> None:
    true = Tally.report

    def ahead(self: Tally, ended: datetime) -> Report:
        return replace(true(self, ended), watermark=(None, ended.date().isoformat()))

    patch.setattr(Tally, "report", ahead)


def the_watermark_runs_ahead(patch: pytest.MonkeyPatch) -> None:
    true = feed.next_cursor

    def ahead(*arguments: Any) -> Cursor | None:
        cursor = true(*arguments)
        if cursor is None:
            return None
        return replace(cursor, value=(date.fromisoformat(cursor.value) + timedelta(days=3)).isoformat())

    patch.setattr(source, "next_cursor", ahead)


def the_marker_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    true = Marker.check

    def looked(self: Marker) -> None:
        with suppress(Guarded):
            true(self)

    patch.setattr(Marker, "check", looked)


def the_first_run_gives_up_for_nothing(patch: pytest.MonkeyPatch) -> None:
    true, given_up = Marker.check, []

    def looked(self: Marker) -> None:
        if not given_up:
            given_up.append(self)
            raise TryAgain("the server is busy", "")
        true(self)

    patch.setattr(Marker, "check", looked)


def another_server_is_called_busy(patch: pytest.MonkeyPatch) -> None:
    true = Marker.check

    def looked(self: Marker) -> None:
        try:
            true(self)
        except Guarded as e:
            raise TryAgain(e.message) from e

    patch.setattr(Marker, "check", looked)


def _removed_as(patch: pytest.MonkeyPatch, removal: str) -> None:
    true = departures._step

    def step(running: Any, *arguments: Any, adopt: bool) -> Any:
        asked, running.settings = running.settings, replace(running.settings, removal=removal)
        try:
            return true(running, *arguments, adopt=adopt)
        finally:
            running.settings = asked

    patch.setattr(departures, "_step", step)


def what_is_to_be_retired_is_deleted(patch: pytest.MonkeyPatch) -> None:
    _removed_as(patch, "delete")


def what_is_to_be_deleted_is_retired(patch: pytest.MonkeyPatch) -> None:
    _removed_as(patch, "retire")


def retirement_changes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(departures, "retired", lambda body, living=frozenset(): body)


def equality_ignores_too_much(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "same", lambda one, two: True)


def names_are_cut(patch: pytest.MonkeyPatch) -> None:
    """By the mapping: what is at the sink is what was mapped."""
    module = import_module("sources.cima.mapping.medicinal_product")
    patch.setattr(module, "_name", lambda register: {"productName": register.nombre[:4]})


def packages_are_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mapping, "packages", lambda product: list(packages(product))[1:])


def documents_are_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mapping, "document_references", lambda product: [])


def materials_are_left_out(patch: pytest.MonkeyPatch) -> None:
    module = import_module("sources.cima.mapping.side")
    patch.setattr(module, "materials", lambda nregistro, answer: [])


def a_flag_speaks_for_the_whole_product(patch: pytest.MonkeyPatch) -> None:
    true = product.fetch_row

    def fetched(client: Any, key: str, *arguments: Any, **others: Any) -> Row:
        row = true(client, key, *arguments, **others)
        whole = ScopeClaim(mapping.side_product(key), whole=True)
        return replace(row, scopes=tuple({whole, *row.scopes}) if row.scopes else ())

    patch.setattr(source, "fetch_row", fetched)


def a_flag_asks_for_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(product, "_side_answers", lambda client, product, nregistro, flags: iter(()))


def what_is_foreign_is_written_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(write, "decide_stale", lambda *arguments, ours, adopt: stale(*arguments, ours=ours, adopt=True))


def a_record_is_left_open(patch: pytest.MonkeyPatch) -> None:
    def lost(self: JobBook, record: RunRecord) -> None:
        raise LeaseLost("the lease is lost")

    patch.setattr(JobBook, "end_run", lost)


def nobody_is_named_as_writer(patch: pytest.MonkeyPatch) -> None:
    """Requests bear an id that no run has."""
    true = FhirServer.__init__

    def named(self: FhirServer, options: Any, clock: Any, run: str, *arguments: Any, **others: Any) -> None:
        true(self, options, clock, f"not-{run}", *arguments, **others)

    patch.setattr(FhirServer, "__init__", named)


def claims_are_never_lost(patch: pytest.MonkeyPatch) -> None:
    """A worker writes what it has fetched, whatever came in between."""

    def mine(self: Claims) -> frozenset[int]:
        with self._database.read() as conn:
            return frozenset(conn.scalars(select(items.c.id).where(items.c.list == self._list)))

    patch.setattr(Claims, "mine", mine)


def what_workers_give_up_is_over(patch: pytest.MonkeyPatch) -> None:
    """Also of a list that runs go on with."""
    true = Claims.__init__

    def made(self: Claims, *arguments: Any, **others: Any) -> None:
        true(self, *arguments, **{**others, "of_runs": False})

    patch.setattr(Claims, "__init__", made)


class Overtaken(Inside):
    """Another runner comes whenever a run is about to remember what it wrote."""

    overtaken = 1.0

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        death = NOWHERE if calm else Death("settle", self.dice.randint(1, 2))
        return self.dared(Doom(death), timedelta(0), calm=calm, full=full)


class Meddled(Inside):
    """Somebody else is at the server each night."""

    least_nights = 3
    acts: Sequence[str] = TAMPERING

    def between(self) -> list[str]:
        what = self.dice.choice(self.acts)
        return [what] if self.tamper(what) else []


class Edited(Meddled):
    acts = ("somebody edits",)


class Broken(Inside):
    """Each night one product cannot be had."""

    broken = 1.0


class Slow(Inside):
    """What the server did not answer it does after the next run; meanwhile a product has changed back."""

    least_nights = most_nights = 4
    slow, fhir_faults, guarded, hurried = 1.0, (LATE,), 0.0, 0.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        acts = iter([None, "changes", "takes its change back"])
        self.story.night = lambda: [act] if (act := next(acts)) and self.story.act(act) else []  # type: ignore[method-assign]

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        self.register.tonight(0.0, 0)
        return self.dared(Doom(NOWHERE), timedelta(0), calm=True, full=full)

    def between(self) -> list[str]:
        return []


class Visited(Working):
    """Each day somebody begins a worker, and a night comes before its turn."""

    working, visited, mortal = 1.0, 1.0, 0.0


class Hurried(Working):
    """Nights are too short for the first load; workers go on with it, though one product cannot be had."""

    working, visited, mortal = 1.0, 0.0, 0.0
    hurried = broken = 1.0


class Down(Inside):
    """The server goes away in each night."""

    least_nights = 4

    def _bad_day(self) -> list[str | None]:
        return [*[None] * self.dice.randint(0, 9), *["refused"] * 30]


class Lossy(Inside):
    """What the server did, nobody hears of."""

    fhir_faults = ("lost by reset", "garbled", LATE)


KINDS: Mapping[str, type[Inside]] = {
    "the watermark moves in spite of an unsettled row": Down,
    "claims are never lost": Visited,
    "what workers give up is over": Hurried,
    "the fence is not checked in the commit": Overtaken,
    "a 500 of the register is swallowed": Broken,
    "what could not be fetched is forgotten": Broken,
    "the marker is not looked at": Meddled,
    "another server is called busy": Meddled,
    "what is foreign is written over": Edited,
    "equality ignores too much": Lossy,
    "stale writes are given up": Lossy,
    "nobody looks again": Slow,
    "the status of an entry is ignored": Lossy,
}
"""Defects that show sooner in a life of a kind of its own."""

SEEDS: Mapping[str, int] = {
    "watermark before the write": 12,
    "the watermark moves in spite of an unsettled row": 22,
    "refusals are swallowed": 2,
    "the status of an entry is ignored": 20,
    "nothing is noted before a write": 11,
    "nobody looks again": 12,
    "what is set aside is not said": 2,
    "nothing ever leaves": 2,
    "what is retired is remembered as alive": 2,
    "the digest of what was there is kept": 2,
    "the clock may go back": 11,
    "equal content is written again": 22,
    "a run is done before it has ended": 1,
    "stale writes are given up": 45,
    "the fence is not checked in the commit": 2,
    "what is retired is not counted": 2,
    "what is to be retired is deleted": 11,
    "what is to be deleted is retired": 2,
    "retirement changes nothing": 11,
    "equality ignores too much": 31,
    "what is foreign is written over": 20,
}
"""Lives in which a defect once showed: where to begin."""

PLANTED: Mapping[str, Plant] = {
    plant.__name__.replace("_", " "): plant
    for plant in (
        watermark_before_the_write,
        the_watermark_moves_in_spite_of_an_unsettled_row,
        refusals_are_swallowed,
        what_is_refused_takes_its_product_along,
        the_status_of_an_entry_is_ignored,
        nothing_is_noted_before_a_write,
        nobody_looks_again,
        what_is_set_aside_is_not_said,
        what_is_retired_is_remembered_as_alive,
        the_digest_of_what_was_there_is_kept,
        nothing_ever_leaves,
        what_could_not_be_fetched_is_forgotten,
        a_first_load_ends_with_its_first_slice,
        the_clock_may_go_back,
        equal_content_is_written_again,
        a_run_is_done_before_it_has_ended,
        stale_writes_are_given_up,
        a_500_of_the_register_is_swallowed,
        resources_are_posted,
        the_fence_is_not_checked_in_the_commit,
        what_is_retired_is_not_counted,
        what_is_written_is_counted_as_it_was_meant,
        a_report_says_that_the_watermark_is_further,
        the_watermark_runs_ahead,
        the_marker_is_not_looked_at,
        the_first_run_gives_up_for_nothing,
        another_server_is_called_busy,
        what_is_to_be_retired_is_deleted,
        what_is_to_be_deleted_is_retired,
        retirement_changes_nothing,
        equality_ignores_too_much,
        names_are_cut,
        packages_are_left_out,
        documents_are_left_out,
        materials_are_left_out,
        a_flag_speaks_for_the_whole_product,
        a_flag_asks_for_nothing,
        what_is_foreign_is_written_over,
        a_record_is_left_open,
        nobody_is_named_as_writer,
        claims_are_never_lost,
        what_workers_give_up_is_over,
    )
}


@pytest.fixture(scope="module")
def empty() -> Iterator[Path]:
    with room() as folder:
        yield template(Path(folder))


def _is_good(seed: int, empty: Path, name: str) -> bool:
    _, verdict = tried(seed, empty, KINDS.get(name, Inside))
    return verdict.good


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_turns_the_checker_red(name: str, empty: Path) -> None:
    """In a life that is good without it: it is the defect that was found."""
    for seed in (SEEDS.get(name, 0), *range(MOST_LIVES)):
        with pytest.MonkeyPatch.context() as patch:
            PLANTED[name](patch)
            red = not _is_good(seed, empty, name)
        if red and _is_good(seed, empty, name):
            return
    pytest.fail(f"{MOST_LIVES} lives, and in none was it the defect that was found")
