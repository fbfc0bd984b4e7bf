"""A mistake in the job file: where it is, what is wrong, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from tsi_fetch.counting import count
from tsi_fetch.errors import SettingError

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake.  None of its texts ever holds a value of the file, as any value may be a secret."""

    file: str
    line: int  # counts from 1
    path: Path
    wrong: str
    expected: str = ""
    fix: str = ""
    unset: bool = False  # a variable or file is not there: no mistake to a job that does not need it

    def __str__(self) -> str:
        where = ".".join(str(part) for part in self.path)
        parts = [f"{where}: {self.wrong}" if where else self.wrong]
        parts += [f"expected {self.expected}"] if self.expected else []
        parts += [self.fix] if self.fix else []
        return f"{self.file}:{self.line}: " + "; ".join(parts)


def closest(word: object, known: Iterable[str]) -> str:
    """`did you mean X?`, or nothing where nothing known is close."""
    found = get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""


def one_of(names: Iterable[str]) -> str:
    """`a, b or c`."""
    *most, last = sorted(names) or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last


class WrongFile(SettingError):
    """The job file cannot be used; `mistakes` has them all, in the order of the lines."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = sorted(set(mistakes), key=lambda m: (m.file, m.line, str(m.path)))
        lines = "\n".join(f"  {mistake}" for mistake in self.mistakes)
        super().__init__(
            f"the job file has {count(len(self.mistakes), 'mistake')}:\n{lines}",
            "mend these lines; `tsi-fetch check` reads the file again; docs/configuration.md names every setting",
        )
