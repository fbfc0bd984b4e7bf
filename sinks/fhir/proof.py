"""Is the server well?  Only then may a resource be blamed for a 500, or for a 404 that may be the address's.

A server whose database is down or full answers 500 to every write, in FHIR's words.  It may still read, and accept a
resource that it already holds as it is: only a write that changed something proves that it stores.
"""

from __future__ import annotations

import threading

from sinks.fhir.answers import Verdict, refusal, verdict
from sinks.fhir.bundles import unguarded
from sinks.fhir.receipts import acknowledged, stored
from sinks.fhir.wire import Wire
from tsi_fetch.errors import SettingError, TryAgain
from tsi_fetch.fhir.tokens import dump
from tsi_fetch.ports import Permit
from tsi_fetch.words import Json, Ref, Write, WriteAction

SYSTEM = "https://github.com/Gravitate-Health/tsi-fetch/proof"

_NOTE = "Left by tsi-fetch where a server answered 500, to learn whether it still stores.  It may be deleted."


class Proof:
    """Counts the transactions that changed something, of all lanes; makes one where there was none."""

    def __init__(self, wire: Wire, device: Ref, run_id: str) -> None:
        self._wire, self._device, self._run = wire, device, run_id
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # one proof at a time: it is one resource
        self._stored = 0

    @property
    def stored(self) -> int:
        """How many changed something so far: larger than before means that the server stores."""
        return self._stored

    def saw_change(self) -> None:
        with self._lock:
            self._stored += 1

    def make(self, since: int, permit: Permit) -> None:
        """Write a Device that nobody needs, unless something was stored since; TryAgain where it is not taken."""
        with self._turn:
            if self._stored > since:
                return
            write = Write(self._device, WriteAction.PUT, None, dump(self._body()))
            reply = self._wire.transact(unguarded(write), permit)
            found = verdict(reply)
            if found is Verdict.OK and stored(acknowledged([write], reply), reply):
                self.saw_change()
            elif found is Verdict.GONE:
                raise SettingError(f"{self._wire.url} takes no transactions", "the sink's url must be the FHIR base")
            elif found is Verdict.BROKEN:
                code = refusal(reply).code
                raise TryAgain(f"the server answers 500 to everything ({code})", "look at its log, then run again")
            else:
                raise TryAgain(
                    f"the server blames what is sent, and {self._device} does not prove that it stores",
                    "look at its log",
                )

    def _body(self) -> Json:
        """Another content each time, else the server would have nothing to store."""
        value = f"{self._run} {self._stored}"
        ref = self._device
        identifiers = [{"system": SYSTEM, "value": value}]
        return {"resourceType": ref.type, "id": ref.id, "identifier": identifiers, "note": [{"text": _NOTE}]}
