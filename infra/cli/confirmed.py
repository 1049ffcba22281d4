"""Does somebody really want what cannot be undone? They are asked; in a script they say so beforehand."""

import sys
from typing import Annotated

import typer

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def confirmed(yes: bool, question: str) -> None:
    """Ask, unless `yes` was said; end without an answer that is a yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here: say --yes", param_hint="--yes")
    typer.confirm(question, abort=True, err=True)
