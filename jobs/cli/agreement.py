"""Asking a person before something is changed that a run would not change."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from tsi_fetch.errors import Stopped, Usage

if TYPE_CHECKING:
    from jobs.cli.voice import Voice

yes_option = click.option("--yes", is_flag=True, help="Do it without asking.")


def told_first(voice: Voice, value: Any, text: str, *, yes: bool) -> None:
    """What is about to be changed: among the results, for somebody to decide on; with `--yes` and `--json`, where one
    object is the result, for whoever watches."""
    if yes and voice.as_json:
        voice.say(text)
    else:
        voice.show(value, text)


def agreed(yes: bool) -> None:
    """Go on where `--yes` was given, or somebody at a terminal says so.  Usage where nobody does; `Stopped` where the
    question is broken off (Ctrl-C, Ctrl-D)."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Usage("nothing was changed: nobody is there to be asked", "if this is what you want, add --yes")
    try:
        said = click.confirm("Do it?", err=True)
    except click.Abort as e:
        click.echo(err=True)  # the question's line is not over
        raise Stopped(signal.SIGINT, "", "nothing was changed, as the question was not answered") from e
    if not said:
        raise Usage("nothing was changed, as you said no")
