"""tsi-fetch db"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.options import config_option, log_option
from jobs.cli.voice import Voice


@click.group("db", short_help="Bring the store up to date.")
def command() -> None:
    """Look after the stores.

    \b
    tsi-fetch db upgrade     before the first run on PostgreSQL, and after every update
    """


@command.command("upgrade", short_help="Bring the tables of the stores up to date.")
@click.option("--store", "url", metavar="URL", help="This store alone, instead of those of the job file.")
@config_option
@log_option
@click.pass_obj
def upgrade(voice: Voice, url: str | None, config: Path | None, log: str | None) -> int:
    """Bring the tables of all stores in the job file up to date; without need nothing is touched.

    \b
    tsi-fetch db upgrade
    tsi-fetch db upgrade --store postgresql://user:password@host/database

    Several at once take turns (an advisory lock), so every pod may begin with it.
    """
    voice.speak(log=log)
    from jobs.config.load import ALL, Reach, load_configuration
    from jobs.config.secret import SecretUrl
    from store.upgrade import upgrade as bring_up_to_date

    if url:
        voice.secrets.add_url(url)
        stores = {"": SecretUrl(url)}
    else:
        settings = load_configuration(config, reach=Reach(stores=ALL), secrets=voice.secrets).settings
        stores = {name: store.url for name, store in settings.stores.items()}
    done = {"current": "is up to date", "absent": "was made", "behind": "was brought up to date"}
    for store in stores.values():
        before = bring_up_to_date(store.reveal())
        said = done.get(before, before)
        voice.show({"store": str(store), "before": before}, f"{store} {said}")
    return 0
