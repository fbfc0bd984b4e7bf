"""What a row's answers are asked for by next time, as it is remembered: good only for the identity it was mapped under.

Answers that have not changed give other resources under another identity, which raw digests have in them already.
"""

from __future__ import annotations

from collections.abc import Mapping

from tsi_fetch.identity import Identity
from tsi_fetch.words import Validators

_IDENTITY = ""
"""In the place of an answer's part, which is never empty."""


def kept(validators: Validators | None, identity: Identity) -> Validators | None:
    """As they are remembered; None where there are none."""
    return {**validators, _IDENTITY: identity.salt.hex()} if validators and identity.salt else validators


def usable(found: Mapping[str, Validators], identity: Identity) -> dict[str, Validators]:
    """Of what is remembered of some rows, what holds under this identity."""
    salt = identity.salt.hex()
    held = {key: dict(validators) for key, validators in found.items()}
    return {key: validators for key, validators in held.items() if validators.pop(_IDENTITY, "") == salt}
