"""What the peers of a registry do with the same resources; run by an environment of its own, not the project's.

    python dev/bench_peers.py fhirpy|kindling URL FILE

FILE has one resource a line.  Prints one line of JSON, as `dev/bench_trial.py` does.  The packages stand in `PACKAGES`.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ("fhirpy==2.3.1", "fhir-kindling==1.0.3", "httpx<0.28")  # 0.28 took away what fhir-kindling calls it with
ENTRIES = 100
AT_ONCE = 2

Resources = list[dict[str, Any]]


def fhirpy(url: str, resources: Resources) -> None:
    """Ready-made transactions, two at a time."""
    asyncio.run(_fhirpy(url, [_transaction(some) for some in _slices(resources)]))


async def _fhirpy(url: str, transactions: list[dict[str, Any]]) -> None:
    from fhirpy import AsyncFHIRClient  # type: ignore[import-not-found]

    client = AsyncFHIRClient(url)
    turns = asyncio.Semaphore(AT_ONCE)

    async def send(transaction: dict[str, Any]) -> None:
        async with turns:
            await client.execute("", method="post", data=transaction)

    await asyncio.gather(*(send(transaction) for transaction in transactions))


def kindling(url: str, resources: Resources) -> None:
    """`update`, slice by slice: what its documentation shows."""
    from fhir_kindling import FhirServer  # type: ignore[import-not-found]

    server = FhirServer(api_address=url, timeout=120)
    for some in _slices(resources):
        server.update(some)


def _slices(resources: Resources) -> list[Resources]:
    return [resources[first : first + ENTRIES] for first in range(0, len(resources), ENTRIES)]


def _transaction(resources: Resources) -> dict[str, Any]:
    def request(found: dict[str, Any]) -> dict[str, str]:
        return {"method": "PUT", "url": f"{found['resourceType']}/{found['id']}"}

    entries = [{"resource": found, "request": request(found)} for found in resources]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


TOOLS: dict[str, Callable[[str, Resources], None]] = {"fhirpy": fhirpy, "kindling": kindling}


def main() -> None:
    tool, url, file = sys.argv[1:]
    resources = [json.loads(line) for line in Path(file).read_bytes().splitlines()]
    begun, spent = time.perf_counter(), time.process_time()
    note = ""
    try:
        TOOLS[tool](url, resources)
    except Exception as e:  # noqa: BLE001 — whatever a peer raises is what is to be reported of it
        note = f"{type(e).__name__}"
    measured = {
        "resources": len(resources),
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - spent,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "requests": len(_slices(resources)),
        "writing": len(_slices(resources)),
        "note": note,
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
