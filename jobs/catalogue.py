"""Every source and sink there is, by its name in the job file.  Dotted names: nothing is imported until it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a kind lives: `module:name` of its options' pydantic model, and of the class made from them.

    `needs`: what else a sink's class is given, by keyword: `run_id`, `job`, `store_id`, `meter`.
    """

    options: str
    factory: str
    needs: tuple[str, ...] = ()


SOURCES: Mapping[str, Entry] = {
    "cima": Entry("sources.cima.options:CimaOptions", "sources.cima.source:Cima"),
}

SINKS: Mapping[str, Entry] = {
    "folder": Entry("sinks.folder:FolderOptions", "sinks.folder:Folder", ("run_id",)),
    "fhir": Entry(
        "sinks.fhir.options:FhirOptions", "sinks.fhir.server:FhirServer", ("run_id", "job", "store_id", "meter")
    ),
}


def load(dotted: str) -> Any:
    """Import what `module:name` says."""
    module, _, name = dotted.partition(":")
    return getattr(import_module(module), name)
