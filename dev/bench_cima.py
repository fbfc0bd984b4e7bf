"""What CIMA costs, whole: a first load, an unchanged night and a usual one, from a register that is made up.

    python -m dev.bench_cima [--products 25400] [--few 2540] [--latency 50] [--json FILE]
    python -m dev.bench_cima --products 254 --few 64          # to see that it works: a minute or two
    python -m dev.bench_cima --products 0 --hapi [--apart]    # into a real HAPI; needs Java: a quarter of an hour

The register (dev/cima/) is served by a process of its own; the sink is a folder, the store an SQLite file; each run is
a process of its own.  A first load is held against two limits of the same register: a bare client that asks the same
URLs with as many connections and throws the answers away, and the folder given the same bytes.  What a rate limit makes
of it is measured of the smaller register alone (`--few-rate`, into a folder of its own), where it takes minutes, and
told of the larger one on paper, from the requests that were counted.  `--hapi`: see dev/bench_cima_hapi.py.
docs/performance.md says how to read it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from dev import bench_cima_hapi
from dev.bench_cima_trial import Measured, Trial, urls_of
from dev.cima.wire import GeneratedProcess

ROOT = Path(__file__).parent.parent
RATES = (5, 10, 20)  # requests a second, in sum
AIM_RATIO, AIM_BEYOND, AIM_MB, AIM_GROWTH = 1.15, 60, 150, 1.15
LISTS = ("registroCambios", "medicamentos")
HEAD = f"{'':34}{'products':>9}{'a second':>9}{'requests':>10}{'CPU ms':>8}{'MB':>6}{'seconds':>9}"
WIDTH = 85


@dataclass
class Size:
    """What was measured of a register of so many products.  `beyond`: requests of the usual night that no product
    needed which had changed."""

    products: int
    runs: dict[str, Measured] = field(default_factory=dict)
    beyond: int = 0

    @property
    def first(self) -> Measured:
        return self.runs["first load"]

    @property
    def slower_limit(self) -> float:
        """Seconds."""
        return max(self.runs[name].seconds for name in ("  the answers alone", "  the folder alone"))


@dataclass(frozen=True)
class Aim:
    what: str
    value: float
    most: float

    @property
    def hit(self) -> bool:
        return self.value <= self.most

    def printed(self) -> str:
        return f"{'hit ' if self.hit else 'MISS'}  {self.what}: {self.value:,.2f} (at most {self.most:g})"


def measure(products: int, given: argparse.Namespace, *, limits: bool) -> Size:
    """All runs of one size, printed as they come.  `limits`: also what they are held against."""
    size = Size(products)
    arguments = ["--seed", given.seed, "--products", products, "--latency", given.latency]
    arguments += ["--text-bytes", given.text_bytes]
    with (
        tempfile.TemporaryDirectory(prefix="tsi-fetch-bench-") as folder,
        GeneratedProcess(*map(str, arguments)) as server,
    ):
        plain = Trial("run", server.base_url, folder, connections=given.connections)
        apart = dataclasses.replace(plain, folder=str(Path(folder) / "rated"), rate=given.few_rate)
        Path(apart.folder).mkdir()
        for name, trial in _trials(plain, apart, given, limits=limits):
            changed = _night(server, given.changes) if "usual" in name else frozenset()
            size.runs[name] = found = _child(trial)
            _print(name, found)
            if name == "usual night":
                size.beyond = beyond(urls_of(trial).read_text(encoding="ascii").split(), changed)
    return size


def _trials(plain: Trial, apart: Trial, given: argparse.Namespace, *, limits: bool) -> Iterator[tuple[str, Trial]]:
    """`apart`: with a rate, and a folder that holds nothing yet."""
    yield "first load", plain
    if limits:
        yield "  the answers alone", dataclasses.replace(plain, what="answers")
        yield "  the folder alone", dataclasses.replace(plain, what="folder")
    yield "unchanged night", dataclasses.replace(plain, run="bench-2")
    if not limits and apart.rate:
        yield f"first load, {apart.rate:g} requests/s", apart
        yield f"unchanged night, {apart.rate:g} requests/s", dataclasses.replace(apart, run="bench-2")
    yield "usual night", dataclasses.replace(plain, run="bench-3")
    if limits and given.night_rate:
        rated = dataclasses.replace(plain, run="bench-4", rate=given.night_rate)
        yield f"usual night, {given.night_rate:g} requests/s", rated


def _night(server: GeneratedProcess, changes: int) -> frozenset[str]:
    """Let a night pass; the numbers of the products that changed."""
    rows: Sequence[Mapping[str, str]] = server.call("POST", f"night?changes={changes}")["rows"]
    return frozenset(row["nregistro"] for row in rows)


def beyond(urls: Sequence[str], changed: frozenset[str]) -> int:
    """How many of these requests no changed product needed: lists, what was asked twice, other products."""
    return len(urls) - len({url for url in urls if _needed(url, changed)})


def _needed(url: str, changed: frozenset[str]) -> bool:
    parts = urlsplit(url)
    name = parts.path.removeprefix("/cima/rest/").split("/")[0]
    number = parse_qs(parts.query).get("nregistro")
    return name not in LISTS and (number is None or number[0] in changed)


def _child(trial: Trial) -> Measured:
    given = json.dumps(dataclasses.asdict(trial))
    command = [sys.executable, "-W", "ignore", "-m", "dev.bench_cima_trial", given]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a trial ended with {done.returncode}: {trial}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _print(name: str, found: Measured) -> None:
    each = max(1, found.products)
    figures = f"{found.products:9,}{found.products / found.seconds:9.1f}" if found.products else f"{'':18}"
    spent = f"{1000 * found.cpu / each:8.1f}" if found.products else f"{found.cpu:6.1f} s"
    print(f"{name:34}{figures}{found.requests or '':>10}{spent}{found.rss:6.0f}{found.seconds:9.1f}", flush=True)
    for line in _wrapped(found):
        print(line, flush=True)
    if found.outcome != "done":
        print(f"    ! {found.outcome}", flush=True)


def _wrapped(found: Measured) -> Sequence[str]:
    """The phases as shares of the run's time; what is missing to the whole is none of them."""
    shares = sorted(found.phases.items(), key=lambda phase: -phase[1])
    words = ", ".join(f"{name} {100 * seconds / found.seconds:.0f}\u00a0%" for name, seconds in shares)
    lines = textwrap.wrap(words, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return [line.replace("\u00a0", " ") for line in lines]


def aims(large: Size, few: Size | None) -> list[Aim]:
    """What was to be reached."""
    most = max(found.rss for name, found in large.runs.items() if not name.startswith("  "))
    found = [
        Aim("first load, by the slower of its two limits", large.first.seconds / large.slower_limit, AIM_RATIO),
        Aim("usual night, requests beyond what the changed products need", large.beyond, AIM_BEYOND),
        Aim("MB, the most of any run", most, AIM_MB),
    ]
    if few:
        what = f"MB of the first load of {large.products:,} products, by that of {few.products:,}"
        found.append(Aim(what, large.first.rss / few.first.rss, AIM_GROWTH))
    return found


def aim_of(load: bench_cima_hapi.Load) -> Aim:
    return Aim(f"{load.cost.name}, into HAPI, by the slower of its two limits", load.ratio, AIM_RATIO)


def on_paper(large: Size, hours: float) -> Iterator[str]:
    """What the counted requests of each run take at a polite pace."""
    yield f"\nOn paper, in nights of {hours:g} hours:"
    for name in ("first load", "usual night"):
        requests = large.runs[name].requests
        at = (f"{requests / rate / 3600:,.2f} h = {requests / rate / 3600 / hours:,.2f} at {rate}/s" for rate in RATES)
        yield f"    {name}, {requests:,} requests: {'; '.join(at)}"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=25_400, help="into a folder; 0: none")
    parser.add_argument("--few", type=int, default=2_540, help="a smaller register, for the memory; 0: none")
    parser.add_argument("--changes", type=int, default=45, help="products that change in a usual night")
    parser.add_argument("--latency", type=float, default=50, help="milliseconds until the register answers")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--text-bytes", type=int, default=83_000)
    parser.add_argument("--night-rate", type=float, default=20, help="requests a second of one more night; 0: none")
    parser.add_argument(
        "--few-rate", type=float, default=50, help="requests a second of one more load of the smaller register; 0: none"
    )
    parser.add_argument("--hours", type=float, default=8, help="of a night, on paper")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hapi", action="store_true", help="also into a real HAPI on PostgreSQL: needs Java")
    parser.add_argument("--hapi-products", type=int, default=300, help="of each load into it")
    parser.add_argument("--hapi-url", help="a server that runs already, instead of a new one; it is written to")
    parser.add_argument("--apart", action="store_true", help="HAPI on one half of the cores, all else on the other")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser


def main() -> None:
    given = arguments().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: servers and registers with it
    there = {"cores": os.cpu_count(), "python": platform.python_version(), "load": round(os.getloadavg()[0], 1)}
    print(f"{there['cores']} cores, Python {there['python']}, load {there['load']}")
    sizes, found = into_folders(given) if given.products else ([], [])
    loads = bench_cima_hapi.measure(given, _child) if given.hapi or given.hapi_url else []
    found += map(aim_of, loads)
    print("\n".join(["", *(aim.printed() for aim in found)]))
    if given.json:
        judged = [{**dataclasses.asdict(aim), "hit": aim.hit} for aim in found]
        figures = {"machine": there, "sizes": [dataclasses.asdict(size) for size in sizes], "aims": judged}
        figures["hapi"] = [load.to_json() for load in loads]
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


def into_folders(given: argparse.Namespace) -> tuple[list[Size], list[Aim]]:
    """What was measured, and what of it was aimed at."""
    print(f"\n{HEAD}")
    few = measure(given.few, given, limits=False) if given.few else None
    large = measure(given.products, given, limits=True)
    print("\n".join(on_paper(large, given.hours)))
    return [size for size in (few, large) if size], aims(large, few)


if __name__ == "__main__":
    main()
