"""Workers in a life of ring 1: between two nights somebody begins a backfill, or has workers go on with a run's list; a
worker may die at any seam, and a night may come between what it fetches and what it writes."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import update

from store import backfills
from store.handle import EXPIRY, Stored
from store.schema import work as items
from store.workers import WorkerStore
from tests.faults.checker import Ended
from tests.faults.life import INCOMPLETE, JOB, SINK, STREAM
from tests.faults.loop_life import LONG_AGO, NOWHERE, OFTEN, Inside
from tests.faults.register_story import ACTS
from tests.faults.seams import COMMIT, Ticking, Waiting, let_expire, mortal_commits
from tests.sinks.sudden_death import Death, Doom, Killed, Mortal
from tsi_fetch.backfill import Bench, work
from tsi_fetch.errors import Exit
from tsi_fetch.ports import Claims, JobStore, Sink
from tsi_fetch.report import Report
from tsi_fetch.run import Ports
from tsi_fetch.words import RunRecord

OF_WORKERS = (
    *("claim", "mine", "failed", "progress", "close", "turn"),
    *("scopes", "known", "doubt", "settle", "recover", "recovered", "find", "write", "read_mark"),
)
"""Methods of a worker's claims, store and sink: before and after each of them it may die."""

ENDS = frozenset({0, 65, 75, 78, Exit.GUARDED})


