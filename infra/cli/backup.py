"""Commands that copy the embedded server's data away and bring it back.

What they are made of is imported when they run: the other commands are short, and would wait for it each time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.context import Output, exiting
from infra.cli.misconfigured import wrong_settings_told
from infra.cli.render import Renderer

if TYPE_CHECKING:
    from infra.wiring.backup import Examined

FAILED, WRONG_USAGE = 1, 2

WithKeys = Annotated[
    bool, typer.Option("--with-keys", help="Put the master key and the first password in, too: the file then opens every secret.")
]
Home = Annotated[Path | None, typer.Option(help="The data folder to make; default: OPSCONDUCTOR_HOME.")]


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command()(backup)
    app.command()(restore)


def backup(
    file: Annotated[Path, typer.Argument(help="The file to make; it must not exist.")],
    with_keys: WithKeys = False,
    output: Output = "table",
) -> None:
    """Copy the embedded server's log and sealed secrets into one file, also while it runs, and check the copy whole."""
    from infra.wiring.backup import back_up
    from infra.wiring.settings import settings_given

    with _telling("no backup was made"):
        settings = settings_given()
        found = back_up(settings, file, datetime.now(UTC), with_keys)
    with exiting(f"the backup {file} is made and whole, but "):
        renderer = Renderer(output)
        renderer.one({"file": str(file), "bytes": file.stat().st_size, **_told(found), "master_key": with_keys})
        if with_keys:
            renderer.note("this file opens every secret in it: keep it as you keep the master key")
        else:
            renderer.note(_KEY_APART)


_KEY_APART = (
    "the master key is NOT in this file, and without it no secret in it can be opened: keep a copy of it elsewhere"
    " (OPSCONDUCTOR_MASTER_KEY, or the file master-key in the data folder)"
)


def restore(
    file: Annotated[Path, typer.Argument(help="A file made by `opsconductor backup`.")],
    home: Home = None,
    output: Output = "table",
) -> None:
    """Make a data folder from a backup, once all of it is checked; refuses a folder with anything in it."""
    from infra.wiring.restore import restore as make_folder
    from infra.wiring.settings import settings_given

    with _telling("nothing was restored"):
        settings = settings_given(home=home) if home is not None else settings_given()
        found, with_key = make_folder(settings, file)
    with exiting(f"{settings.home} is restored, but "):
        renderer = Renderer(output)
        runs = found.unfinished_runs
        renderer.one({"home": str(settings.home), **_told(found), "unfinished_runs": runs, "master_key": with_key})
        if runs:
            renderer.note(
                f"{len(runs)} runs had not finished when the backup was made: they go on from there once the server starts, and"
                " steps that they did after the backup may be done again"
            )
        if not with_key:
            renderer.note(f"before you start the server put the master key into {settings.home}/master-key (mode 0600)")


def _told(found: "Examined") -> dict[str, Any]:
    return {"events": found.events, "secrets": found.secrets}


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turn what can go wrong into a line on standard error and an exit status."""
    from infra.wiring.archive import BadBackup
    from infra.wiring.backup import NotCopied, NotEmbedded
    from schemas.log import LogError

    try:
        with wrong_settings_told(f"{what}: "):
            yield
    except NotEmbedded as elsewhere:
        typer.echo(f"{what}: {elsewhere}", err=True)
        raise typer.Exit(WRONG_USAGE) from None
    except (NotCopied, BadBackup, LogError, OSError) as failed:
        typer.echo(f"{what}: {failed}", err=True)
        raise typer.Exit(FAILED) from None
