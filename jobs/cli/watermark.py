"""tsi-fetch watermark"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.agreement import agreed, told_first, yes_option
from jobs.cli.in_order import InOrder
from jobs.cli.job_names import JOB
from jobs.cli.options import (
    config_option,
    json_option,
    log_option,
    look_option,
    sink_option,
    store_option,
    together,
)
from jobs.cli.voice import Voice
from jobs.reporting.place import Place

if TYPE_CHECKING:
    from jobs.steering import Wish

why_option = click.option("--why", required=True, metavar="TEXT", help="The reason, for the audit trail.")
how_to_change = together(why_option, yes_option, store_option, sink_option, config_option, json_option, log_option)


@click.group("watermark", cls=InOrder, short_help="See how far a source was read, and read it again from earlier.")
def command() -> None:
    """See how far the streams of a source were read, and move that by hand.

    \b
    tsi-fetch watermark show cima                      how far, since when
    tsi-fetch watermark rewind cima 7d --why "…"       read the last week again
    tsi-fetch watermark set cima 2026-03-02 --why "…"  what has changed since
    tsi-fetch watermark reset cima --why "…"           everything, as at first

    Whatever changes something tells what it will cause, asks before it does it, takes the job's lease, and is
    remembered in the audit trail.  None of it deletes anything.
    """


@command.command("show", short_help="Show how far each stream was read.")
@click.argument("job", type=JOB)
@look_option
@config_option
@json_option
@click.pass_obj
def show(voice: Voice, /, *, job: str, store: str | None, config: Path | None, as_json: bool) -> int:
    """Show each stream of JOB: its watermark, when that moved, and what is settled or left beside it.

    \b
    tsi-fetch watermark show cima
    tsi-fetch watermark show cima --json

    overlap: rows of the feed before the watermark that are known as settled.  checkpoint: rows that a pass which was
    not finished has settled.  work: lists of keys that are being worked off.
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs.looking import Where
    from jobs.reporting.table import table_text
    from jobs.steering import lines, standing

    rows = standing(Where(config, voice.secrets, store), job)
    voice.show({"streams": rows}, table_text(voice.clean(lines(rows)), "no streams"))
    return 0


@command.command("set", short_help="Set a watermark to a value.")
@click.argument("job", type=JOB)
@click.argument("words", nargs=-1, metavar="[STREAM] VALUE", required=True)
@click.option("--skip", is_flag=True, help="Let it pass what was never read: that is left out for good.")
@how_to_change
@click.pass_obj
def set_(voice: Voice, /, *, job: str, words: tuple[str, ...], skip: bool, **options: Any) -> int:
    """Set the watermark of JOB to VALUE: a day, an instant, or what the source counts in.

    \b
    tsi-fetch watermark set cima 2026-03-02 --why "that day was mended"
    tsi-fetch watermark set cima registroCambios 2026-03-02 --why "…" --yes

    Back is what rewind does.  Forward is refused: what lies between would never be read.  --skip does it all the same.
    """
    stream, value = _stream_and_value(words)
    return _change(voice, job, lambda wish: wish("set", stream, value, skip), **options)


@command.command("rewind", short_help="Move a watermark back: what changed since then is read again.")
@click.argument("job", type=JOB)
@click.argument("words", nargs=-1, metavar="[STREAM] SPAN|VALUE", required=True)
@how_to_change
@click.pass_obj
def rewind(voice: Voice, /, *, job: str, words: tuple[str, ...], **options: Any) -> int:
    """Move the watermark of JOB back, by a span or to a value: what changed since then is read again by the next run.

    \b
    tsi-fetch watermark rewind cima 7d --why "last week was mapped wrongly"
    tsi-fetch watermark rewind cima 2026-03-02 --why "…" --yes

    What the source says as before is not sent again, unless that run has --again.
    """
    stream, value = _stream_and_value(words)
    return _change(voice, job, lambda wish: wish("rewind", stream, value), **options)


@command.command("reset", short_help="Forget a watermark: the next run reads everything.")
@click.argument("job", type=JOB)
@click.argument("stream", required=False)
@how_to_change
@click.pass_obj
def reset(voice: Voice, /, *, job: str, stream: str | None, **options: Any) -> int:
    """Forget the watermark of JOB: the next run is a first load, and asks the source for everything.

    \b
    tsi-fetch watermark reset cima --why "the register was moved to a new system"

    Open work lists are cancelled, as the first load makes its own; what is known of the sink stays, and what is
    unchanged is not written.  `run --full` reads everything, too, and forgets nothing.
    """
    return _change(voice, job, lambda wish: wish("reset", stream), **options)


def _stream_and_value(words: tuple[str, ...]) -> tuple[str | None, str]:
    if len(words) > 2:
        raise click.UsageError(f"Got unexpected extra argument ({words[2]})", click.get_current_context())
    return (words[0] if len(words) == 2 else None), words[-1]


def _change(
    voice: Voice,
    job: str,
    wished: Callable[[type[Wish]], Wish],
    *,
    why: str,
    yes: bool,
    store: str | None,
    sink: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """Tell what it will cause, ask, do it."""
    voice.speak(log=log, as_json=as_json, place=Place(config, store, sink))
    if not why.strip():
        raise click.UsageError("--why needs a reason", click.get_current_context())
    from jobs.reporting.steered import done_text, steered_text
    from jobs.signals import listening
    from jobs.steering import Wish, figures, foresee, steer
    from jobs.wiring import Asked

    asked = Asked(job, config=config, store=store, sink=sink)
    configuration = asked.configuration(voice.secrets)
    planned = foresee(configuration, asked, wished(Wish))
    told = figures(planned)
    told_first(voice, {**told, "done": False}, steered_text(voice.clean(told)), yes=yes)
    agreed(yes)
    with listening(f"see where it stands: tsi-fetch watermark show {job}") as stop:
        reason = voice.secrets.redact(why.strip()).encode("utf-8", "backslashreplace").decode()
        steer(configuration, asked, planned, reason, stop)
    voice.show({**told, "done": True}, voice.place.completed(done_text(voice.clean(told))))
    return 0
