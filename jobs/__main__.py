"""`tsi-fetch`, also as `python -m jobs`.  `main` is the only place that turns errors into text and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence

import click

from jobs.cli.group import cli
from jobs.cli.voice import Voice
from tsi_fetch.errors import Exit, TsiFetchError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code (`tsi_fetch.errors.Exit`).  Never raises, never exits by itself."""
    _open_what_is_closed()
    voice = Voice()
    try:
        code = cli.main(
            args=None if argv is None else list(argv), prog_name="tsi-fetch", standalone_mode=False, obj=voice
        )
        return code if isinstance(code, int) else int(Exit.DONE)
    except click.exceptions.NoArgsIsHelpError as e:
        voice.help(e.format_message())
        return int(Exit.USAGE)
    except click.ClickException as e:
        return _usage(voice, e)
    except click.Abort:
        voice.error("interrupted", "", Exit.INTERRUPTED)  # whoever has something to go on with listens himself
        return int(Exit.INTERRUPTED)
    except TsiFetchError as e:
        voice.error(e.message, e.hint, e.exit_code)
        return int(e.exit_code)
    except Exception as e:  # noqa: BLE001  # the outermost place: what nobody expected is a bug, and is called one
        voice.bug(_what(e), tuple(_frames(e)))
        return int(Exit.BUG)


def _open_what_is_closed() -> None:
    """Whoever closed a standard stream (`>&-`) wants to hear nothing, or has nothing to say: Python has None for it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def _usage(voice: Voice, error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help" if context else "tsi-fetch --help"
    voice.error(error.format_message(), hint, Exit.USAGE)
    return int(Exit.USAGE)


def _what(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _frames(error: BaseException) -> Iterator[str]:
    """Where it happened, outermost first, causes first: files, lines and names; a value could be a body or a secret."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _frames(cause)
    yield _what(error)
    for frame, line in traceback.walk_tb(error.__traceback__):
        yield f"  {frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"


if __name__ == "__main__":
    sys.exit(main())
