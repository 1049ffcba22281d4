"""Does the table of who may do what say whose each column is, also where it is read by a program?"""

import json

from domain.access import PERMISSIONS, ROLES
from infra.cli.main import app
from tests.cli.running import said_by


def test_in_a_pipe_the_first_line_names_the_roles() -> None:
    head, *rows = (line.split("\t") for line in said_by(app, "permissions").stdout.splitlines())
    assert head == ["permission", *ROLES]
    assert {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows} == {
        name: {role: "yes" if role in holders else "no" for role in ROLES} for name, holders in PERMISSIONS.items()
    }


def test_as_json_each_permission_is_a_document_with_the_roles_by_name() -> None:
    rows = [json.loads(line) for line in said_by(app, "permissions", "-o", "json").stdout.splitlines()]
    assert [row["permission"] for row in rows] == list(PERMISSIONS) and all(set(row) == {"permission", *ROLES} for row in rows)
