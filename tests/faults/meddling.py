"""What somebody else does to the made-up FHIR server, past every job."""

from __future__ import annotations

import copy
import random

from tests.sinks.disturbed_hapi import SOMEONE
from tests.sinks.fake_hapi import FakeHapi

TAMPERING = ("somebody edits", "somebody deletes", "the server is wiped", "the server is restored")


class Meddler:
    """By the same dice as the life in which it happens."""

    def __init__(self, hapi: FakeHapi, dice: random.Random) -> None:
        self._hapi, self._dice = hapi, dice
        self.back_up()

    def back_up(self) -> None:
        """What the server may be restored to."""
        self._kept = copy.deepcopy(self._hapi.resources)

    def does(self, what: str) -> bool:
        """One of `TAMPERING`; False where there is nothing to do it to."""
        if what == "the server is wiped":
            self._hapi.resources.clear()
            return True
        if what == "the server is restored":
            self._hapi.resources.clear()
            self._hapi.resources.update(copy.deepcopy(self._kept))
            return True
        ours = sorted(n for n in self._hapi.resources if "Device/" not in n and self._hapi.live(n) is not None)
        return bool(ours) and (self._edits(ours) if what == "somebody edits" else self._deletes(ours))

    def _edits(self, ours: list[str]) -> bool:
        self._hapi.put(self._dice.choice(ours), run=SOMEONE, status={"text": "edited"})
        return True

    def _deletes(self, ours: list[str]) -> bool:
        """What nothing refers to: a server that keeps references in order deletes nothing else."""
        free = [name for name in ours if not self._referred(name)]
        if free:
            self._hapi.delete(self._dice.choice(free))
        return bool(free)

    def _referred(self, name: str) -> bool:
        """By another resource."""
        others = (v[-1].resource for ref, v in self._hapi.resources.items() if ref != name)
        return any(f'"{name}"' in str(resource).replace("'", '"') for resource in others)
