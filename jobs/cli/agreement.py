"""Asking a person before something is changed that a run would not change."""

from __future__ import annotations

import sys

import click

from tsi_fetch.errors import Usage

yes_option = click.option("--yes", is_flag=True, help="Do it without asking.")


def agreed(yes: bool) -> None:
    """Go on where `--yes` was given, or somebody at a terminal says so.  Usage where nobody does."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Usage("nothing was changed: nobody is there to be asked", "if this is what you want, add --yes")
    if not click.confirm("Do it?", err=True):
        raise Usage("nothing was changed, as you said no")
