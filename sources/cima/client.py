"""The calls: one method each, one answer each."""

from __future__ import annotations

from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import httpx

from tsi_fetch.errors import SettingError
from tsi_fetch.http.answer import requested_at
from tsi_fetch.http.failures import Unreachable
from tsi_fetch.words import Answer


class CimaClient:
    """CIMA's REST API (official document v1.23).  The HTTP client retries, limits and records."""

    def __init__(self, http: httpx.Client, base_url: str) -> None:
        self._http, self._base = http, base_url

    def changes(self, since: date, page: int) -> Answer:
        """The change feed: `since` is a day in Madrid, inclusive; pages count from 1."""
        return self._get("registroCambios", f"registroCambios?fecha={since:%d/%m/%Y}&pagina={page}")[0]

    def listing(self, page: int) -> tuple[Answer, datetime | None]:
        """A page of all medicines, and the server's own clock (its Date header) where it says so."""
        return self._get("medicamentos", f"medicamentos?pagina={page}")

    def medicine(self, nregistro: str) -> Answer:
        """The product.  `nregistro` may hold blanks and anything else: it is percent-encoded."""
        return self._get("medicamento", f"medicamento?nregistro={quote(nregistro, safe='')}")[0]

    def presentation(self, cn: str) -> Answer:
        return self._get(f"presentacion/{cn}", f"presentacion/{quote(cn, safe='')}")[0]

    def content(self, kind: int, nregistro: str) -> Answer:
        """All sections of a document with their text; `kind` 1 is the SmPC, 2 the leaflet."""
        query = f"nregistro={quote(nregistro, safe='')}"
        return self._get(f"contenido/{kind}", f"docSegmentado/contenido/{kind}?{query}")[0]

    def _get(self, part: str, call: str) -> tuple[Answer, datetime | None]:
        url = f"{self._base}/{call}"
        try:
            response = self._http.get(url)
        except httpx.TooManyRedirects as e:
            raise SettingError(f"{url} redirects in a circle", "correct base_url") from e
        except (httpx.HTTPError, httpx.InvalidURL) as e:  # what no retry can mend: a redirect that is not a URL
            raise Unreachable("GET", url, 1, type(e).__name__) from e
        answer = Answer(part, url, response.status_code, response.content, requested_at(response))
        return answer, _date(response.headers.get("date", ""))


def _date(header: str) -> datetime | None:
    try:
        instant = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
