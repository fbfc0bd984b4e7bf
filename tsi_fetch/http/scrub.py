"""Taking secrets out of URLs and of headers that hold URLs, before they are shown or kept."""

from __future__ import annotations

import re
from collections.abc import Iterable

SECRET_PARAMETERS = frozenset({"access_token", "api-key", "api_key", "apikey", "password", "secret", "sig", "token"})
"""Query parameters whose values are never shown, whatever a source says."""

_TELLING = r"[\w.~-]*(?:token|secret|passwd|password|passphrase|credential|signature|session_?id|api_?key)"
"""Others that a redirect may bring along, by how their names end: `client_secret`, `X-Amz-Signature`."""

_USERINFO = re.compile(r"(?<=//)[^/?#\s]*@")  # to the last one: a password may hold an @ itself


class Scrubber:
    """Replaces the values of secret query parameters by `***` and drops user names and passwords."""

    def __init__(self, parameters: Iterable[str] = ()) -> None:
        names = sorted(SECRET_PARAMETERS | set(parameters))
        either = "|".join([*(re.escape(name) for name in names), _TELLING])
        self._values = re.compile(rf"([?&](?:{either})=)[^&#\s<>\";,]*", re.IGNORECASE)

    def __call__(self, text: object) -> str:
        """A URL, or a text with URLs in it, fit to be shown."""
        return self._values.sub(r"\1***", _USERINFO.sub("", str(text)))
