"""Several stores are asked in turn: what they told, and which of them could not be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from jobs.config.load import Configuration
from jobs.looking import Where
from store.handle import Stored
from tsi_fetch.errors import Exit, TsiFetchError, worst

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answers(Generic[T]):
    """What the stores told.  `troubles`: one for each store that could not be asked.  `absent`: URLs, without secrets,
    of those that no run has made yet."""

    told: list[T] = field(default_factory=list)
    troubles: list[TsiFetchError] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return int(worst({Exit(trouble.exit_code) for trouble in self.troubles}))

    def nothing(self, text: str) -> str:
        """What a person reads where nothing was told: an empty folder, or a lost store, is no quiet night."""
        limits = ["as far as the stores could be asked"] if self.troubles else []
        limits += [f"and there is no store yet at {', '.join(self.absent)}"] if self.absent else []
        return ", ".join([text, *limits])


Ask = Callable[[Stored, str], Iterable[T]]
"""Of an open store and a job: what is to be told."""


def ask_each(
    where: Where, configuration: Configuration, job: str | None, ask: Ask[T], *, once: bool = False
) -> Answers[T]:
    """Ask the store of each job for that job, or the store of this job.  `once`: a store is asked for one of its jobs.

    A store that no run has made yet tells nothing.  Where one of several cannot be asked, the others are; the only one
    raises what it raised (`TsiFetchError`; `NoStore` where it was named and is not there).
    """
    answers: Answers[T] = Answers()
    passed: set[str] = set()  # names of stores that are not asked again
    for name, settings in configuration.settings.jobs.items():
        if job not in (None, name) or settings.store in passed:
            continue
        try:
            with where.opened(configuration, name) as stored:
                answers.told.extend(ask(stored, name) if stored else ())
                url = str(configuration.store_of(name).url)
                answers.absent.extend([url] if stored is None and url not in answers.absent else [])
        except TsiFetchError as e:
            if job is not None or where.store:
                raise
            answers.troubles.append(e)
            passed.add(settings.store)
        if once and where.store:
            break  # all jobs are looked for in that one
        if once:
            passed.add(settings.store)
    return answers
