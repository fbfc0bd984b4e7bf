"""A life of ring 3: each run is a child, and between it and a real HAPI stands a network that fails.

The connection is cut in mid-transaction, HAPI or its database is restarted under a run, the database is restored to an
earlier copy between two, and somebody else edits and deletes.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from store.queries import runs
from store.upgrade import state
from tests.faults.checker import Verdict, Version
from tests.faults.life import JOB, SINK, Held
from tests.faults.machine import Desk, Machine
from tests.faults.processes import PATIENCE, ROOT, Process, environment
from tests.faults.proxy import CUTS, Proxy
from tests.faults.servers import Hour, World
from tsi_fetch.errors import Exit
from tsi_fetch.fhir.references import references
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.marker import marker_name
from tsi_fetch.words import Ref

Rare = Literal["HAPI restarted", "HAPI's database restored", "somebody edits and deletes"]
SHARED = Ref("Organization", "es-aemps-org-aemps")
"""What every register names; where a life ends without products, it is retired, and the next one finds it so."""

_PATIENCE = ("attempts: 3, max_wait: 5", "attempts: 30, max_wait: 60")


class OnHapi(Process):
    """The sink is real.  `rare`: what happens once in this life, and takes long."""

    most_nights = 6
    alone = verbatim = False  # trials share what several registers name, and HAPI spells anew what it is sent

    def __init__(
        self, dice: random.Random, store: str, folder: Path, machine: Machine, first: int, rare: Rare | None = None
    ) -> None:
        super().__init__(dice, store, folder, first)
        self.machine, self.desk = machine, Desk(machine.url)
        self.proxy = Proxy(machine.url, self.reaper)
        self.desk.revive(SHARED)
        self._since = datetime.now(UTC)
        self._copy = f"copy_{first}"
        self._restarts, self._restores = rare == "HAPI restarted", rare == "HAPI's database restored"
        self._meddled, self.least_nights = dice.random() < 0.3, 4 if rare else 1
        self._to_do = ["edit", "delete"] if rare == "somebody edits and deletes" else []
        self._patience, self.removal = dice.choice(_PATIENCE), dice.choice(["retire", "retire", "delete"])
        self.on_existing = dice.choice(["adopt", "refuse"]) if self._meddled or self._to_do else "refuse"
        self.on_existing = "adopt" if self._restores else self.on_existing
        self._copied = self._refused = False  # refused: the marker is another one, so that every run must end with 77
        self._theirs: set[tuple[Ref, str]] = set()  # deletions that somebody else made
        self._flaws: list[str] = []
        self._aside = ThreadPoolExecutor(1)
        self._under_way: Future[None] | None = None

    @property
    def all_counts(self) -> Counter[str]:
        return super().all_counts + self.proxy.injected

    def play(self) -> Verdict:
        with self.proxy, self._aside:
            try:
                return super().play()
            finally:
                if self._copied:
                    self.machine.forget(self._copy)

    def job_settings(self, world: World) -> dict[str, object]:
        return super().job_settings(world) | {
            "fhir": self.proxy.url,
            "patience": self._patience,
        }

    # a night

    def disturb(self, *, calm: bool) -> None:
        """How the network behaves; the server itself is disturbed when a certain write comes."""
        cuts: list[str | None] = [self.dice.choice(CUTS) if self.dice.random() < 0.15 else None for _ in range(8)]
        number, mishap = 1 if self._restarts else self.dice.randint(1, 3), None if calm else self._mishap()

        def before(write: int) -> None:
            if mishap and write == number:
                self.counts[mishap[0]] += 1
                self._restarts = False
                self._under_way = self._aside.submit(mishap[1])

        self.proxy.begin([] if calm or self.dice.random() < 0.4 else cuts, before)

    def _mishap(self) -> tuple[str, Callable[[], None]] | None:
        if not self._restarts:
            return ("PostgreSQL restarted", self.machine.restart_database) if self.dice.random() < 0.1 else None
        kill = self.dice.random() < 0.5
        return "HAPI restarted" + " by SIGKILL" * kill, lambda: self.machine.restart(kill=kill)

    def run(self, *, calm: bool, full: bool) -> tuple[int, str]:
        try:
            code, how = super().run(calm=calm, full=full)
        except subprocess.TimeoutExpired:
            code, how = self._too_long(calm=calm), "killed since it took too long"
        self._settle()
        if self._refused and code in (0, 65):
            self._flaws.append(f"a run ended with {code} on a server that was restored")
        return code, how

    def _too_long(self, *, calm: bool) -> int:
        """A server that is down for minutes excuses it, and nothing else."""
        child = self.reaper.child
        assert child
        child.kill()
        self.counts["killed since it took too long"] += 1
        if calm:
            self._flaws.append("a run that nothing disturbed did not end")
        return child.wait()

    def _settle(self) -> None:
        """A child has ended; all that it has set going comes to its end, too."""
        self.proxy.settle()
        if self._under_way:
            self._under_way.result()
            self._under_way = None
            self.machine.await_health()

    # what is there

    def held(self) -> dict[Ref, list[Held]]:
        """From HAPI's histories.  Written by a run of this store, or by somebody else; a deletion that is not known to
        be somebody's is ours."""
        expected = {ref for editions in self.story.editions.values() for edition in editions for ref in edition}
        with self.opened() as stored:
            ours = {row.record.id for row in runs(stored, JOB, 1000)}
        found = self.desk.histories(self._since, expected)
        return {ref: [self._attributed(ref, v, ours) for v in versions] for ref, versions in found.items()}

    def _attributed(self, ref: Ref, held: Held, ours: set[str]) -> Held:
        body, run = held.said.body, held.said.run
        if body is None:
            return Held(held.number, Version(None, None if (ref, held.number) in self._theirs else "a deletion"))
        return Held(held.number, Version(body, run if run in ours else None))

    def written(self) -> None:
        """HAPI does not say who deleted what, and a restored one forgets the rest."""

    def another_server(self) -> bool:
        """`_refuse` looks at that."""
        return False

    def look(self, *, calm: bool = False) -> Verdict:
        if state(self.store) == "current" or not self.desk.histories(self._since, ()):
            return super().look(calm=calm)
        return Verdict(untrue=("something is at the sink, and there is no store",))

    def flaws(self) -> list[str]:
        return self._flaws

    # others

    def between(self) -> list[str]:
        if state(self.store) != "current":
            return []  # nobody wrote anything yet
        if self._restores and not self._copied:
            self.machine.copy(self._copy)
            self._copied = True
            return []
        if self._copied and not self.tampered:
            return self._restored()
        if self._to_do:
            return self._somebody()
        if not self._meddled or self.dice.random() < 0.4:
            return []
        return self._edited() if self.dice.random() < 0.5 else self._deleted()

    def _restored(self) -> list[str]:
        self.machine.restore(self._copy)
        self._copied = self._restores = False
        self.tampered = True
        self.counts["HAPI's database restored"] += 1
        there = {(ref, v.number) for ref, versions in self.held().items() for v in versions if v.said.body is None}
        self._theirs &= there
        self._refused = self._marker_differs()
        return ["the server is restored, and its marker is " + ("another" if self._refused else "the same")]

    def _marker_differs(self) -> bool:
        """By the contract: neither the one remembered, nor one that a killed run had intended."""
        with self.opened() as stored:
            remembered, intended = stored.reader(JOB, SINK).marks()
            there = self.desk.version(Ref("Device", marker_name(stored.store_id, JOB)))
        if there == (remembered.version if remembered else None):
            return False
        return not (intended and there is not None and _next(intended.version) == there)

    def _somebody(self) -> list[str]:
        """The next that is to do, as soon as there is anything to do it to."""
        told = self._edited() if self._to_do[-1] == "edit" else self._deleted()
        if told:
            self._to_do.pop()
        return told

    def _edited(self) -> list[str]:
        ref, last = self._somewhere(lambda ref: True)
        if ref is None or last is None:
            return []
        body = parse(last)
        self.tampered |= self.desk.edit(ref, dump({**body, "language": "eo" if body.get("language") != "eo" else "la"}))
        self.counts["somebody edits"] += 1
        return [f"somebody edits {ref}"]

    def _deleted(self) -> list[str]:
        named = self._referred()
        ref, _ = self._somewhere(lambda ref: ref not in named)
        if ref is None or not self.desk.delete(ref):
            return []
        self._theirs.add((ref, self.held()[ref][-1].number))
        self.tampered = True
        self.counts["somebody deletes"] += 1
        return [f"somebody deletes {ref}"]

    def _referred(self) -> set[Ref]:
        """What others at the server refer to: it deletes none of that."""
        bodies = [v[-1].said.body for v in self.held().values()]
        return {ref for body in bodies if body for ref in references(body)}

    def _somewhere(self, fit: Callable[[Ref], bool]) -> tuple[Ref | None, bytes | None]:
        """Something of ours that is there; not what trials share, also where this one was the first to write it."""
        there = {ref: v[-1].said.body for ref, v in self.held().items() if v[0].said.run and v[-1].said.body}
        some = sorted(ref for ref in there if ref != SHARED and fit(ref))
        ref = self.dice.choice(some) if some else None
        return ref, there[ref] if ref else None

    def mend(self) -> None:
        """The way out after somebody else was at the server; it may be killed as well."""
        if self._to_do:  # runs were killed before they wrote anything
            self._night("a night before somebody comes", calm=True, full=False)
        while self._to_do and self._somebody():
            pass
        if not self.tampered:
            return
        if self._refused:
            self._refuse()
        self.proxy.begin([])
        if self.dice.random() < 0.4:
            self._reconcile(Hour("asked", self.dice.randint(1, 8)))
        if code := self._reconcile(None):
            self._flaws.append(f"reconcile --fix ended with {code}")
        self.counts["reconcile --fix"] += 1
        self._refused = False

    def _refuse(self) -> None:
        """A run on a restored server, which nothing else disturbs, says 77, and writes nothing."""
        before = self.held()
        self._night("the server is another", calm=True, full=False)
        if (code := self.ends[-1].code) != Exit.GUARDED:
            self._flaws.append(f"a run on a restored server ended with {code}")
        if self.held() != before:
            self._flaws.append("a run wrote to a restored server")
        self.counts["a restored server refused"] += 1

    def _reconcile(self, hour: Hour | None) -> int:
        self.reaper.begin(hour)
        command = [sys.executable, "-m", "jobs", "reconcile", JOB, "--fix", "--yes"]
        command += ["--config", str(self.folder / "jobs.yaml")]
        with (self.folder / "out").open("ab") as out:
            child = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment())
            self.reaper.child = child
            code = child.wait(PATIENCE)
        self._settle()
        return code


def _next(version: str | None) -> str:
    return str(int(version or "0") + 1)
