"""A source over real HTTP that is given a key, and whose register speaks of people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, SecretStr

from tsi_fetch.clock import Clock, microseconds
from tsi_fetch.errors import TryAgain, Unusable
from tsi_fetch.fhir.tokens import dump, parse
from tsi_fetch.http.answer import requested_at
from tsi_fetch.http.authenticate import Credential
from tsi_fetch.http.chain import ChainOptions, build_client
from tsi_fetch.http.failures import Unreachable
from tsi_fetch.http.retry import RetryPolicy
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import (
    Answer,
    Batch,
    Change,
    Cursor,
    CursorKind,
    Fault,
    KeyPage,
    Position,
    Ref,
    Row,
    ScopeClaim,
    Upsert,
    Validators,
)


class PatientsOptions(BaseModel):
    """Where the register is, and the key it asks for in its query."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base_url: str
    api_key: SecretStr

    def chain(self) -> ChainOptions:
        return ChainOptions(
            origins=(self.base_url,),
            rate=1000,
            retry=RetryPolicy(attempts=1),
            credential=Credential("query", self.api_key.get_secret_value(), self.base_url, "api_key"),
        )


class Patients:
    """`feed` names keys; `patient/KEY` is an envelope around one resource, or two."""

    stream = "patients"
    mapping = 1
    types = frozenset({"Patient"})

    def __init__(self, options: PatientsOptions, clock: Clock, **chain: Any) -> None:
        self._base, self._http = options.base_url, build_client(options.chain(), clock, **chain)

    def pull(self, position: Position, started: datetime) -> Iterator[Batch]:
        known = position.cursor.seen if position.cursor else frozenset()
        keys = self._listed("feed?since=2026-03-01")
        rows = tuple(self._row(key) for key in keys if key not in known | position.checkpoint)
        yield Batch(self.stream, rows, Cursor(CursorKind.DATE, f"{started:%Y-%m-%d}", frozenset(keys)))

    def keys(self) -> Iterator[KeyPage]:
        yield KeyPage(tuple(self._listed("list")), Cursor(CursorKind.DATE, "2026-03-01"))

    def fetch(self, keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        yield Batch(self.stream, tuple(self._row(key) for key in keys))

    def to_changes(self, row: Row) -> Sequence[Change]:
        envelope = parse(row.answers[0].body)
        if "bug" in row.key:
            raise ValueError(f"cannot map {envelope}")
        if "unmapped" in row.key:
            raise Unusable(Fault("patient-name", "$.name", "must be a name"))
        return [
            Upsert(Ref("Patient", resource["id"]), dump(resource), row.key, None) for resource in envelope["resources"]
        ]

    def settled(self, batch: Batch) -> None:
        """The register need not be told."""

    def close(self) -> None:
        self._http.close()

    def _listed(self, call: str) -> list[str]:
        response = self._get(call)
        if response.status_code != 200:
            raise TryAgain(f"the register answers {response.status_code}")
        keys: list[str] = response.json()["keys"]
        return keys

    def _row(self, key: str) -> Row:
        try:
            response = self._get(f"patient/{key}")
        except Unreachable as e:
            return Row(key, settles=(key,), unfetched=Fault("patient-unreachable", "patient", e.reason))
        at = requested_at(response)
        answer = Answer("patient", f"{self._base}/patient/{key}", response.status_code, response.content, at)
        return Row(key, (answer,), microseconds(at), (ScopeClaim(key, whole=True),), (key,))

    def _get(self, call: str) -> httpx.Response:
        return self._http.get(f"{self._base}/{call}")
