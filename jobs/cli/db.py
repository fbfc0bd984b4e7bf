"""tsi-fetch db"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from jobs.cli.agreement import agreed, told_first, yes_option
from jobs.cli.in_order import InOrder
from jobs.cli.options import FILE, Span, config_option, json_option, log_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place

if TYPE_CHECKING:
    from jobs.config.secret import SecretUrl
    from tsi_fetch.errors import TsiFetchError

T = TypeVar("T")
Given = TypeVar("Given")

only_store_option = click.option(
    "--store", "url", metavar="URL", help="This store alone, instead of those of the job file."
)


@click.group("db", cls=InOrder, short_help="Look after the stores: upgrade, backup, prune.")
def command() -> None:
    """Look after the stores.

    \b
    tsi-fetch db upgrade           on PostgreSQL, and after every update
    tsi-fetch db backup copy.db    a copy (SQLite), also while a run writes
    tsi-fetch db prune --keep 90d  let go of what is older and no more needed
    """


@command.command("upgrade", short_help="Bring the tables of the stores up to date.")
@only_store_option
@config_option
@json_option
@log_option
@click.pass_obj
def upgrade(voice: Voice, url: str | None, config: Path | None, as_json: bool, log: str | None) -> int:
    """Bring the tables of all stores in the job file up to date; without need nothing is touched.

    \b
    tsi-fetch db upgrade
    tsi-fetch db upgrade --store postgresql://user@host/database

    Several at once take turns (an advisory lock), so every pod may begin with it.
    """
    voice.speak(log=log, as_json=as_json)
    from store.upgrade import upgrade as bring_up_to_date

    done = {"current": "is up to date", "absent": "was made", "behind": "was brought up to date"}
    doing = {"absent": "makes the tables of", "behind": "brings the tables up to date of"}

    def bring(store: SecretUrl) -> None:
        before = bring_up_to_date(store.reveal(), lambda before: voice.say(f"{doing.get(before, before)} {store}"))
        voice.show({"store": str(store), "before": before}, f"{store} {done.get(before, before)}")

    _, troubles = _each(_stores(voice, url, config), bring)
    voice.errors(troubles)
    return _code(troubles)


@command.command("backup", short_help="Copy an SQLite store into a new file.")
@click.argument("file", type=FILE)
@only_store_option
@config_option
@json_option
@log_option
@click.pass_obj
def backup(voice: Voice, /, *, file: Path, url: str | None, config: Path | None, as_json: bool, log: str | None) -> int:
    """Copy the job file's SQLite store into FILE, consistent also while a run writes, and check the copy.

    \b
    tsi-fetch db backup copy.db
    tsi-fetch db backup monday.db --store sqlite:////var/lib/tsi-fetch/store.db

    FILE must not be there; it appears whole, or not at all.  It may hold bodies (quarantine, waiting): only its owner
    may read it.  PostgreSQL is backed up with pg_dump.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, url))
    from store.backup import backup as copy
    from tsi_fetch.errors import Usage

    stores = _stores(voice, url, config)
    if len(stores) != 1:
        raise Usage("the job file has several stores", f"name one with --store: {', '.join(map(str, stores))}")
    made = copy(stores[0].reveal(), file)
    said = f"{made.store} was copied to {made.file}: {made.size:,} bytes, checked\n"
    voice.show({"store": made.store, "file": str(made.file), "bytes": made.size}, said)
    return 0


@command.command("prune", short_help="Let go of what is old and no more needed.")
@click.option("--keep", type=Span(), required=True, metavar="90d", help="Keep what is younger than this.")
@yes_option
@only_store_option
@config_option
@json_option
@log_option
@click.pass_obj
def prune(
    voice: Voice,
    /,
    *,
    keep: timedelta,
    yes: bool,
    url: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """Let go of old runs and their reports, of closed quarantine, closed work lists and the audit trail.

    \b
    tsi-fetch db prune --keep 90d          says what would go, and asks
    tsi-fetch db prune --keep 90d --yes    does it

    Never touched: what is known of the sinks, what lies open in quarantine, waits or is to be done, the last run and
    the last success.  Runs may go on meanwhile.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, url))
    from jobs.pruning import foresee
    from jobs.pruning import prune as let_go
    from jobs.reporting.pruned import pruned_text
    from jobs.signals import listening
    from tsi_fetch.clock import SystemClock

    now = SystemClock().now()
    stores = _stores(voice, url, config)
    found, troubles = _each(stores, lambda store: foresee(store, keep, now, named=url is not None))
    voice.errors(troubles)
    code = _code(troubles)
    if not found:
        return code
    told = [old.figures() for old in found]
    going = [old for old in found if old.counts]
    text = "".join(pruned_text(figures, done=False) for figures in told)
    told_first(voice, {"stores": told, "done": not going}, text, yes=yes and bool(going))
    if not going:
        return code
    agreed(yes)
    with listening("prune again: what is gone stays gone") as stop:
        gone, failed = _each(going, lambda old: let_go(old, keep, stop))
    voice.errors(failed)
    figures = [old.figures() for old in gone]
    voice.show({"stores": figures, "done": not failed}, "".join(pruned_text(old, done=True) for old in figures))
    return _code([*troubles, *failed])


def _each(of: Iterable[T], deed: Callable[[T], Given]) -> tuple[list[Given], list[TsiFetchError]]:
    """What it gives of each, and the troubles: one that is down keeps no other from it.  Only `Stopped` is raised."""
    from tsi_fetch.errors import Stopped, TsiFetchError

    given: list[Given] = []
    troubles: list[TsiFetchError] = []
    for one in of:
        try:
            given.append(deed(one))
        except Stopped:
            raise
        except TsiFetchError as e:
            troubles.append(e)
    return given, troubles


def _code(troubles: list[TsiFetchError]) -> int:
    from tsi_fetch.errors import Exit, worst

    return int(worst({Exit(trouble.exit_code) for trouble in troubles}))


def _stores(voice: Voice, url: str | None, config: Path | None) -> list[SecretUrl]:
    """The one that was named, or all of the job file; each once."""
    from jobs.config.load import ALL, Reach, load_configuration
    from jobs.config.secret import SecretUrl

    if url:
        voice.secrets.add_url(url)
        return [SecretUrl(url)]
    settings = load_configuration(config, reach=Reach(stores=ALL), secrets=voice.secrets).settings
    return list(dict.fromkeys(store.url for store in settings.stores.values()))
