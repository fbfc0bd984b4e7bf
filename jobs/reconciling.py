"""Reconcile, from what was asked to its report: the store to read or to mend, the sink, and nothing of the source."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from jobs.actor import actor
from jobs.config.load import Configuration
from jobs.wiring import Asked, Target, make_sink, new_run_id, source_class, target
from store.handle import NoStore, Stored, open_scratch, open_store
from tsi_fetch.clock import StopSignal
from tsi_fetch.ports import Progress
from tsi_fetch.reconcile import Agree, Comparison, Reconciler, Subject


@dataclass(frozen=True, slots=True)
class Fix:
    """That what is remembered is to be mended.  `agree`: hears what that is, under the lease and before it is done, and
    may raise; None: only to look what there is to mend."""

    agree: Agree | None = None


def reconcile(
    configuration: Configuration, asked: Asked, stop: StopSignal, progress: Progress, fix: Fix | None = None
) -> Comparison:
    """Compare, and where a fix has somebody to agree, mend what is remembered, under the job's lease.  The sink is only
    read."""
    to = target(configuration, asked, None)
    agree = fix and fix.agree
    with ExitStack() as stack:
        stored = stack.enter_context(_opened(to, must_be_there=fix is not None or asked.store is not None))
        clock = stored.clock(stop)
        run_id = new_run_id(clock.now())
        book = stored.reader(asked.job, to.sink)
        if agree:
            expiry = configuration.job(asked.job).lease_expiry.total_seconds()
            book = stack.enter_context(stored.lease(asked.job, to.sink, run_id, expiry=expiry, wait=clock.sleep))
        sink = make_sink(to, clock, run_id=run_id, job=asked.job, store_id=stored.store_id)
        stack.enter_context(closing(sink))
        reconciler = Reconciler(_subject(configuration, asked.job), book, sink, stop, progress)
        return reconciler.mend(actor(), agree) if agree else reconciler.compare()


def _opened(to: Target, *, must_be_there: bool) -> Stored:
    """The store; an empty one that vanishes where no run has made it yet: everything is unknown to it.  NoStore where
    that would hide a mistake: in the name of a store, or in mending what nobody remembers."""
    try:
        return open_store(to.store.reveal())
    except NoStore:
        if must_be_there:
            raise
        return open_scratch()


def _subject(configuration: Configuration, job: str) -> Subject:
    facts: Any = source_class(configuration, job)
    return Subject(job, facts.stream, frozenset(facts.types), configuration.job(job).shared)
