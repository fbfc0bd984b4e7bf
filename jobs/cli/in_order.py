"""Groups that list their commands as they are written, what is used most first; and those that begin with a job."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from jobs.cli.job_names import job_names
from jobs.config.mistakes import closest
from jobs.config.whereabouts import STOCK, VARIABLE


class InOrder(click.Group):
    """click sorts by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class OrJob(InOrder):
    """A group in which a job's name stands for a command that is used most: `backfill JOB`, `runs JOB`."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and options, and the jobs that may stand in their place."""
        jobs = [name for name in job_names(_file(())) if name.startswith(incomplete) and name not in self.commands]
        return [*super().shell_complete(ctx, incomplete), *map(CompletionItem, jobs)]

    def check_word(self, ctx: click.Context, args: Sequence[str]) -> None:
        """UsageError where the first of `args` is neither a command nor a job of the file, and looks like a command.
        Whatever else is wrong with it, the command that takes it for a job says."""
        word = args[0] if args else ""
        if not word or word.startswith("-") or word in self.commands:
            return
        jobs = job_names(_file(args))
        hint = closest(word, [*self.commands, *jobs]) if jobs and word not in jobs else ""
        if hint and hint == closest(word, self.commands):
            raise click.UsageError(f"There is no command and no job {word!r}; {hint}", ctx)


def _file(args: Sequence[str]) -> Path:
    """The job file, which may be named behind the word."""
    for number, arg in enumerate(args):
        if arg == "--config" and args[number + 1 :]:
            return Path(args[number + 1])
        if arg.startswith("--config="):
            return Path(arg.partition("=")[2])
    return Path(os.environ.get(VARIABLE) or STOCK)
