"""How is the command line run within a test's own process?"""

from collections.abc import Mapping

import typer
from click.testing import Result
from typer.testing import CliRunner


def said_by(app: typer.Typer, *words: str, given: str | None = None, env: Mapping[str, str] | None = None) -> Result:
    """What `opsconductor` with these words did; whatever it raises but an exit is raised here, too."""
    return CliRunner().invoke(app, list(words), input=given, env=env, catch_exceptions=False)