class Working(Inside):
    """`working`: share of the days between two nights on which a worker is begun; `visited`: of those, on which a night
    comes before its turn; `mortal`: on which it dies."""

    working, visited, mortal = 0.35, 0.5, 0.4

    def __init__(self, dice: random.Random, store: str, folder: Path, *, near: bool | None = None) -> None:
        self.own = random.Random(repr(dice.getstate()))  # nothing else in the life is another for it
        super().__init__(dice, store, folder, near=near)
        self.wrong: list[str] = []
        self._visiting = False  # a night has come before a worker's turn

    def between(self) -> list[str]:
        told = super().between()
        return [*told, self.work()] if self.own.random() < self.working else told

    def mend(self) -> None:
        """What was begun is worked off before the last night."""
        super().mend()
        found = backfills.under_way(self._stored, JOB, SINK)
        if found is None:
            return
        self._disturb_register(calm=True, lists=False)
        self.register.tonight(0.0, 0)
        self.disturb(calm=True)
        backfills.resume(self._stored, found.id)
        self.told.append(f"a last {self._worked_on(found.id, calm=True)}")
        left = backfills.backfill(self._stored, found.id)
        if left is None or left.progress.state != "closed":
            self.wrong.append(f"a backfill is left {left and left.progress.state} when nothing disturbs it")

    def flaws(self) -> list[str]:
        return [*super().flaws(), *self.wrong]

    def nights(self, ends: Sequence[Ended]) -> list[Ended]:
        """Whoever comes to a halted list says that it is halted; why, the one that halted it has said."""
        return [end for end in ends if not end.run.startswith("worker")]

    def may_stop(self, report: Report) -> bool:
        """A run leaves its list to workers that are at it."""
        beside = any("workers are at it" in note for note in report.notes)
        if beside and not self._visiting:
            self.wrong.append(f"{report.run} left its list to workers, and there are none")
        return beside or super().may_stop(report)

    def work(self) -> str:
        """A worker of some list; what became of it, in words."""
        number = self._some_list()
        if self.own.random() < 0.1:
            backfills.resume(self._stored, number)
        with self.watched():
            told = self._worked_on(number, calm=False)
            self.recorded(-signal.SIGKILL)  # who died says no other code
        found = backfills.backfill(self._stored, number)
        if found and not found.of_runs and self.own.random() < 0.1:
            backfills.cancel(self._stored, number, "tester@desk")
            told += ", cancelled"
        return told

    def _some_list(self) -> int:
        """One that is open, or a new one."""
        listed = [one for one in backfills.backfills(self._stored) if one.progress.state in ("open", "halted")]
        if listed and (any(not one.of_runs for one in listed) or self.own.random() < 0.7):
            return self.own.choice(listed).id
        products = sorted(self.story.editions)
        keys = [*self.own.sample(products, self.own.randint(1, len(products))), *(["69999"] * self.own.randint(0, 1))]
        with self._stored.beginning(JOB, SINK, "maker", Ticking(self._not_behind(self._now)).sleep) as book:
            number = backfills.begin(book, self._stored, STREAM, {})
            backfills.note_all(book, number, keys)
            book.start_list(number, complete=False, cursor=None)
        return number

    def _worked_on(self, number: int, *, calm: bool) -> str:
        own, death = self.own, NOWHERE
        visited = not calm and own.random() < self.visited
        if not calm and own.random() < self.mortal:
            often = [at for at in OFTEN if at != COMMIT or not visited]  # the visitor's COMMITs are its own
            at = own.choice([*OF_WORKERS, *often, "settle", "write"])
            death = Death(at, own.randint(1, 8 if at in OFTEN else 3), own.random() < 0.5)
        doom = Doom(death)
        self._numbers += 1
        run_id = f"worker-{self._numbers}"
        clock = Waiting(self._not_behind(self._now), doom)
        visit = (lambda: self._visit(clock)) if visited else None
        try:
            with ExitStack() as stack:
                code = self._at_work(stack, run_id, number, clock, doom, visit)
        except Killed:
            self._died_at = clock.now()
            let_expire(self._stored, LONG_AGO)
            _let_claims_expire(self._stored)
            self.counts[f"a worker died {'after' if doom.death.after else 'before'} {doom.death.at}"] += 1
            code = -signal.SIGKILL
        self.counts["workers"] += 1
        self.codes[run_id] = code
        if code >= 0 and code not in (ENDS if not calm else {0, 65}):
            self.wrong.append(f"{run_id} ended with {code}")
        return f"{run_id} of list {number}, {doom.death}{', a night before its turn' if visit else ''}: {code}"

    def _at_work(
        self,
        stack: ExitStack,
        run_id: str,
        number: int,
        clock: Waiting,
        doom: Doom,
        visit: Callable[[], None] | None,
    ) -> int:
        found = backfills.backfill(self._stored, number)
        of_runs = found is not None and found.of_runs
        worker = self._stored.worker(JOB, SINK, run_id, number, expiry=EXPIRY, retry_after=0, of_runs=of_runs)
        record = RunRecord(run_id, JOB, clock.now(), whole=False)
        worker.begin_run(record)
        stack.enter_context(mortal_commits(self._stored, doom))
        source = stack.enter_context(closing(self._source(clock, doom)))
        sink = stack.enter_context(closing(self._sink(clock, run_id, doom)))
        ports = Ports(source, cast(Sink, Mortal(sink, doom)), cast(JobStore, Mortal(worker.book, doom)), clock)
        settings = replace(self._settings(run_id, full=False, limit=None), slice=500)
        at_once = 100 if self.near else self.own.choice([1, 2, 100])  # one slice: one thread does everything
        bench = Bench(ports, cast(Claims, Mortal(worker.claims, doom)), _Turns(worker, doom, visit), at_once=at_once)
        report = work(bench, settings)
        worker.end_run(_ended(record, report))
        return report.exit_code

    def _visit(self, clock: Waiting) -> None:
        """Something happens at the source, and a night comes, which is later than all that was fetched."""
        name = self.own.choice(list(ACTS))
        self.counts["a night before a worker's turn"] += 1
        self.story.act(name)
        doom, self._visiting = Doom(NOWHERE), True
        self._run(Waiting(clock.now() + timedelta(seconds=5), doom), doom, full=False)
        self._visiting = False
        self.incomplete |= any(words in str(self.reasons) for words in INCOMPLETE)
        Ticking.sleep(clock, 60)


class _Turns:
    """Before the first turn, others may have theirs."""

    def __init__(self, worker: WorkerStore, doom: Doom, visit: Callable[[], None] | None) -> None:
        self._worker, self._doom, self._visit = worker, doom, visit

    @contextmanager
    def turn(self, run_id: str, wait: Callable[[float], None]) -> Iterator[JobStore]:
        visit, self._visit = self._visit, None
        if visit:
            visit()
        self._doom.reached("turn", after=False)
        with self._worker.turn(run_id, wait) as book:
            self._doom.reached("turn", after=True)
            yield cast(JobStore, Mortal(book, self._doom))

    def wanted(self) -> bool:
        return False


def _ended(record: RunRecord, report: Report) -> RunRecord:
    how: dict[str, Any] = {"ended": report.ended, "outcome": report.outcome, "exit_code": report.exit_code}
    return replace(record, **how, report=report.to_json())


def _let_claims_expire(stored: Stored) -> None:
    with stored.database.write() as conn:
        conn.execute(update(items).where(items.c.holder.is_not(None)).values(held_until=LONG_AGO))
