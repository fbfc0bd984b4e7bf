"""What must never be seen: a URL whose password hides itself, and a collection that strikes secrets out of any text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

HIDDEN = "***"

SECRET_NAME = re.compile(r"passw(or)?d|passphrase|token|secret|credential|api_?key|client_?key", re.IGNORECASE)
"""Keys and variables whose values are secrets, whatever they hold."""

_SHORTEST = 4
"""Shorter secrets are kept out of reprs by their types only: striking out every "a" would leave no text to read."""

_USERINFO = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@?#]*:)(?P<secret>[^\s/?#]*)(?=@)")
_OF_A_STORE = re.compile(r"(?P<before>\bpostgres[a-z]*(?:\+[a-z]+)?://[^\s:/@]*:)(?P<secret>\S*)(?=@)")
"""SQLAlchemy reads a password up to the `@`, whatever signs it has: one in Base64 has slashes, which nobody escapes."""

_QUERY = re.compile(
    r"(?P<before>[?&](?:sslpassword|[a-z_]*(?:password|token|secret)[a-z_]*)=)(?P<secret>[^&\s#]*)", re.IGNORECASE
)
_HIDING = (_OF_A_STORE, _USERINFO, _QUERY)


def hide_password(text: str) -> str:
    """Strike out the password, and secret query parameters, of every URL in `text`."""
    for pattern in _HIDING:
        text = pattern.sub(rf"\g<before>{HIDDEN}", text)
    return text


def passwords(text: str) -> Iterable[str]:
    """The passwords and secret query parameters of the URLs in `text`, as written and unquoted."""
    for match in (match for pattern in _HIDING for match in pattern.finditer(text)):
        yield match["secret"]
        yield unquote(match["secret"])


class SecretUrl:
    """A URL that may hold a password.  It shows itself without; `reveal` gives it whole to the one who connects."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    def reveal(self) -> str:
        return self._url

    @property
    def scheme(self) -> str:
        return urlsplit(self._url).scheme

    def __str__(self) -> str:
        return hide_password(self._url)

    def __repr__(self) -> str:
        return f"SecretUrl({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(min_length=1), serialization=core_schema.to_string_ser_schema()
        )


class Secrets:
    """The secrets that were read, and nothing else; `redact` strikes them out of a text."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        self._values.update(part for part in (value, value.strip()) if len(part) >= _SHORTEST)

    def add_url(self, text: str) -> None:
        for password in passwords(text):
            self.add(password)

    def redact(self, text: str) -> str:
        """`text` without any secret; the longest are struck out first, so that none leaves its tail behind."""
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        return hide_password(text)

    def redact_all(self, value: Any) -> Any:
        """The same for every string inside a JSON value, keys included."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {self.redact(str(key)): self.redact_all(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_all(inner) for inner in value]
        return value

    def __repr__(self) -> str:
        return f"Secrets({len(self._values)})"
