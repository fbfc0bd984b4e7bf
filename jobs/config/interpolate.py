"""`${NAME}`, `${NAME:-default}` and `${file:/path}` inside the scalars of the job file; `$${` is a literal `${`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.config.secret import SECRET_NAME, Secrets

PATTERN = r"\$\{[^}]*\}"
_TOKEN = re.compile(rf"\$(?P<escaped>\$\{{)|{PATTERN}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_MAX_SECRET = 1 << 16  # bytes; a secret file is a line, not a disk


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a placeholder has no value."""

    wrong: str
    fix: str
    unset: bool = True


class Interpolator:
    """Fills placeholders from an environment and from files, and notes which values are secrets."""

    def __init__(self, environ: Mapping[str, str], secrets: Secrets) -> None:
        self._environ = environ
        self._secrets = secrets

    def fill(self, key: str, text: str, note: Callable[[Trouble], None]) -> str:
        """`text`, the value of `key`, with its placeholders filled; what cannot be is left, and noted."""

        def replace(match: re.Match[str]) -> str:
            if match["escaped"]:
                return "${"
            value = self._value(match[0][2:-1], note)
            return match[0] if value is None else value

        filled = _TOKEN.sub(replace, text)
        if SECRET_NAME.search(key):
            self._secrets.add(filled)
        self._secrets.add_url(filled)
        return filled

    def _value(self, inside: str, note: Callable[[Trouble], None]) -> str | None:
        if inside.startswith("file:"):
            return self._file(inside.removeprefix("file:"), note)
        name, has_default, default = inside.partition(":-")
        if not _NAME.fullmatch(name):
            note(Trouble("no placeholder", "write ${NAME}, ${NAME:-default} or ${file:/path}; $${ is a ${", False))
            return None
        value = self._environ.get(name) or (default if has_default else None)
        if value is None:
            note(Trouble(f"the variable {name} is not set", f"set {name}, or write ${{{name}:-default}}"))
        elif SECRET_NAME.search(name):
            self._secrets.add(value)
        return value

    def _file(self, path: str, note: Callable[[Trouble], None]) -> str | None:
        try:
            with Path(path).open("rb") as file:
                value = file.read(_MAX_SECRET + 1).decode().rstrip("\r\n")
        except UnicodeDecodeError:
            note(Trouble(f"the file {path} is not UTF-8 text", "a secret file holds one value as text", False))
            return None
        except (OSError, ValueError) as e:
            reason = getattr(e, "strerror", None) or "not a path"
            note(Trouble(f"the file {path} cannot be read: {reason}", "mount it, or mend its path"))
            return None
        if not value or len(value) > _MAX_SECRET:
            note(Trouble(f"the file {path} is {'too long' if value else 'empty'}", "it should hold one value"))
            return None
        self._secrets.add(value)
        return value
