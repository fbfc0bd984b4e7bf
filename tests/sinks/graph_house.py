"""The whole loop over a graph, a disturbed FHIR server and a real store, and what must hold after each of its runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from graph_source import GraphSource, Node

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from store.handle import Stored
from store.queries import QuarantineRow, quarantine
from tests.sinks.disturbed_hapi import SOMEONE, DisturbedHapi
from tests.sinks.fake_hapi import BASE, Version
from tests.sinks.sudden_death import Death, Doom, Killed, Mortal
from tsi_fetch.clock import ReplayClock
from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.fhir.equality import same
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.ports import JobStore, Sink
from tsi_fetch.report import Report
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.settle import removal_of
from tsi_fetch.words import DOUBTED, Known, Pending, Ref, RunRecord, State

FINISHED = (0, 65)
UNFINISHED = (75, 78)  # 78: for a login page with status 200, which a person must look at

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Memory:
    """What the store remembers after a run."""

    known: Mapping[Ref, Known]
    waiting: Mapping[Ref, frozenset[Ref]]
    pending: Sequence[Pending]
    troubles: list[QuarantineRow]
    left: int  # keys of an open work list

    @property
    def troubled(self) -> frozenset[Ref]:
        return frozenset(t.ref for t in self.troubles if t.ref)


class GraphHouse:
    """Runs the loop again and again, as a job of its own.  `stored`: may be shared, since to open one takes longer.

    `removal`: the job's policy.  No guard holds up what vanishes: graphs are small, and half of one goes in a night.
    """

    def __init__(
        self, stored: Stored, source: GraphSource, hapi: DisturbedHapi, *, removal: str = "retire", **options: Any
    ) -> None:
        self.number = next(_numbers)
        self.job = f"graph-{self.number}"
        self.stored, self.source, self.hapi = stored, source, hapi
        self.clock = ReplayClock(datetime(2026, 3, 2, 9, 30, tzinfo=UTC))
        self.removal = removal
        self.options = {"max_wait": 60, **options}
        self.given: list[dict[Ref, Node]] = []  # by the number of the run
        self.reports: list[Report | None] = []  # None: of one that was killed

    # what happens

    def run(
        self, *disturbances: str | None, calm: bool = False, death: Death | None = None, **settings: Any
    ) -> Report | None:
        """One run, and whether it told the truth; None where it was killed before it could tell anything."""
        self.hapi.bad_day = list(disturbances)
        if calm:
            self.hapi.catch_up()
        self.given.append(self.source.given)
        run_id, lost = f"run-{self.number}-{len(self.given)}", self.hapi.lost
        report = self._run(run_id, death, settings)
        self.reports.append(report)
        memory = self.memory()
        self._look_at_history()
        if report is None:
            return None
        self._look_at_report(report, memory, answered=self.hapi.lost == lost and not self.hapi.late)
        if report.exit_code in FINISHED:
            self._look_at_everything(memory)
        return report

    def _run(self, run_id: str, death: Death | None, settings: Mapping[str, Any]) -> Report | None:
        with ExitStack() as stack:
            lease = self.stored.lease(self.job, self.job, run_id, expiry=60, wait=self.clock.sleep)
            store: JobStore = stack.enter_context(lease)
            store.begin_run(RunRecord(run_id, self.job, self.clock.now()))
            options = FhirOptions(url=BASE, **self.options)
            transport = self.hapi.transport()
            server = FhirServer(options, self.clock, run_id, self.job, self.stored.store_id, transport=transport)
            sink: Sink = stack.enter_context(server)
            if death:
                doom = Doom(death)
                sink, store = cast(Sink, Mortal(sink, doom)), cast(JobStore, Mortal(store, doom))
            ports = Ports(self.source, sink, store, self.clock)
            made = Settings(self.job, run_id, validate="off", removal=self.removal, accept_vanish=1000, **settings)
            try:
                return run_job(ports, made)
            except Killed:
                return None

    def somebody_edits(self, ref: Ref) -> None:
        """Or creates."""
        self.hapi.put(str(ref), name=SOMEONE, description=f"of version {self.hapi.version(str(ref))}")

    def somebody_does_the_same(self, ref: Ref) -> None:
        """What the source says; where the server could have it."""
        node = self.source.nodes.get(ref)
        if node and not node.spoilt and all(self.alive(target) for target in node.to):
            resource = json.loads(node.body(ref))
            self.hapi.put(str(ref), **{k: v for k, v in resource.items() if k not in ("resourceType", "id")})

    def somebody_deletes(self, ref: Ref) -> None:
        """What nobody refers to, as the server would have it."""
        referred = {t for name, v in self.hapi.resources.items() if v[-1].resource for t in _targets(v[-1].resource)}
        if self.alive(ref) and str(ref) not in referred:
            self.hapi.delete(str(ref))

    def alive(self, ref: Ref) -> bool:
        return self.hapi.live(str(ref)) is not None

    def memory(self) -> Memory:
        reader = self.stored.reader(self.job, self.job)
        work = reader.open_list(self.source.stream)
        refs = {ref for given in self.given for ref in given}
        troubles = quarantine(self.stored, self.job)
        left = work.left if work else 0
        return Memory(reader.known(list(refs)), reader.waiting_graph(), reader.pending(), troubles, left)

    # what must be true

    def _look_at_history(self) -> None:
        """Of every run, whatever its end."""
        assert self.hapi.flaws == [], self.hapi.flaws
        for name, versions in self._resources().items():
            for version in versions:
                if version.run != SOMEONE:
                    self._look_at_version(Ref.parse(name), version)
            for one, two in itertools.pairwise(versions):
                if SOMEONE in (one.run, two.run) or one.resource is None or two.resource is None:
                    continue
                repeated = same(dump(one.resource), dump(two.resource))
                between = range(_number(one.run), _number(two.run) - 1)  # the runs after the one, before the other
                changed = any(not self._is(name, n, one.resource) for n in between)
                assert changed or not repeated, f"{name}: version {two.number} repeats the one before it"

    def _look_at_version(self, ref: Ref, version: Version) -> None:
        """Written only while a row gives it, and removed only while none does, and as the policy says."""
        number = _number(version.run) - 1
        removed = _removed(version)
        assert removed in (None, self.removal), f"{ref} is not to be removed so: {removed}"
        if removed:
            assert ref not in self.given[number], f"{version.run} removes {ref}, which a row gives"
        else:  # what waits is sent before the source is asked, whatever it gives by now
            believed = self.given[self._last_finished(number) : number + 1]
            assert any(ref in given for given in believed), f"{version.run} writes {ref}, which no row gives"

    def _last_finished(self, number: int) -> int:
        """The last run before that one that got to its end: it knew what every row gives."""
        ends = [n for n, r in enumerate(self.reports[:number]) if r is not None and r.exit_code in FINISHED]
        return max(ends, default=0)

    def _is(self, name: str, number: int, resource: Any) -> bool:
        node = self.given[number].get(Ref.parse(name))
        return node is not None and same(node.body(Ref.parse(name)), dump(resource))

    def _look_at_report(self, report: Report, memory: Memory, *, answered: bool) -> None:
        assert report.exit_code in (*FINISHED, *UNFINISHED), report.reasons
        set_aside = [t for t in memory.troubles if t.run == report.run]
        if set_aside:
            assert report.exit_code != 0, f"green, but {set_aside[0].ref} lies in quarantine"
        if report.exit_code == 65:
            assert report.troubles, report.reasons
        made = self._made(report.run)
        for action in made:
            said = sum(counts.get(action, 0) for counts in report.counts.values())
            assert said <= made[action], f"{said} said to be {action}, {made[action]} are"
            if answered and report.exit_code in FINISHED:
                assert said == made[action], f"{said} said to be {action}, {made[action]} are"

    def _made(self, run: str) -> dict[str, int]:
        made = dict.fromkeys(("created", "updated", "deleted", "retired"), 0)
        for versions in self._resources().values():
            alive = False
            for version in versions:
                if version.run == run:
                    removed = _removed(version)
                    made[_WORDS[removed] if removed else "updated" if alive else "created"] += 1
                alive = version.resource is not None
        return made

    def _resources(self) -> dict[str, list[Version]]:
        """Without the marker, and the proof that the server stores."""
        return {name: versions for name, versions in self.hapi.resources.items() if not name.startswith("Device/")}

    def _look_at_everything(self, memory: Memory) -> None:
        """Of a run that says it has finished: nothing is left over, and nothing is believed that is not so."""
        assert memory.left == 0
        assert self._could_be_sent(memory.waiting) == set(), "waits for what is there"
        acceptable = self._acceptable(memory)
        for ref, node in self.source.given.items():
            arrived = self._holds(ref, node)
            excused = self._somebody_elses(ref) and self._remembers(memory, ref, node)
            reasons = memory.waiting.keys() | memory.troubled
            assert arrived or ref not in acceptable, f"{ref} could be on the server{_why(memory, ref)}"
            assert arrived or excused or ref in reasons, f"{ref} is not on the server, for no reason"
            assert not (arrived and ref in memory.waiting), f"{ref} waits, but it is there"
            lacking = [target for target in node.to if not self.alive(target)]
            assert ref not in memory.waiting or lacking, f"{ref} waits, but lacks nothing"
        for ref in memory.known.keys() | {r for given in self.given for r in given}:
            self._look_at_known(ref, memory)
        self._look_at_departed(memory)

    def _look_at_departed(self, memory: Memory) -> None:
        """What no row gives any more is gone, or retired; what others still refer to is kept, and goes one day."""
        ours = {Ref.parse(name) for name, v in self._resources().items() if v[-1].run != SOMEONE and v[-1].resource}
        to_go = ours - self.source.given.keys()
        accepted = {p.ref for p in memory.pending if p.accepted}
        if self.removal == "retire":
            to_stay = {r for r in to_go if r.type != "Organization" or _removed(self._last(r)) == "retire"}
        else:
            to_stay = to_go if self.removal == "keep" else self._referred(to_go)
        assert to_go <= to_stay, f"{sorted(map(str, to_go - to_stay))} should be gone"
        if self.removal == "delete":
            assert to_go <= accepted, f"{sorted(map(str, to_go - accepted))} will never go"
        told = {
            ref for ref in accepted if removal_of(ref) in {t.key for t in memory.troubles}
        }  # and a person is to look
        assert accepted <= to_go | told, f"{sorted(map(str, accepted - to_go - told))} is to go, for no reason"

    def _referred(self, to_go: set[Ref]) -> set[Ref]:
        """Those to which something refers that stays itself."""
        going = set(to_go)
        while kept := going & {
            Ref.parse(t) for ref in self._alive() - going for t in _targets(self._last(ref).resource)
        }:
            going -= kept
        return to_go - going

    def _alive(self) -> set[Ref]:
        return {Ref.parse(name) for name, versions in self._resources().items() if versions[-1].resource}

    def _last(self, ref: Ref) -> Version:
        return self.hapi.resources[str(ref)][-1]

    def _look_at_known(self, ref: Ref, memory: Memory) -> None:
        """What is remembered is what the server holds, of all that is ours."""
        versions, known = self.hapi.resources.get(str(ref)), memory.known.get(ref)
        if versions is None or versions[-1].run == SOMEONE:
            return
        assert known is not None, f"{ref} is ours and not known"
        last, gone = versions[-1], versions[-1].resource is None
        if known.digest == DOUBTED and ref in memory.waiting.keys() | memory.troubled:
            return  # a run that failed had begun to write or remove it: what is there is learnt when it is written
        assert gone == (known.state is State.DELETED), f"{ref} is remembered as {known.state}"
        if gone or (known.digest == DOUBTED and ref not in self.source.given):
            return  # or when it goes
        assert known.version == str(last.number), f"{ref} is remembered as version {known.version}, not {last.number}"
        assert known.digest == canonical_digest(dump(last.resource)), f"{ref} is remembered as something else"

    def _could_be_sent(self, waiting: Mapping[Ref, frozenset[Ref]]) -> set[Ref]:
        """The largest set of what waits that lacks nothing but what is of the set."""
        ready = set(waiting)
        while lacking := {r for r in ready if any(t not in ready and not self.alive(t) for t in waiting[r])}:
            ready -= lacking
        return ready

    def _acceptable(self, memory: Memory) -> set[Ref]:
        """What a server would take that refuses what is spoilt, and refers to nothing but what is there or is taken."""
        given = self.source.given
        taken = {ref for ref, node in given.items() if not node.spoilt and not self._somebody_elses(ref)}
        there = {t for node in given.values() for t in node.to if self.alive(t)}
        while bad := {r for r in taken if any(t not in taken and t not in there for t in given[r].to)}:
            taken -= bad
        return taken

    def _somebody_elses(self, ref: Ref) -> bool:
        versions = self.hapi.resources.get(str(ref))
        return versions is not None and versions[-1].run == SOMEONE

    def _remembers(self, memory: Memory, ref: Ref, node: Node) -> bool:
        """It was written as the source has it; what others made of it since is found out when it changes."""
        known = memory.known.get(ref)
        return known is not None and known.digest == canonical_digest(node.body(ref))

    def _holds(self, ref: Ref, node: Node) -> bool:
        resource = self.hapi.live(str(ref))
        return resource is not None and same(node.body(ref), dump(resource))


_WORDS = {"delete": "deleted", "retire": "retired"}


def _removed(version: Version) -> str | None:
    """The policy by which this version came about; no source of ours says of anything that it is not active."""
    if version.resource is None:
        return "delete"
    return "retire" if version.resource.get("active") is False else None


def _number(run: str) -> int:
    return int(run.rpartition("-")[2])


def _targets(resource: Any) -> set[str]:
    return {e["valueReference"]["reference"] for e in resource.get("extension", ())}


def _why(memory: Memory, ref: Ref) -> str:
    if ref in memory.waiting:
        return f", but waits for {sorted(map(str, memory.waiting[ref]))}"
    return next((f", but is in quarantine: {t.fault}" for t in memory.troubles if t.ref == ref), "")
