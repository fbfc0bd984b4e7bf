"""What an export wrote, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.exporting import MEANING
from jobs.reporting.table import table_text
from tsi_fetch.counting import are, count


def exported_text(found: Mapping[str, Any], folder: str) -> str:
    return "\n".join(_lines(found, folder)) + "\n"


def _lines(found: Mapping[str, Any], folder: str) -> Iterator[str]:
    total = sum(output["count"] for output in found["output"])
    exported = f"{count(total, 'resource')} of {found['sink']} {are(total)} in {folder}"
    yield f"{found['job']}: {exported}, each type in its Type.ndjson"
    if found["output"]:
        rows = [{name: output[name] for name in ("type", "count", "bytes")} for output in found["output"]]
        yield from table_text(rows).rstrip("\n").split("\n")
        yield ""
    for kind, of in found["differences"].items():
        yield f"✗ {of['total']:,} {kind} (exit code 65): {MEANING[kind]}"
        yield from (f"  {name}" for name in of["named"])
        if more := of["total"] - len(of["named"]):
            yield f"  and {more:,} more"
    if found["differences"]:
        yield f"  → tsi-fetch reconcile {found['job']}"
