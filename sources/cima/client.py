"""The calls: one method each, one answer each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from urllib.parse import quote

import httpx

from sources.cima.mapping.side import SUPPLY, unknown_pack
from tsi_fetch.errors import SettingError
from tsi_fetch.http.answer import requested_at
from tsi_fetch.http.failures import Unreachable
from tsi_fetch.words import Answer

MOST_KEPT = 8_000_000
"""Bytes of answers that are kept, so that what a run has asked is not asked again; the oldest go first."""


class CimaClient:
    """CIMA's REST API (official document v1.23), for one run.  The HTTP client retries, limits and records.

    What one product answers is fetched once, as far as it is still kept, until it is to be forgotten; a 304 is no
    answer to keep, since it has no body.  Pages of the feed and the listing are asked for again whenever they are
    wanted, since that is how it shows that they shift.
    """

    def __init__(self, http: httpx.Client, base_url: str) -> None:
        self._http, self._base = http, base_url
        self._kept: dict[str, Answer] = {}
        self._asking: dict[str, Lock] = {}
        self._size = 0
        self._lock = Lock()

    def changes(self, since: date, page: int) -> Answer:
        """The change feed: `since` is a day in Madrid, inclusive; pages count from 1."""
        return self._get("registroCambios", f"registroCambios?fecha={since:%d/%m/%Y}&pagina={page}")[0]

    def listing(self, page: int) -> tuple[Answer, datetime | None]:
        """A page of all medicines, and the server's own clock (its Date header) where it says so."""
        return self._get("medicamentos", f"medicamentos?pagina={page}")

    def medicine(self, nregistro: str) -> Answer:
        """The product.  `nregistro` may hold blanks and anything else: it is percent-encoded."""
        return self.product_part("medicamento", nregistro)

    def presentation(self, cn: str) -> Answer:
        return self.product_part(f"presentacion/{cn}", "")

    def content(self, kind: int, nregistro: str) -> Answer:
        """All sections of a document with their text; `kind` 1 is the SmPC, 2 the leaflet."""
        return self.product_part(f"contenido/{kind}", nregistro)

    def notes(self, nregistro: str) -> Answer:
        """The safety notes of a product."""
        return self.product_part("notas", nregistro)

    def materials(self, nregistro: str) -> Answer:
        """The materials on a product's safe use."""
        return self.product_part("materiales", nregistro)

    def supply(self, cn: str) -> Answer:
        """The supply problem of a pack, if it has one; 404 for a pack that is not known (supply document 1.01, v2)."""
        return self.product_part(f"psuministro/{cn}", "")

    def product_part(self, part: str, nregistro: str) -> Answer:
        """What an answer's part names, of this product; asked once."""
        return self._once(part, call_of(part, nregistro))

    def unmodified(self, part: str, nregistro: str, validator: str) -> Answer | None:
        """Ask whether a part is still what this validator stands for: the answer that says so (304), or None where it
        is not; what is there instead is kept, and given when it is asked for.  What this run has asked for already is
        not asked again: it is compared."""
        call = call_of(part, nregistro)
        with self._alone(call) as kept:
            if kept is not None:
                same = kept.validator is not None and _opaque(kept.validator) == _opaque(validator)
                return replace(kept, status=304, body=b"") if same else None
            answer = self._get(part, call, {"If-None-Match": validator})[0]
            if answer.status == 304:
                return answer
            self._keep(call, answer)
            return None

    def forget(self) -> None:
        """What is asked from now on is asked anew: something has been learnt that older answers may not know of."""
        with self._lock:
            self._kept.clear()
            self._size = 0

    def _once(self, part: str, call: str) -> Answer:
        with self._alone(call) as kept:
            if kept is not None:
                return kept
            answer = self._get(part, call)[0]
            self._keep(call, answer)
            return answer

    @contextmanager
    def _alone(self, call: str) -> Iterator[Answer | None]:
        """What is kept of a call, while nobody else asks it: who comes meanwhile waits for the answer."""
        with self._lock:
            kept = self._kept.get(call)
            asking = None if kept else self._asking.setdefault(call, Lock())
        if asking is None:
            yield kept
            return
        try:
            with asking:
                with self._lock:
                    kept = self._kept.get(call)
                yield kept
        finally:
            with self._lock:
                self._asking.pop(call, None)

    def _keep(self, call: str, answer: Answer) -> None:
        if not _says_something(answer):
            return
        with self._lock:
            if call not in self._kept:
                self._kept[call] = answer
                self._size += len(answer.body)
            while self._size > MOST_KEPT:
                self._size -= len(self._kept.pop(next(iter(self._kept))).body)

    def _get(self, part: str, call: str, headers: Mapping[str, str] | None = None) -> tuple[Answer, datetime | None]:
        url = f"{self._base}/{call}"
        try:
            response = self._http.get(url, headers=headers)
        except httpx.TooManyRedirects as e:
            raise SettingError(f"{url} redirects in a circle", "correct base_url") from e
        except (httpx.HTTPError, httpx.InvalidURL) as e:  # what no retry can mend: a redirect that is not a URL
            raise Unreachable("GET", url, 1, type(e).__name__) from e
        etag = response.headers.get("etag")
        answer = Answer(part, url, response.status_code, response.content, requested_at(response), etag)
        return answer, _date(response.headers.get("date", ""))


def _says_something(answer: Answer) -> bool:
    """True of answers that say how things stand, 204 and the 404 of supply problems among them; others may be better
    the next time."""
    unknown = answer.part.startswith(f"{SUPPLY}/") and unknown_pack(answer)
    return answer.status in (200, 204) or unknown


def _opaque(validator: str) -> str:
    """A weak ETag stands for the same as the strong one (RFC 9110, 8.8.3.2)."""
    return validator.removeprefix("W/")


def call_of(part: str, nregistro: str) -> str:
    """The path and query of an answer's part, of this product.  ValueError where no call gives it."""
    name, _, rest = part.partition("/")
    of_product, of_pack = f"nregistro={quote(nregistro, safe='')}", quote(rest, safe="")
    calls = {
        "medicamento": f"medicamento?{of_product}",
        "presentacion": f"presentacion/{of_pack}",
        "contenido": f"docSegmentado/contenido/{of_pack}?{of_product}",
        "notas": f"notas?{of_product}",
        "materiales": f"materiales?{of_product}",
        "psuministro": f"psuministro/v2/cn/{of_pack}",
    }
    if name not in calls:
        raise ValueError(f"no call gives {part}")
    return calls[name]


def _date(header: str) -> datetime | None:
    try:
        instant = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
