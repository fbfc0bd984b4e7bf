"""A first load of the generated register, interrupted again and again while the register changes, then checked whole.

    python -m dev.load_cima --products 2540                      # into a folder
    python -m dev.load_cima --sink hapi --products 300           # into a real HAPI on PostgreSQL

The register is a process of its own, each run a child: `tsi-fetch run`, with a job file, a store and a sink as a user
has them.  It is told to end (SIGKILL, SIGTERM, SIGINT by turns) after numbers of requests that the seed decides, and so
do nights pass and the listing turn.  Then come runs that nothing disturbs, until one says that all is done; then every
product of the register is looked for in the sink, by what the register's texts were made of.  Exit code 1 where
anything is wrong.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain, islice
from pathlib import Path

from dev.hapi.classpath import NotAvailable
from dev.load.index import Index
from dev.load.kept import misremembered, misreported
from dev.load.order import out_of_order
from dev.load.places import Place, opened
from dev.load.trial import Asked, Played, Trial
from dev.load.truth import untrue

NAMED = 20
"""What is wrong, by name; the rest is counted."""


def load(asked: Asked, sink: str, folder: Path) -> bool:
    """Load, check, tell; True where nothing is wrong."""
    with opened(sink, folder) as place:
        trial = Trial(asked, place, folder)
        played = trial.play()
        begun = time.monotonic()
        with closing(Index(folder / "index.db", place.versions())) as index:
            wrong = chain(played.wrong, judged(trial, place, played, index))
            named, more = list(islice(wrong, NAMED)), sum(1 for _ in wrong)
            tell(asked, place, played, index, time.monotonic() - begun)
    for line in named:
        print(f"  {line}")
    print(f"{len(named) + more} things are wrong" if named else "nothing is wrong", flush=True)
    return not named


def judged(trial: Trial, place: Place, played: Played, index: Index) -> Iterator[str]:
    """Everything that is wrong at the end, in words."""
    register = trial.register()
    yield from untrue(register, index)
    yield from misremembered(place.store, index, verbatim=place.verbatim)
    yield from misreported(played.ends, index, histories=place.histories)
    yield from out_of_order(register, index) if place.histories else ()


def tell(asked: Asked, place: Place, played: Played, index: Index, checking: float) -> None:
    """The figures, one a line."""
    resources, versions = index.size()
    figures = {
        "seed": asked.seed,
        "sink and store": place.name,
        "products at first": asked.products,
        "nights": f"{played.nights} of {asked.changes} changes",
        "runs": f"{len(played.ends)}, of which {played.interruptions} were interrupted",
        "requests": played.requests,
        "resources": f"{resources} in {versions} versions" if place.histories else resources,
        "megabytes": round(place.megabytes()),
        "seconds": f"{played.seconds:.0f}, and {checking:.0f} to check",
        "CPU seconds of the runs": round(played.usage.cpu),
        "peak RSS of a run": f"{played.usage.rss:.0f} MB",
    }
    for name, figure in figures.items():
        print(f"{name:24} {figure}")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the register, and of what happens")
    parser.add_argument("--products", type=int, default=300, help="the whole register has 25,400")
    parser.add_argument("--sink", choices=["folder", "hapi"], default="folder")
    parser.add_argument("--interruptions", type=int, default=10)
    parser.add_argument("--nights", type=int, default=10, help="that pass during the load")
    parser.add_argument("--changes", type=int, default=45, help="products that change in a night")
    parser.add_argument("--rate", type=float, default=50, help="requests a second, as the job file has it")
    parser.add_argument("--text-bytes", type=int, default=83_000, help="of a text, on average")
    parser.add_argument("--etag", action="store_true", help="the register sends ETags")
    parser.add_argument("--patience", type=float, default=1_800, help="seconds that a run may ask for nothing")
    parser.add_argument("--dir", type=Path, help="where sink and store are made, and stay; else they are forgotten")
    return parser.parse_args(words)


def main() -> int:
    given = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: servers with it
    asked = Asked(
        seed=given.seed,
        products=given.products,
        interruptions=given.interruptions,
        nights=given.nights,
        changes=given.changes,
        rate=given.rate,
        text_bytes=given.text_bytes,
        etags=given.etag,
        patience=given.patience,
    )
    with ExitStack() as stack:
        folder = given.dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tsi-fetch-load-")))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return 0 if load(asked, given.sink, folder.resolve()) else 1
        except NotAvailable as e:
            print(f"not tried: {e}", file=sys.stderr)
            return 69


if __name__ == "__main__":
    sys.exit(main())
