"""What a check finds: a line each, which is well, or says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tsi_fetch.errors import Exit, Stopped, TsiFetchError, worst


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check.  `code` is 0 where all is well, 78 where a person must mend it, 75 where it may pass."""

    what: str
    code: int = 0
    wrong: str = ""
    fix: str = ""

    def __str__(self) -> str:
        if not self.code:
            return f"ok     {self.what}"
        return f"WRONG  {self.what}: {self.wrong}" + (f"\n       → {self.fix}" if self.fix else "")

    def figures(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "what": self.what,
            "ok": not self.code,
            "wrong": self.wrong,
            "fix": self.fix,
            "code": self.code,
        }


def tried(what: str, look: Callable[[], str]) -> Finding:
    """What `look` says of it, or why it could not.  A guard's refusal needs a person, as a wrong setting does."""
    try:
        note = look()
    except Stopped:
        raise
    except TsiFetchError as e:
        code = Exit.SETTING if e.exit_code == Exit.GUARDED else e.exit_code
        return Finding(what, int(code), e.message, e.hint)
    return Finding(f"{what}: {note}" if note else what)


def exit_code(findings: list[Finding]) -> int:
    """78 where a person must mend something, 75 where something is down, 0 where all is well."""
    return int(worst({Exit(finding.code) for finding in findings}))
