"""A group that lists its commands as they are written: what is used most comes first."""

from __future__ import annotations

import click


class InOrder(click.Group):
    """click sorts by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)
