"""What may become of a custom role, and who may be given one?"""

import pytest

from domain.access import NO_LIMITS, ROLES, WHOLE_ONLY, Limits
from domain.decider import Companion
from domain.role import (
    MAX_CUSTOM_ROLES,
    ChangeRole,
    DefineRole,
    RemoveRole,
    RoleChanged,
    RoleDefined,
    RoleRemoved,
)
from domain.user.decide import MAX_DENIED_NAMED, MAX_ROLES
from domain.user.messages import (
    ChangeUser,
    CommandsDenied,
    CreateUser,
    Denials,
    RecordDeniedCommands,
    RoleGranted,
    RoleRevoked,
    UserCreated,
)
from tests.support.builders import NOON
from tests.support.specification import given

WEB, BOB = "role/web-op", "user/bob"
LIMITS = Limits("env=staging", "web-*")
BORN = [RoleDefined("web-op", "Web", ("jobs.read", "runs.start"), LIMITS)]
MADE = [UserCreated("bob", "pw-1"), RoleGranted("operator")]
IN_FORCE = Companion(None, ("admin", "role/web-op"))


def test_a_role_is_defined_once_and_its_name_is_never_free_again():
    command = DefineRole("web-op", ("jobs.read", "runs.start"), "Web", LIMITS)
    history = given(WEB, []).when(command).then(BORN)
    given(WEB, history).when(command).then_rejected("role_exists")
    removed = given(WEB, history).when(RemoveRole()).then([RoleRemoved()])
    given(WEB, removed).when(command).then_rejected("role_exists")
    given(WEB, removed).when(RemoveRole()).then_rejected("role_removed")
    given(WEB, removed).when(ChangeRole("x")).then_rejected("role_removed")


@pytest.mark.parametrize("name", ROLES)
def test_the_name_of_a_built_in_role_cannot_be_taken(name):
    given(f"role/{name}", []).when(DefineRole(name, ("jobs.read",))).then_rejected("role_exists")


@pytest.mark.parametrize("command", [ChangeRole(), RemoveRole()], ids=lambda command: type(command).__name__)
def test_what_was_never_defined_is_not_found(command):
    given(WEB, []).when(command).then_rejected("role_not_found")


def test_only_what_differs_changes_and_the_event_says_the_whole_role():
    given(WEB, BORN).when(ChangeRole()).then_nothing()
    given(WEB, BORN).when(ChangeRole("Web", ("jobs.read", "runs.start"), LIMITS)).then_nothing()
    given(WEB, BORN).when(ChangeRole(limits=NO_LIMITS)).then([RoleChanged("Web", ("jobs.read", "runs.start"), NO_LIMITS)])


@pytest.mark.parametrize(
    ("permissions", "limits", "field"),
    [
        ((), NO_LIMITS, "permissions"),
        (("jobs.read",) * 30_000, NO_LIMITS, "permissions"),
        (("jobs.read", "everything"), NO_LIMITS, "permissions.1"),
        (("jobs.read", "jobs.read"), NO_LIMITS, "permissions.1"),
        (("self.write",), NO_LIMITS, "permissions.0"),
        (("jobs.read",), Limits(targets="env="), None),
        (("jobs.read",), Limits(targets=" "), "limits.targets"),
        (("jobs.read",), Limits(targets="a=b,=c"), "limits.targets"),
        (("jobs.read",), Limits(targets="a=" + "b" * 199 + ",c=" + "d" * 199 + ",e=" + "f" * 120), "limits.targets"),
        (("jobs.read",), Limits(jobs=""), "limits.jobs"),
        (("jobs.read",), Limits(jobs="web-[a-z]"), "limits.jobs"),
        (("jobs.read",), Limits(jobs="w" * 64), "limits.jobs"),
        (("credentials.use",), Limits(credentials="Deploy"), "limits.credentials"),
        (("credentials.write",), Limits(jobs="web-*"), "permissions.0"),
        (("credentials.write",), Limits(credentials="web-*"), None),
    ],
)
def test_what_is_wrong_with_a_role_is_named(permissions, limits, field):
    example = given(WEB, []).when(DefineRole("web-op", permissions, limits=limits))
    if field is None:
        example.then([RoleDefined("web-op", "", permissions, limits)])
    else:
        example.then_rejected("validation_failed", field)


