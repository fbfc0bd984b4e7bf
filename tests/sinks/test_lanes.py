"""Several calls of `write` at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Queue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.fhir.lanes import Emit, Job, Lanes
from sinks.fhir.server import FhirServer
from tests.sinks.fake_hapi import FakeHapi
from tsi_fetch.errors import TryAgain
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.words import Outcome, Ref, Result, Write, WriteAction

Make = Callable[..., FhirServer]
PATIENCE = 10  # seconds until a test that hangs fails


def permit() -> None:
    """Always."""


def ref(ident: str) -> Ref:
    return Ref("Basic", ident)


def refs(idents: str) -> frozenset[Ref]:
    return frozenset(ref(i) for i in idents)


class Workshop:
    """Jobs that begin, say so, and end when they are told to."""

    def __init__(self) -> None:
        self.begun: Queue[str] = Queue()
        self._gates: dict[str, threading.Event] = {}
        self._errors: dict[str, Exception] = {}

    def job(self, writes: str, refers: str = "", unsure: str = "", *, last: bool = False) -> Job:
        self._gates[writes] = threading.Event()

        def work(emit: Emit) -> None:
            self.begun.put(writes)
            assert self._gates[writes].wait(PATIENCE)
            if writes in self._errors:
                raise self._errors[writes]
            emit([Outcome(ref(i), Result.CREATED) for i in writes])

        return Job(refs(writes), refs(refers), work, refs(unsure), last)

    def next(self) -> str:
        return self.begun.get(timeout=PATIENCE)

    def end(self, *jobs: str, error: Exception | None = None) -> None:
        for job in jobs:
            if error:
                self._errors[job] = error
            self._gates[job].set()


@pytest.fixture
def shop() -> Workshop:
    return Workshop()


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    made = Lanes(2)
    yield made
    made.close()


def idents(outcomes: Iterator[Sequence[Outcome]]) -> list[str]:
    return sorted(o.ref.id for some in outcomes for o in some)


def test_no_more_are_in_flight_than_there_are_writers_over_all_calls(lanes: Lanes, shop: Workshop) -> None:
    first = lanes.send([shop.job("a"), shop.job("b")])
    second = lanes.send([shop.job("c")])
    assert {shop.next(), shop.next()} == {"a", "b"}
    assert shop.begun.empty()
    shop.end("a")
    assert shop.next() == "c"
    shop.end("b", "c")
    assert (idents(first), idents(second)) == (["a", "b"], ["c"])


def test_first_come_is_first_served(shop: Workshop) -> None:
    lanes = Lanes(1)
    calls = [lanes.send([shop.job(i + "1"), shop.job(i + "2")]) for i in "xyz"]
    order = []
    for _ in range(6):
        order.append(shop.next())
        shop.end(order[-1])
    assert order == ["x1", "x2", "y1", "y2", "z1", "z2"]
    assert [len(idents(c)) for c in calls] == [4, 4, 4]
    lanes.close()


def test_what_refers_to_what_an_earlier_call_writes_waits_for_it(lanes: Lanes, shop: Workshop) -> None:
    first = lanes.send([shop.job("a")])
    second = lanes.send([shop.job("b", refers="a")])
    third = lanes.send([shop.job("c")])
    assert {shop.next(), shop.next()} == {"a", "c"}  # the third overtakes the second
    shop.end("c")
    assert idents(third) == ["c"]
    assert shop.begun.empty()
    shop.end("a")
    assert shop.next() == "b"
    shop.end("b")
    assert (idents(first), idents(second)) == (["a"], ["b"])


def test_two_that_write_the_same_are_never_in_flight_together(lanes: Lanes, shop: Workshop) -> None:
    calls = [lanes.send([shop.job("a")]), lanes.send([shop.job("ab")]), lanes.send([shop.job("bc")])]
    for job in ("a", "ab", "bc"):
        assert shop.next() == job
        assert shop.begun.empty()
        shop.end(job)
    assert [idents(c) for c in calls] == [["a"], ["a", "b"], ["b", "c"]]


def test_a_job_that_was_given_up_releases_what_waits_for_it(lanes: Lanes, shop: Workshop) -> None:
    first = lanes.send([shop.job("a"), shop.job("x", refers="a")])
    second = lanes.send([shop.job("b", refers="ax")])
    assert shop.next() == "a"
    shop.end("a", error=TryAgain("down"))
    assert shop.next() == "b"
    shop.end("b")
    with pytest.raises(TryAgain, match="down"):
        idents(first)
    assert idents(second) == ["b"]


def test_what_is_in_flight_is_yielded_before_the_first_error_is_raised(lanes: Lanes, shop: Workshop) -> None:
    call = lanes.send([shop.job("a"), shop.job("b"), shop.job("c")])
    other = lanes.send([shop.job("z")])
    assert {shop.next(), shop.next()} == {"a", "b"}
    shop.end("a", error=TryAgain("down"))
    assert shop.next() == "z"  # so the failure has landed
    shop.end("b", "z")
    assert idents(other) == ["z"]
    seen = [next(call)]
    with pytest.raises(TryAgain, match="down"):
        next(call)
    assert [o.ref.id for some in seen for o in some] == ["b"]
    assert shop.begun.empty()


def test_a_removal_waits_for_its_call_and_for_earlier_ones_that_refer_to_it(lanes: Lanes, shop: Workshop) -> None:
    earlier = lanes.send([shop.job("r", refers="d")])
    call = lanes.send([shop.job("p"), shop.job("d", unsure="d", last=True)])
    later = lanes.send([shop.job("s", refers="d")])
    assert {shop.next(), shop.next()} == {"r", "p"}
    shop.end("p")
    shop.end("r")
    assert shop.next() == "d"
    assert shop.begun.empty()
    shop.end("d")
    assert shop.next() == "s"
    shop.end("s")
    assert [idents(c) for c in (earlier, call, later)] == [["r"], ["d", "p"], ["s"]]


def test_a_call_that_is_closed_early_begins_no_more_and_waits_for_what_is_in_flight(shop: Workshop) -> None:
    lanes = Lanes(1)
    call = lanes.send([shop.job("a"), shop.job("b")])
    assert shop.next() == "a"
    closing = threading.Thread(target=call.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    shop.end("a")
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert shop.begun.empty()
    lanes.close()


def test_closing_ends_the_threads_and_tells_calls_that_are_not_done(shop: Workshop) -> None:
    lanes = Lanes(2)
    call = lanes.send([shop.job("a"), shop.job("b", refers="a")])
    assert shop.next() == "a"
    closing = threading.Thread(target=lanes.close)
    closing.start()
    while not is_closed(lanes):
        closing.join(0.01)
    shop.end("a")
    closing.join(PATIENCE)
    assert not [t for t in threading.enumerate() if t.name.startswith("writer")]
    with pytest.raises(TryAgain, match="was closed"):
        idents(call)
    with pytest.raises(TryAgain, match="is closed"):
        lanes.send([shop.job("c")])


def is_closed(lanes: Lanes) -> bool:
    try:
        lanes.send([]).close()
    except TryAgain:
        return True
    return False


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sets(st.sampled_from("abcdef"), min_size=1), st.sets(st.sampled_from("abcdef"))), max_size=12)
)
def test_nothing_in_flight_touches_or_refers_to_what_another_writes(graph: list[tuple[set[str], set[str]]]) -> None:
    lock, flying, clashes = threading.Lock(), set[Job](), list[tuple[Job, Job]]()
    jobs: list[Job] = []

    def worker(number: int) -> Callable[[Emit], None]:
        def work(emit: Emit) -> None:
            job = jobs[number]
            with lock:
                clashes.extend((job, o) for o in flying if job.writes & (o.writes | o.refers) or job.refers & o.writes)
                flying.add(job)
            with lock:
                flying.discard(job)
            emit([Outcome(r, Result.CREATED) for r in job.writes])

        return work

    for number, (writes, refers) in enumerate(graph):
        own = refs("".join(writes))
        jobs.append(Job(own, refs("".join(refers - writes)), worker(number), own))
    lanes = Lanes(4)
    calls = [lanes.send([job]) for job in jobs]
    assert [idents(c) for c in calls] == [sorted(writes) for writes, _ in graph]
    lanes.close()
    assert clashes == []


def organization(ident: str, *whole: str) -> Write:
    parts = {"partOf": {"reference": f"Organization/{whole[0]}"}} if whole else {}
    body = dump({"resourceType": "Organization", "id": ident, **parts})
    return Write(Ref("Organization", ident), WriteAction.PUT, None, body)


def test_calls_from_several_threads_arrive_and_keep_the_order_of_references(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    sink = server(entries=5, writers=3)
    assert sink.ahead == 5
    batches = [[organization(f"o{b}-{n}", *([f"o{b - 1}-{n}"] if b else [])) for n in range(20)] for b in range(6)]
    calls = [sink.write(batch, permit) for batch in batches]
    seen: list[Outcome] = []
    threads = [threading.Thread(target=lambda c=call: seen.extend(o for some in c for o in some)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert {o.result for o in seen} == {Result.CREATED}
    assert len(seen) == 120
    assert sum(len(refs) for refs in hapi_in_memory.transactions) == 120


def test_a_write_begins_at_once_and_ends_though_nobody_reads_the_outcomes(
    server: Make, hapi_in_memory: FakeHapi
) -> None:
    sink = server()
    unread = sink.write([organization("a")], permit)
    assert [o.result for some in sink.write([organization("b", "a")], permit) for o in some] == [Result.CREATED]
    assert hapi_in_memory.live("Organization/a") is not None
    assert [o.result for some in unread for o in some] == [Result.CREATED]
