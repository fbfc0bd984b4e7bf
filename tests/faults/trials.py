"""The trials of a ring, one seed after the other or some at once; each adds a line to the tally."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from tests.faults.checker import Verdict
from tests.faults.lines import Tally
from tests.faults.tally import red, table

Outcome = tuple[Mapping[str, int], Verdict]
"""What a trial counted, and what the checker says."""


def options(about: str | None, trials: int, *, at_once: bool = False) -> argparse.ArgumentParser:
    """What every ring can be asked for.  `at_once`: its trials share nothing, so that several may run side by side."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=trials)
    parser.add_argument("--seed", type=int, default=1, help="the first; each trial has the next one")
    parser.add_argument(
        "--tally", type=Path, help="each trial adds a line to this file; what it has is not tried again"
    )
    if at_once:
        parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="trials at once, each a process")
    else:
        parser.set_defaults(workers=1)
    return parser


def play(ring: str, given: argparse.Namespace, life: Callable[[int], Outcome]) -> int:
    """Try what the tally has not, and show all that it has of this ring; 1 where anything in it is wrong, also of what
    was tried before.  `life`: the trial of a seed."""
    tally = Tally(given.tally, ring)
    seeds = [seed for seed in range(given.seed, given.seed + given.trials) if not tally.has(seed)]
    workers = min(given.workers, len(seeds))
    for seed, outcome in _at_once(seeds, life, workers) if workers > 1 else ((seed, life(seed)) for seed in seeds):
        tally.add(seed, *outcome)
    return told(tally)


def told(tally: Tally) -> int:
    """Show all that the tally has of its ring; 1 where anything in it is wrong."""
    wrong = red(tally.mine)
    print(*filter(None, [table(tally.mine), wrong]), sep="\n", flush=True)
    return 1 if wrong else 0


def _at_once(seeds: Iterable[int], life: Callable[[int], Outcome], workers: int) -> Iterator[tuple[int, Outcome]]:
    """Each seed's outcome as it comes.  Workers are forked, so that `life` may hold what cannot be pickled; no trial
    waits in their queue, so that an interrupt (Ctrl-C, SIGTERM) ends it at once: trials tidy up, and are not told."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(life,)) as pool:
        try:
            yield from _outcomes(pool, iter(seeds), workers)
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)


def _outcomes(pool: ProcessPoolExecutor, seeds: Iterator[int], workers: int) -> Iterator[tuple[int, Outcome]]:
    running: dict[Future[Outcome], int] = {}
    while True:
        while len(running) < workers and (seed := next(seeds, None)) is not None:
            running[pool.submit(_try, seed)] = seed
        if not running:
            return
        for ended in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(ended), ended.result()


_lives: list[Callable[[int], Outcome]] = []  # of this worker: one


def _begin(life: Callable[[int], Outcome]) -> None:
    """In a worker: a terminal's Ctrl-C reaches it too, and is left to the parent, which terminates it."""
    _lives.append(life)
    signal.signal(signal.SIGINT, lambda *_: None)  # a function, so that what the trial starts does not inherit it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def _try(seed: int) -> Outcome:
    try:
        return _lives[-1](seed)
    except Exception as e:
        e.add_note(f"in the trial of seed {seed}")
        raise