@pytest.mark.parametrize("permission", sorted(WHOLE_ONLY))
@pytest.mark.parametrize("limits", [Limits("env=prod"), Limits(jobs="*"), Limits(credentials="*")])
def test_what_could_free_itself_of_a_limit_is_in_no_limited_role(permission, limits):
    given(WEB, []).when(DefineRole("web-op", (permission,), limits=limits)).then_rejected("validation_failed", "permissions.0")
    whole = [RoleDefined("web-op", "", (permission,), NO_LIMITS)]
    given(WEB, whole).when(ChangeRole(limits=limits)).then_rejected("validation_failed", "permissions.0")
    given(WEB, []).when(DefineRole("web-op", (permission,))).then(whole)


def test_there_are_only_so_many_roles_at_once():
    full = Companion(None, ("admin", *(f"role/r-{n}" for n in range(MAX_CUSTOM_ROLES))))
    given(WEB, [], full).when(DefineRole("web-op", ("jobs.read",))).then_rejected("too_many_roles")
    users = Companion(None, tuple(f"u-{n}" for n in range(MAX_CUSTOM_ROLES)))
    given(WEB, [], users).when(DefineRole("web-op", ("jobs.read",))).then([RoleDefined("web-op", "", ("jobs.read",), NO_LIMITS)])


def test_a_role_in_force_is_granted_and_an_unknown_or_removed_one_is_not():
    given(BOB, [], IN_FORCE).when(CreateUser("bob", roles=("web-op",))).then([UserCreated("bob", None), RoleGranted("web-op")])
    given(BOB, [], Companion(None, ("admin",))).when(CreateUser("bob", roles=("viewer", "web-op"))).then_rejected(
        "validation_failed", "roles.1"
    )
    given(BOB, MADE, IN_FORCE).when(ChangeUser(roles=("web-op",))).then([RoleGranted("web-op"), RoleRevoked("operator")])
    given(BOB, MADE, Companion(None, ("admin",))).when(ChangeUser(roles=("operator", "web-op"))).then_rejected(
        "validation_failed", "roles.1"
    )


def test_a_user_is_no_role_and_a_role_no_administrator():
    given(BOB, MADE, Companion(None, ("carol",))).when(ChangeUser(roles=("carol",))).then_rejected("validation_failed", "roles.0")
    alone = [UserCreated("bob", "pw-1"), RoleGranted("administrator")]
    given(BOB, alone, Companion(None, ("bob", "role/web-op"))).when(ChangeUser(disabled=True)).then_rejected("last_administrator")


def test_a_removed_role_that_somebody_holds_may_stay_or_go_but_is_not_given_anew():
    held = [*MADE, RoleGranted("web-op")]
    gone = Companion(None, ("admin",))
    given(BOB, held, gone).when(ChangeUser(roles=("operator", "web-op"))).then_nothing()
    after = given(BOB, held, gone).when(ChangeUser(roles=("operator",))).then([RoleRevoked("web-op")])
    given(BOB, after, gone).when(ChangeUser(roles=("web-op",))).then_rejected("validation_failed", "roles.0")


def test_a_user_has_a_bounded_number_of_roles():
    many = tuple(f"r-{n}" for n in range(MAX_ROLES + 1))
    given(BOB, MADE, Companion(None, tuple(f"role/{name}" for name in many))).when(ChangeUser(roles=many)).then_rejected(
        "validation_failed", "roles"
    )


def test_denied_commands_are_recorded_by_the_window():
    counts = {"jobs.write": 3, "targets.write": 1}
    given(BOB, MADE).when(RecordDeniedCommands(counts, NOON, NOON)).then([CommandsDenied(counts, NOON, NOON, (), 4)])
    about = Denials("jobs.write", "job/web-deploy", 2), Denials("targets.write", "target", 1)
    told = CommandsDenied(counts, NOON, NOON, about, 1)
    given(BOB, MADE).when(RecordDeniedCommands(counts, NOON, NOON, about)).then([told])
    given(BOB, []).when(RecordDeniedCommands(counts, NOON, NOON)).then_rejected("user_not_found")


def test_of_very_many_things_that_denied_commands_were_about_the_first_are_named_and_the_others_counted():
    about = tuple(Denials("jobs.write", f"job/j-{n}", 2) for n in range(MAX_DENIED_NAMED + 3))
    counts = {"jobs.write": 2 * len(about)}
    told = CommandsDenied(counts, NOON, NOON, about[:MAX_DENIED_NAMED], 6)
    given(BOB, MADE).when(RecordDeniedCommands(counts, NOON, NOON, about)).then([told])
