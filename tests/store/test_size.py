"""How much room a ref takes in an embedded store.  Deterministic: sizes, not times."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from store.handle import open_store
from tsi_fetch.words import Known, Ref, ScopeSettled, Settlement

REFS = 20_000
PER_SCOPE = 10
KINDS = ("Bundle", "Organization", "MedicinalProductDefinition", "RegulatedAuthorization", "PackagedProductDefinition")


def never(seconds: float) -> None:
    raise AssertionError("nobody holds the lease")


def version_of(n: int, *, long: bool) -> str:
    """A FHIR server's counter, or the folder sink's fingerprint."""
    return hashlib.sha256(b"%d" % n).hexdigest() if long else str(n % 7 + 1)


@pytest.mark.parametrize("long", [False, True], ids=["server", "folder"])
def test_a_ref_takes_less_than_250_bytes_with_its_scope(tmp_path: Path, long: bool) -> None:
    file = tmp_path / "store.db"
    with open_store(f"sqlite:///{file}", create=True) as stored:
        empty = file.stat().st_size
        with stored.lease("cima", "out", "run-1", wait=never) as book:
            for first in range(0, REFS, 500):
                book.settle(batch(range(first, first + 500), long=long))
    each = (file.stat().st_size - empty) / REFS
    assert 50 < each < 250


def batch(numbers: range, *, long: bool) -> Settlement:
    refs = [Ref(KINDS[n % len(KINDS)], f"es-aemps-bundle-{hashlib.md5(b'%d' % n).hexdigest()[:12]}") for n in numbers]
    known = tuple(
        Known(ref, "cima", hashlib.md5(b"%d" % n).digest(), version_of(n, long=long), 1_772_000_000_000_000 + n, 3)
        for n, ref in zip(numbers, refs, strict=True)
    )
    slices = [refs[i : i + PER_SCOPE] for i in range(0, len(refs), PER_SCOPE)]
    scopes = tuple(
        ScopeSettled(str(numbers[0] + i), frozenset(held), frozenset(), b"r" * 16, 3, str(numbers[0] + i))
        for i, held in enumerate(slices)
    )
    return Settlement("changes", known=known, scopes=scopes)
