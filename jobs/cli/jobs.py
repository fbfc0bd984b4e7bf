"""tsi-fetch jobs"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jobs.cli.options import config_option, json_option
from jobs.cli.voice import Voice


@click.command("jobs", short_help="List the jobs of the job file.")
@config_option
@json_option
@click.pass_obj
def command(voice: Voice, config: Path | None, as_json: bool) -> int:
    """List the jobs: what each reads, where it writes and remembers, and when it runs.

    \b
    tsi-fetch jobs
    tsi-fetch jobs --config /etc/tsi-fetch/jobs.yaml --json
    """
    voice.speak(as_json=as_json)
    from jobs.config.load import Reach, load_configuration
    from jobs.reporting.table import table_text

    configuration = load_configuration(config, reach=Reach(), secrets=voice.secrets)
    jobs: list[dict[str, Any]] = [
        {
            "job": name,
            "source": job.source["kind"],
            "sink": job.sink,
            "store": job.store,
            "schedule": job.schedule,
            "timezone": job.timezone,
            "description": job.description,
        }
        for name, job in configuration.settings.jobs.items()
    ]
    voice.show(
        {"file": str(configuration.file), "jobs": jobs}, f"{configuration.file}\n{table_text(voice.clean(jobs))}"
    )
    return 0
