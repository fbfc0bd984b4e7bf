"""The whole loop over a graph, a disturbed FHIR server and a real store, and what must hold after each of its runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from graph_source import GraphSource, Node

from sinks.fhir.options import FhirOptions
from sinks.fhir.server import FhirServer
from store.handle import Stored
from store.queries import QuarantineRow, quarantine
from tests.sinks.disturbed_hapi import SOMEONE, DisturbedHapi
from tests.sinks.fake_hapi import BASE
from tsi_fetch.clock import ReplayClock
from tsi_fetch.fhir.digest import canonical_digest
from tsi_fetch.fhir.equality import same
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.report import Report
from tsi_fetch.run import Ports, Settings, run_job
from tsi_fetch.words import DOUBTED, Known, Ref, RunRecord, State

FINISHED = (0, 65)
UNFINISHED = (75, 78)  # 78: for a login page with status 200, which a person must look at

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Memory:
    """What the store remembers after a run."""

    known: Mapping[Ref, Known]
    waiting: Mapping[Ref, frozenset[Ref]]
    troubles: list[QuarantineRow]
    left: int  # keys of an open work list

    @property
    def troubled(self) -> frozenset[Ref]:
        return frozenset(t.ref for t in self.troubles if t.ref)


class GraphHouse:
    """Runs the loop again and again, as a job of its own.  `stored`: may be shared, since to open one takes longer."""

    def __init__(self, stored: Stored, source: GraphSource, hapi: DisturbedHapi, **options: Any) -> None:
        self.number = next(_numbers)
        self.job = f"graph-{self.number}"
        self.stored, self.source, self.hapi = stored, source, hapi
        self.clock = ReplayClock(datetime(2026, 3, 2, 9, 30, tzinfo=UTC))
        self.options = {"max_wait": 60, **options}
        self.given: list[dict[Ref, Node]] = []  # by the number of the run
        self.reports: list[Report] = []

    # what happens

    def run(self, *disturbances: str | None, calm: bool = False, **settings: Any) -> Report:
        """One run, and whether it told the truth."""
        self.hapi.bad_day = list(disturbances)
        if calm:
            self.hapi.catch_up()
        self.given.append(self.source.given)
        run_id, lost = f"run-{self.number}-{len(self.given)}", self.hapi.lost
        report = self._run(run_id, settings)
        self.reports.append(report)
        memory = self.memory()
        self._look_at_history()
        self._look_at_report(report, memory, answered=self.hapi.lost == lost and not self.hapi.late)
        if report.exit_code in FINISHED:
            self._look_at_everything(memory)
        return report

    def _run(self, run_id: str, settings: Mapping[str, Any]) -> Report:
        with ExitStack() as stack:
            lease = self.stored.lease(self.job, self.job, run_id, expiry=60, wait=self.clock.sleep)
            store = stack.enter_context(lease)
            store.begin_run(RunRecord(run_id, self.job, self.clock.now()))
            options = FhirOptions(url=BASE, **self.options)
            transport = self.hapi.transport()
            server = FhirServer(options, self.clock, run_id, self.job, self.stored.store_id, transport=transport)
            ports = Ports(self.source, stack.enter_context(server), store, self.clock)
            return run_job(ports, Settings(self.job, run_id, validate="off", **settings))

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
        return Memory(reader.known(list(refs)), reader.waiting_graph(), troubles, work.left if work else 0)

    # what must be true

    def _look_at_history(self) -> None:
        """Of every run, whatever its end."""
        assert self.hapi.flaws == [], self.hapi.flaws
        for name, versions in self.hapi.resources.items():
            for one, two in itertools.pairwise(versions):
                if SOMEONE in (one.run, two.run) or one.resource is None or two.resource is None:
                    continue
                repeated = same(dump(one.resource), dump(two.resource))
                between = range(_number(one.run), _number(two.run) - 1)  # the runs after the one, before the other
                changed = any(not self._is(name, n, one.resource) for n in between)
                assert changed or not repeated, f"{name}: version {two.number} repeats the one before it"

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
        for action in ("created", "updated"):
            said = sum(counts.get(action, 0) for counts in report.counts.values())
            assert said <= made[action], f"{said} said to be {action}, {made[action]} are"
            if answered and report.exit_code in FINISHED:
                assert said == made[action], f"{said} said to be {action}, {made[action]} are"

    def _made(self, run: str) -> dict[str, int]:
        made = {"created": 0, "updated": 0}
        for name, versions in self.hapi.resources.items():
            if name.startswith("Device/"):
                continue  # the marker, and the proof that the server stores
            before = None
            for version in versions:
                if version.run == run and version.resource is not None:
                    made["created" if before is None else "updated"] += 1
                before = version.resource
        return made

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
            if ref in memory.waiting:
                assert not all(self.alive(t) for t in node.to), f"{ref} waits, but lacks nothing"
        for ref in memory.known.keys() | {r for given in self.given for r in given}:
            self._look_at_known(ref, memory)

    def _look_at_known(self, ref: Ref, memory: Memory) -> None:
        """What is remembered is what the server holds, of all that is ours."""
        versions, known = self.hapi.resources.get(str(ref)), memory.known.get(ref)
        if versions is None or versions[-1].run == SOMEONE:
            return
        assert known is not None, f"{ref} is ours and not known"
        last = versions[-1]
        if last.resource is None:
            assert known.state is State.DELETED
            return
        if known.digest == DOUBTED and ref in memory.waiting.keys() | memory.troubled:
            return  # a run that failed had begun to write it: what is there is learnt when it is written
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
        while bad := {r for r in taken if any(t not in taken and not self.alive(t) for t in given[r].to)}:
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


def _number(run: str) -> int:
    return int(run.rpartition("-")[2])


def _targets(resource: Any) -> set[str]:
    return {e["valueReference"]["reference"] for e in resource.get("extension", ())}


def _why(memory: Memory, ref: Ref) -> str:
    if ref in memory.waiting:
        return f", but waits for {sorted(map(str, memory.waiting[ref]))}"
    return next((f", but is in quarantine: {t.fault}" for t in memory.troubles if t.ref == ref), "")
