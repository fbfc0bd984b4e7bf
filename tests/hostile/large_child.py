"""The source in a process of its own, at its default bound: what becomes of some products, and the memory that it took.

python -m tests.hostile.large_child BASE_URL NREGISTRO...
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import closing
from pathlib import Path

from sources.cima.options import CimaOptions
from sources.cima.source import Cima
from tsi_fetch.clock import SystemClock
from tsi_fetch.errors import Unusable
from tsi_fetch.words import Row


def fate(source: Cima, row: Row) -> str:
    try:
        return f"{len(source.to_changes(row))} changes"
    except Unusable as e:
        return f"{e.fault.code} at {e.fault.path}"


def peak() -> int:
    """Megabytes: not ru_maxrss, which begins with that of the parent."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) // 1024


def main(base_url: str, *numbers: str) -> None:
    options = CimaOptions(base_url=base_url, rate=50, attempts=1)
    with closing(Cima(options, SystemClock())) as source:
        fates = [fate(source, row) for batch in source.fetch(numbers) for row in batch.rows]
    print(json.dumps({"fates": fates, "megabytes": peak()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
