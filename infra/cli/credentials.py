"""Commands for credentials. Secrets come from files or a prompt, never from the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli.asked import hidden
from infra.cli.confirmed import Yes, confirmed
from infra.cli.context import Output, at, show_list, show_one, write
from infra.cli.given import text
from infra.cli.targets import Limit

app = typer.Typer(no_args_is_help=True, help="What opens targets; secrets are never shown.")
COLUMNS = ["name", "title", "kind", "revision", "revoked", "version"]
KeyFile = Annotated[
    Path | None, typer.Option(help="A private key file, - for standard input; without it a password is asked for.")
]
Passphrase = Annotated[bool, typer.Option("--passphrase", help="Ask for the key's passphrase.")]
Username = Annotated[str, typer.Option(help="The account on the target.")]


def _secret(username: str, key_file: Path | None, passphrase: bool) -> dict[str, Any]:
    """The secret as the API takes it. Raises `BadFile`; wrong usage when a passphrase has no key to be for."""
    if key_file is None:
        if passphrase:
            raise typer.BadParameter("a passphrase is for a key: name its file with --key-file", param_hint="--passphrase")
        return {"username": username, "password": hidden("Password", instead="a key: --key-file")}
    secret = {"username": username, "private_key": text(key_file)}
    if passphrase:
        secret["passphrase"] = hidden("Passphrase")
    return secret


@app.command("list")
def list_credentials(limit: Limit = None, output: Output = "table") -> None:
    """List credentials."""
    show_list("/credentials", COLUMNS, output, limit)


@app.command()
def show(name: str, output: Output = "table") -> None:
    """Show one credential, never its secret."""
    show_one(at("credentials", name), output)


@app.command()
def create(
    name: str,
    username: Username,
    key_file: KeyFile = None,
    passphrase: Passphrase = False,
    title: str = "",
    output: Output = "table",
) -> None:
    """Create an SSH credential from a private key file or a password."""
    kind = "ssh_key" if key_file else "password"
    body = {"name": name, "title": title, "kind": kind}
    write(lambda client: client.send("POST", "/credentials", {**body, "secret": _secret(username, key_file, passphrase)}), output)


@app.command()
def rotate(
    name: str, username: Username, key_file: KeyFile = None, passphrase: Passphrase = False, output: Output = "table"
) -> None:
    """Replace the secret."""
    path = at("credentials", name, "secret")
    write(lambda client: client.send("PUT", path, {"secret": _secret(username, key_file, passphrase)}), output)


@app.command()
def shred(name: str, yes: Yes = False, output: Output = "table") -> None:
    """End a credential and destroy the keys of its secrets, all revisions: nobody can ever open them again."""
    confirmed(yes, f"Shred credential {name}? Nobody can open any of its secrets again.")
    write(lambda client: client.send("DELETE", at("credentials", name, "secret")), output)


@app.command()
def revoke(name: str, output: Output = "table") -> None:
    """End a credential."""
    write(lambda client: client.send("DELETE", at("credentials", name)), output)
