"""A FHIR server as a sink."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import TracebackType

import httpx

from sinks.fhir import bundles, marker
from sinks.fhir.capabilities import Capabilities
from sinks.fhir.delete import Removal
from sinks.fhir.documents import head
from sinks.fhir.find import ID, TYPE, Finder
from sinks.fhir.lanes import Job, Lanes
from sinks.fhir.options import FhirOptions
from sinks.fhir.proof import Proof
from sinks.fhir.send import Correspondence, Delivery
from sinks.fhir.wire import Wire
from tsi_fetch.clock import Clock
from tsi_fetch.http.meter import Meter
from tsi_fetch.ports import Permit
from tsi_fetch.words import Fault, Held, Mark, Outcome, Ref, Result, Version, Write, WriteAction

AHEAD = 2  # calls beyond one for each writer: their bundles are cut while others are in flight


class FhirServer:
    """Implements `Sink` with guarded transactions.  A context manager; `close` ends its connections and threads."""

    referential = True

    def __init__(  # noqa: PLR0917 — what the catalogue offers a sink, by name
        self,
        options: FhirOptions,
        clock: Clock,
        run_id: str,
        job: str,
        store_id: str,
        transport: httpx.BaseTransport | None = None,
        meter: Meter | None = None,
    ) -> None:
        """`run_id`: kept by HAPI behind the `#` of `meta.source`.  `job` and `store_id`: who writes, for the server's
        access log.  `transport`: in place of the network, for tests.  `meter`: counts every attempt."""
        self.release: str = options.release
        self._options = options
        self._wire = Wire(options, clock, run_id, f"job {job} of store {store_id}", transport, meter)
        self._capabilities = Capabilities(self._wire)
        self._finder = Finder(self._wire)
        self._lanes = Lanes(options.writers)
        proof = Proof(self._wire, marker.device(f"tsi-fetch-{store_id}-{job}-proof"), run_id)
        self._shared = Correspondence(self._wire, self._finder, proof)
        self.ahead = options.writers + AHEAD

    def open(self, types: Collection[str] = (), *, deletes: bool = False) -> None:
        self._capabilities.check(self.release, types, deletes=deletes)

    def find(self, refs: Sequence[Ref], *, bodies: bool = False) -> Mapping[Ref, Held]:
        """What is alive.  A search does not see deleted resources: they turn up where a write is refused as stale."""
        return self._finder.find(refs, bodies=bodies)

    def history(self, ref: Ref, most: int) -> Sequence[Version] | None:
        """Its last versions, the latest first; None where the server gives no history."""
        return self._finder.history(ref, most)

    def listing(self, resource_type: str) -> Iterator[Sequence[Held]]:
        """Everything alive of a type, in pages.  What is written meanwhile may be in it or not."""
        return self._finder.listing(resource_type)

    def write(self, writes: Sequence[Write], permit: Permit) -> Iterator[Sequence[Outcome]]:
        """PUTs first, in transactions; then deletions, since what was updated may no longer refer to what goes.

        Begins at once, behind the calls before it, and gives the outcomes as they come.  May be called from several
        threads, for disjoint refs; an iterator that is closed early begins no more and waits for what is in flight.

        A write that refers to another which turns out stale because nothing is there comes back as stale itself, with
        the version that was believed: it is to be written again, in one call with the other.
        """
        refused = [Outcome(w.ref, Result.REFUSED, fault=fault) for w in writes if (fault := _unsendable(w))]
        unsendable = {o.ref for o in refused}
        sendable = [w for w in writes if w.ref not in unsendable]
        return self._lanes.send(self._jobs(sendable, permit), refused)

    def _jobs(self, writes: Sequence[Write], permit: Permit) -> list[Job]:
        puts = [w for w in writes if w.action is WriteAction.PUT]
        deletions = [w for w in writes if w.action is WriteAction.DELETE]
        linked = bundles.links(writes)
        delivery = Delivery(self._shared, permit, linked)
        cut = bundles.cut(puts, linked, entries=self._options.entries, size=self._options.bytes)
        jobs = [_carrying(units, linked, delivery) for units in cut]
        if deletions:
            removal = Removal(delivery, self._finder, self._options.entries)
            refs = frozenset(w.ref for w in deletions)
            jobs.append(Job(refs, frozenset(), lambda emit: removal.delete(deletions, emit), refs, last=True))
        return jobs

    def read_mark(self, name: str) -> Mark | None:
        return marker.read(self._finder, name)

    def move_mark(self, name: str, mark: Mark, permit: Permit) -> Mark:
        return marker.move(lambda write: self._one(write, permit), name, mark)

    def _one(self, write: Write, permit: Permit) -> Outcome:
        [outcome] = [o for some in self._lanes.send(self._jobs([write], permit)) for o in some]
        return outcome

    def close(self) -> None:
        """Nothing new is sent; what is in flight is waited for."""
        self._lanes.close()
        self._wire.close()

    def __enter__(self) -> FhirServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _carrying(units: bundles.Bundle, linked: bundles.References, delivery: Delivery) -> Job:
    writes = [w for unit in units for w in unit.writes]
    refs = frozenset(w.ref for w in writes)
    refers = frozenset().union(*(linked[ref] for ref in refs)) - refs
    created = frozenset(w.ref for w in writes if bundles.creates(w))
    return Job(refs, refers, lambda emit: delivery.deliver(units, emit), created)


def _unsendable(write: Write) -> Fault | None:
    """What HAPI would refuse, or worse: what would change the meaning of the bundle around it."""
    kind, ident = write.ref.type, write.ref.id
    if not TYPE.fullmatch(kind):
        return Fault("fhir-type", "resourceType", "not the name of a resource type")
    if not ID.fullmatch(ident) or ident.isdecimal():  # HAPI-0521, HAPI-0960
        return Fault("fhir-id", "id", "1 to 64 of A-Z a-z 0-9 - . and not digits only, else HAPI takes no such id")
    if write.action is WriteAction.PUT:
        identity = head(write.body or b"")
        if identity is None or identity.ref != write.ref:
            return Fault("fhir-body", "id", "the body is not the resource that it is to be written as")
    return None
