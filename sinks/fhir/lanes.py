"""Several bundles in flight: none is sent before those that it needs have been acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from sinks.fhir.bundles import Bundle, Unit
from tsi_fetch.words import Outcome

Deliver = Callable[[Sequence[Unit]], list[Outcome]]


def in_turn(bundles: Sequence[Bundle], writers: int, deliver: Deliver) -> Iterator[list[Outcome]]:
    """Deliver all, at most `writers` at a time, and yield outcomes as they are acknowledged.

    Where one raises, no other is begun; what is in flight is waited for and yielded, then the first error is raised.
    """
    waiting = list(bundles)
    done: set[int] = set()
    flying: dict[Future[list[Outcome]], int] = {}
    errors: list[BaseException] = []
    with ThreadPoolExecutor(writers, thread_name_prefix="writer") as pool:
        while flying or (waiting and not errors):
            if not errors:
                for bundle in [b for b in waiting if b.needs <= done][: writers - len(flying)]:
                    waiting.remove(bundle)
                    flying[pool.submit(deliver, bundle.units)] = bundle.number
            landed, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in landed:
                number = flying.pop(future)
                error = future.exception()
                if error:
                    errors.append(error)
                else:
                    done.add(number)
                    yield future.result()
    if errors:
        raise errors[0]
