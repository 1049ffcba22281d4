"""How does a command end whose settings are wrong? With a line that names them, and status 78 (EX_CONFIG)."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from infra.wiring.misconfigured import MISCONFIGURED, WrongSetting


@contextmanager
def wrong_settings_told(before: str = "") -> Iterator[None]:
    """Turn `WrongSetting` into that line, with `before` in front of it, and that status."""
    try:
        yield
    except WrongSetting as wrong:
        typer.echo(f"{before}wrong setting: {wrong}", err=True)
        raise typer.Exit(MISCONFIGURED) from None
