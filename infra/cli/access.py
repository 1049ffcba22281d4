"""Commands for custom roles, and for the question who may do what."""

from typing import Annotated, Any

import typer

from domain.access import PERMISSIONS, ROLES
from infra.cli.context import Output, at, show_list, show_one, write
from infra.cli.render import Renderer
from infra.cli.targets import Limit

app = typer.Typer(no_args_is_help=True, help="Roles: built in, and custom ones, perhaps within limits.")
permissions = typer.Typer(help="Who may do what, and why.")
COLUMNS = ["name", "title", "built_in", "permissions", "limits.targets", "limits.jobs", "limits.credentials", "version"]
Permissions = Annotated[list[str] | None, typer.Option("--permission", help="A permission; may be given several times.")]
Targets = Annotated[str | None, typer.Option(help="Only on targets of this selector, such as env=staging; empty for all.")]
Jobs = Annotated[str | None, typer.Option(help="Only on jobs of such a name: * and ? stand for characters; empty for all.")]
Credentials = Annotated[str | None, typer.Option(help="Only on credentials of such a name; empty for all.")]


def _limits(targets: str | None, jobs: str | None, credentials: str | None) -> dict[str, str | None]:
    """The limits that were given; an empty one is none any more."""
    given = {"targets": targets, "jobs": jobs, "credentials": credentials}
    return {name: limit or None for name, limit in given.items() if limit is not None}


@app.command("list")
def list_roles(
    removed: Annotated[bool, typer.Option("--removed", help="Those that were removed.")] = False,
    limit: Limit = None,
    output: Output = "table",
) -> None:
    """List roles with what they permit."""
    show_list("/roles", COLUMNS, output, limit, **({"removed": "true"} if removed else {}))


@app.command()
def show(name: str, output: Output = "table") -> None:
    """Show one role."""
    show_one(at("roles", name), output)


@app.command()
def create(
    name: str,
    permission: Permissions = None,
    title: str = "",
    targets: Targets = None,
    jobs: Jobs = None,
    credentials: Credentials = None,
    output: Output = "table",
) -> None:
    """Define a role."""
    body = {"name": name, "title": title, "permissions": permission or [], "limits": _limits(targets, jobs, credentials)}
    write(lambda client: client.send("POST", "/roles", body), output)


@app.command()
def change(
    name: str,
    permission: Permissions = None,
    title: str | None = None,
    targets: Targets = None,
    jobs: Jobs = None,
    credentials: Credentials = None,
    output: Output = "table",
) -> None:
    """Change a role for everybody who holds it; the permissions given are all it then has."""
    limits = _limits(targets, jobs, credentials)
    body: dict[str, Any] = {"limits": limits} if limits else {}
    body |= {"permissions": permission} if permission is not None else {}
    body |= {"title": title} if title is not None else {}
    write(lambda client: client.send("PATCH", at("roles", name), body), output)


@app.command()
def remove(name: str, output: Output = "table") -> None:
    """Remove a role: it grants nothing any more, and its name stays taken."""
    write(lambda client: client.send("DELETE", at("roles", name)), output)


@permissions.callback(invoke_without_command=True)
def table(context: typer.Context, output: Output = "table") -> None:
    """Show the table of permissions and the built-in roles that carry them."""
    if context.invoked_subcommand is None:
        rows = [{"permission": name, **{role: role in holders for role in ROLES}} for name, holders in PERMISSIONS.items()]
        columns, renderer = ["permission", *ROLES], Renderer(output)
        renderer.heading(columns)
        renderer.many(rows, columns)


@permissions.command()
def explain(
    user: str,
    permission: str,
    thing: Annotated[str | None, typer.Argument(metavar="[OBJECT]", help="Such as job/web-deploy or target/web-01.")] = None,
    output: Output = "table",
) -> None:
    """Say why a user may or may not do something, to one thing if it is named."""
    show_one(at("users", user, "permissions", "explain"), output, permission=permission, object=thing)
