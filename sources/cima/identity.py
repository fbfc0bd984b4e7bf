"""What CIMA's things are called at the sink: ids that say the same for the same product, for ever.

A registration number is not always digits (`40 400-95-96`, `PA23198024002IP1`), and FHIR ids know neither blanks nor
slashes, nor more than 64 characters.  HAPI refuses ids of digits alone: hence the prefix.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

from tsi_fetch.words import Json

PREFIX = "es-aemps"
FULL_URL = "http://hl7.eu/fhir/ig/gravitate-health"
REGULATOR = f"{PREFIX}-org-aemps"
LONGEST = 64  # characters of a FHIR id
LONGEST_NUMBER = 100  # characters; the register's own have 17 at most

Document = Literal["ft", "p"]
"""CIMA's own short names: ficha técnica (SmPC) and prospecto (leaflet)."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def number(given: Json) -> str | None:
    """A registration number as a list gives it; None for what cannot be one, and what no store could keep as a key
    (PostgreSQL: no NUL, and some 2,700 bytes)."""
    if not isinstance(given, str) or not given.strip() or len(given) > LONGEST_NUMBER or _CONTROL.search(given):
        return None
    return given


def key(number: str) -> str:
    """A registration number or national code as a part of ids; other numbers never give the same."""
    if re.fullmatch("[A-Za-z0-9-]+", number):
        return number
    return f"{re.sub('[^A-Za-z0-9-]', '-', number)}.{_digest(number, 6)}"


def product(nregistro: str) -> str:
    return _fit(f"{PREFIX}-mpd-{key(nregistro)}")


def authorization(nregistro: str) -> str:
    return _fit(f"{PREFIX}-ra-{key(nregistro)}")


def package(cn: str) -> str:
    return _fit(f"{PREFIX}-ppd-{key(cn)}")


def composition(document: Document, nregistro: str) -> str:
    return _fit(f"{PREFIX}-comp-{document}-{key(nregistro)}")


def bundle(document: Document, nregistro: str) -> str:
    return _fit(f"{PREFIX}-bundle-{document}-{key(nregistro)}")


def manufactured_item(nregistro: str) -> str:
    return _fit(f"{PREFIX}-mid-{key(nregistro)}")


def administrable_product(nregistro: str) -> str:
    return _fit(f"{PREFIX}-ap-{key(nregistro)}")


def ingredient(nregistro: str, part: str) -> str:
    """`part`: `a` or `e` (active, excipient) and the substance's id; a repeated one ends in `.2`."""
    return _fit(f"{PREFIX}-ing-{key(nregistro)}-{part}")


def epi_list(nregistro: str) -> str:
    return _fit(f"{PREFIX}-list-{key(nregistro)}")


def document(nregistro: str, part: str) -> str:
    """A PDF of the register; `part`: `ft`, `p`, `ipe`, `pgr`."""
    return _fit(f"{PREFIX}-doc-{key(nregistro)}-{part}")


def photo(nregistro: str, part: str) -> str:
    return _fit(f"{PREFIX}-foto-{_before(nregistro)}{part}")


def safety_note(nregistro: str, part: str) -> str:
    return _fit(f"{PREFIX}-nota-{_before(nregistro)}{part}")


def _before(nregistro: str) -> str:
    """A number before a part that may hold hyphens, one at a time: `95-0312` and `3` never give what `95` and `0312-3`
    do."""
    number = key(nregistro)
    return f"{number}--" if "-" in number else f"{number}-"


def material(nregistro: str, url: str) -> str:
    return _fit(f"{PREFIX}-mat-{key(nregistro)}-{_digest(url, 12)}")


def supply_problem(cn: str, began: int) -> str:
    """`began`: the register's own stamp of its beginning, in milliseconds."""
    return _fit(f"{PREFIX}-psum-{key(cn)}-{began}")


def organization(name: str) -> str:
    return _fit(f"{PREFIX}-org-{organization_slug(name)}")


def organization_slug(name: str) -> str:
    """A readable name and a digest of the exact one: two spellings in CIMA's lists differ in punctuation only."""
    readable = slug(name)
    return f"{readable}-{_digest(name, 6)}" if readable else _digest(name, 6)


def slug(text: str) -> str:
    """A text as a readable part of ids; others may give the same, and some nothing."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", letters).strip("-")


def apart(texts: Sequence[str]) -> list[str]:
    """One part of an id for each text, no two alike: its slug; where others give the same slug, or it gives none, with
    6 hex digits of its digest; and where the very text stands again, `.2`, `.3`."""
    alike = Counter(slug(text) for text in set(texts))
    named = [slug(t) if slug(t) and alike[slug(t)] == 1 else f"{slug(t)}-{_digest(t, 6)}".lstrip("-") for t in texts]
    return numbered(named)


def numbered(parts: Sequence[str]) -> list[str]:
    """The same, with `.2`, `.3` behind what stands again."""
    seen: Counter[str] = Counter()
    result = []
    for part in parts:
        seen[part] += 1
        result.append(part if seen[part] == 1 else f"{part}.{seen[part]}")
    return result


def full_url(resource_type: str, ident: str) -> str:
    """The `fullUrl` of an entry of a document Bundle."""
    return f"{FULL_URL}/{resource_type}/{ident}"


def eu_number(nregistro: str) -> str | None:
    """The number in the Union's register of a product that the EMA handles; None where CIMA's is not built from it."""
    ten = re.fullmatch(r"1(\d\d)(\d{4})(\d{3})", nregistro, re.ASCII)
    eight = re.fullmatch(r"(\d\d)(\d{3})(\d{3})", nregistro, re.ASCII)
    found = ten or eight
    return f"EU/1/{found[1]}/{found[2]}/{found[3]}" if found else None


def _fit(ident: str) -> str:
    return ident if len(ident) <= LONGEST else f"{ident[: LONGEST - 9]}-{_digest(ident, 8)}"


def _digest(text: str, digits: int) -> str:
    return sha256(text.encode()).hexdigest()[:digits]
