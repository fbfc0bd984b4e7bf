"""tsi-fetch quarantine"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.in_order import InOrder
from jobs.cli.job_names import JOB
from jobs.cli.options import config_option, json_option, look_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


@click.group("quarantine", cls=InOrder, short_help="See what could not be used, and why.")
def command() -> None:
    """See what could not be used, and why.  It is kept whole until a good one overtakes it.

    \b
    tsi-fetch quarantine list            where and by which rule, never the value
    tsi-fetch quarantine show cima 12    the row as it was received, and the refused resource
    """


@command.command("list", short_help="List what lies in quarantine.")
@click.option("--job", type=JOB, metavar="JOB", help="Only of this job.")
@click.option("--all", "everything", is_flag=True, help="Also what has been overtaken.")
@look_option
@config_option
@json_option
@click.pass_obj
def list_(
    voice: Voice, /, *, job: str | None, everything: bool, store: str | None, config: Path | None, as_json: bool
) -> int:
    """List what lies in quarantine, the oldest first: key, code, where and rule; never the value.

    \b
    tsi-fetch quarantine list
    tsi-fetch quarantine list --job cima --json
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs.looking import Where, quarantine_lines, quarantine_rows
    from jobs.reporting.table import table_text

    rows = quarantine_rows(Where(config, voice.secrets, store), job, everything=everything)
    lines = quarantine_lines(rows, everything=everything)
    voice.show({"quarantine": rows}, table_text(voice.clean(lines), "nothing lies in quarantine"))
    return 0


@command.command("show", short_help="Show one entry whole.")
@click.argument("job", type=JOB)
@click.argument("number", type=click.IntRange(1))
@look_option
@config_option
@json_option
@click.pass_obj
def show(voice: Voice, /, *, job: str, number: int, store: str | None, config: Path | None, as_json: bool) -> int:
    """Show entry NUMBER of JOB: why it is there, the source's answers as received, and the refused resource.

    \b
    tsi-fetch quarantine show cima 12

    This prints bodies, which may hold personal data.
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs.looking import Where, quarantined
    from jobs.reporting.entry import entry_text

    entry = quarantined(Where(config, voice.secrets, store), job, number)
    voice.show(entry, entry_text(entry))
    return 0
