"""No command is left out: each has been run among the markers, as text and as JSON, and did its work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
import pytest

from jobs.cli.group import cli
from tests.silence.listening import Heard

Words = tuple[str, ...]
DONE = frozenset({0, 65})
FOUND_FAULTS = frozenset({75, 78})
"""Of `check`, which ends with what it has found."""


def leaves(command: click.Command, path: Words = ()) -> Iterator[tuple[Words, bool]]:
    """Every command that does something, and whether it can say it in JSON."""
    if not isinstance(command, click.Group):
        yield path, any("--json" in param.opts for param in command.params)
        return
    ctx = click.Context(command)
    for name in command.list_commands(ctx):
        child = command.get_command(ctx, name)
        assert child is not None
        yield from leaves(child, (*path, name))


LEAVES = dict(leaves(cli))


def leaf_of(arguments: Sequence[str]) -> Words | None:
    """Which command a line runs; a group that is given none of its own lists.  None for no command at all."""
    for path in (tuple(arguments[:2]), tuple(arguments[:1]), (*arguments[:1], "list")):
        if path in LEAVES:
            return path
    return None


@pytest.mark.parametrize("leaf", LEAVES, ids=" ".join)
def test_a_command_has_done_its_work_as_text_and_as_json(heard: Heard, leaf: Words) -> None:
    well = DONE | (FOUND_FAULTS if leaf == ("check",) else frozenset())
    done = [arguments for arguments, code in heard.run if leaf_of(arguments) == leaf and code in well]
    assert any("--json" not in arguments for arguments in done)
    assert not LEAVES[leaf] or any("--json" in arguments for arguments in done)


def test_every_command_is_among_them() -> None:
    assert {path[0] for path in LEAVES} == set(cli.list_commands(click.Context(cli)))
    assert len(LEAVES) > 25
