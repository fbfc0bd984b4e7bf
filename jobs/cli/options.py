"""Options that several commands share: flag, help and type from one definition."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from jobs.config.duration import parse_duration

F = TypeVar("F", bound=Callable[..., Any])


class Span(click.ParamType[timedelta]):
    """A span of time such as 90s, 2h or 7d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            return value if isinstance(value, timedelta) else parse_duration(value)
        except ValueError as e:
            self.fail(str(e), param, ctx)


FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)

config_option = click.option(
    "--config", type=FILE, metavar="FILE", help="The job file; else TSI_FETCH_CONFIG, else the stock jobs."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
log_option = click.option(
    "--log", type=click.Choice(["text", "json"]), help="How to log; on a terminal text, else one JSON object a line."
)
replay_option = click.option(
    "--replay", type=FOLDER, metavar="DIR", help="Read a recording instead of the source, at the recorded time."
)
store_option = click.option("--store", metavar="URL", help="Another store, with --sink.")
look_option = click.option("--store", metavar="URL", help="Look into this store instead of the job file's.")
sink_option = click.option("--sink", metavar="DIR|NAME", help="Another sink: a folder, or one of the job file.")
full_option = click.option(
    "--full", is_flag=True, help="Read everything of the source again; `reconcile` looks at the sink."
)
again_option = click.option(
    "--again",
    is_flag=True,
    help="Send even what has not changed; what the sink holds just so is not written, and counts as unchanged.",
)
only_option = click.option("--only", multiple=True, metavar="KEY", help="Only this product; may be repeated.")
accept_vanish_option = click.option(
    "--accept-vanish", type=click.IntRange(0), default=0, metavar="N", help="Let up to N of each type vanish."
)
accept_refusals_option = click.option(
    "--accept-refusals", type=click.IntRange(0), default=0, metavar="N", help="Let up to N rows be refused."
)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order in which help shows them."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


how_to_run = together(
    store_option, sink_option, full_option, again_option, only_option, accept_vanish_option, accept_refusals_option
)
"""What `run` and `plan` have in common: a plan is a run that writes nothing."""
