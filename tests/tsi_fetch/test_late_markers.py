"""A marker whose move was on its way when its run was overtaken, or died."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from store.handle import open_store
from tests.sinks.fake_hapi import BASE, FakeHapi
from tsi_fetch.clock import ReplayClock
from tsi_fetch.errors import Guarded, LeaseLost
from tsi_fetch.marker import Marker, marker_name
from tsi_fetch.ports import JobStore
from tsi_fetch.words import Mark, RunRecord

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
LATE = Mark("run-1", 1)
OPTIONS = FhirOptions.model_validate({"url": BASE})


def allowed() -> None:
    """The lease is held."""


def overtaken() -> None:
    raise LeaseLost("the lease of cima is lost")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[JobStore]:
    """Run run-1 was lost, with its marker on the way; run-2 goes on."""
    with (
        open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True) as stored,
        stored.lease("cima", "epi", "run-2", wait=lambda seconds: None) as held,
    ):
        for run in ("run-1", "run-2"):
            held.begin_run(RunRecord(run, "cima", AT))
        held.intend(LATE)
        yield held


@pytest.fixture
def sink() -> Iterator[FhirServer]:
    wire = FakeHapi().transport()
    with FhirServer(OPTIONS, ReplayClock(AT), "run-2", "cima", "ab12cd34", transport=wire) as server:
        yield server


def test_a_predecessors_move_that_comes_after_the_check_is_moved_on(book: JobStore, sink: FhirServer) -> None:
    marker = Marker(sink, book, "run-2", "cima", allowed)
    marker.check()
    sink.move_mark(marker_name(book.store_id, "cima"), LATE, allowed)
    marker.move()
    assert book.marks() == (Mark("run-2", 2, "2"), None)


def test_a_predecessors_move_that_comes_after_the_next_intent_is_known_by_its_run(
    book: JobStore, sink: FhirServer
) -> None:
    book.intend(Mark("run-2", 2))  # and run-2 died before it could move it
    sink.move_mark(marker_name(book.store_id, "cima"), LATE, allowed)
    book.begin_run(RunRecord("run-3", "cima", AT))
    marker = Marker(sink, book, "run-3", "cima", allowed)
    marker.check()
    marker.move()
    assert book.marks() == (Mark("run-3", 3, "2"), None)


def test_one_who_was_overtaken_says_so_and_accuses_nobody(book: JobStore, sink: FhirServer) -> None:
    name = marker_name(book.store_id, "cima")
    marker = Marker(sink, book, "run-2", "cima", overtaken)
    marker.check()
    sink.move_mark(name, Mark("another", 7), allowed)
    with pytest.raises(LeaseLost):
        marker.move()
    with pytest.raises(LeaseLost):
        Marker(sink, book, "run-2", "cima", overtaken).check()


def test_a_marker_that_another_store_moved_is_guarded(book: JobStore, sink: FhirServer) -> None:
    marker = Marker(sink, book, "run-2", "cima", allowed)
    marker.check()
    sink.move_mark(marker_name(book.store_id, "cima"), Mark("another", 7), allowed)
    with pytest.raises(Guarded):
        marker.move()


def test_a_marker_that_has_gone_further_than_was_intended_is_of_a_run_that_this_store_has_forgotten(
    book: JobStore, sink: FhirServer
) -> None:
    """The store was put back from a copy that was made while run-2 was at work, which then went on."""
    sink.move_mark(marker_name(book.store_id, "cima"), Mark("run-2", 3), allowed)
    with pytest.raises(Guarded):
        Marker(sink, book, "run-2", "cima", allowed).check()
