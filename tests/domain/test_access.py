"""Who may do what, and why or why not?"""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import (
    PERMISSIONS,
    ROLES,
    CredentialObject,
    Grant,
    JobObject,
    Limits,
    RunObject,
    TargetObject,
    built_in,
    decide,
    first_beyond,
    grants_of,
    is_unlimited,
    may,
    permissions_of,
)
from domain.name_pattern import matches_pattern

STAGING = TargetObject("web-01", {"env": "staging"})
PROD = TargetObject("db-01", {"env": "prod"})
WEB = Grant(
    "web-op", frozenset({"jobs.read", "targets.read", "runs.start", "credentials.use"}), Limits("env=staging", "web-*", "web")
)
DB = Grant("db-op", frozenset({"runs.start"}), Limits("env=prod", "db-*"))


@pytest.mark.parametrize("role", ROLES)
def test_a_built_in_role_has_what_the_table_says_on_everything(role):
    grants = grants_of([role], {})
    for permission, holders in PERMISSIONS.items():
        assert decide(grants, permission, PROD).allowed is (role in holders or permission.startswith("self."))
        assert is_unlimited(grants, permission) is (role in holders)


def test_a_role_nobody_knows_grants_nothing_but_ones_own_account_is_everybodys():
    assert grants_of(["gone", "nobody"], {}) == ()
    assert permissions_of(()) == ["self.read", "self.write"]
    assert may((), "self.read") and not may((), "targets.read") and decide((), "self.write").allowed


@pytest.mark.parametrize(
    ("permission", "thing", "allowed", "at_fault"),
    [
        ("jobs.read", None, True, None),
        ("jobs.write", None, False, None),
        ("jobs.read", JobObject("web-deploy"), True, None),
        ("jobs.read", JobObject("db-deploy"), False, "jobs"),
        ("targets.read", STAGING, True, None),
        ("targets.read", PROD, False, "targets"),
        ("credentials.use", CredentialObject("web"), True, None),
        ("credentials.use", CredentialObject("web-2"), False, "credentials"),
        ("runs.start", RunObject("web-deploy", [STAGING]), True, None),
        ("runs.start", RunObject("web-deploy", []), True, None),
        ("runs.start", RunObject("db-deploy", [STAGING]), False, "jobs"),
        ("runs.start", RunObject("web-deploy", [STAGING, PROD]), False, "targets"),
    ],
)
def test_a_limited_role_reaches_as_far_as_its_limits(permission, thing, allowed, at_fault):
    found = decide([WEB], permission, thing)
    assert (found.allowed, found.at_fault) == (allowed, at_fault)
    assert found.role == ("web-op" if allowed else None) and bool(found.lacks) is not allowed


def test_a_run_is_allowed_by_one_role_as_a_whole():
    assert decide([WEB, DB], "runs.start", RunObject("web-deploy", [STAGING])).role == "web-op"
    assert decide([WEB, DB], "runs.start", RunObject("db-deploy", [PROD])).role == "db-op"
    both = decide([WEB, DB], "runs.start", RunObject("web-deploy", [STAGING, PROD]))
    assert not both.allowed and [role for role, _ in both.lacks] == ["web-op", "db-op"]


def test_why_not_says_what_each_role_lacks():
    found = decide([built_in("viewer"), WEB], "runs.start", RunObject("web-deploy", [PROD]))
    assert found.lacks == (
        ("viewer", "does not have runs.start"),
        ("web-op", "is limited to targets env=staging, which not all of its targets are among"),
    )


def test_nobody_gives_what_they_do_not_have_as_widely():
    administrator = [built_in("administrator")]
    assert first_beyond(administrator, built_in("administrator")) is None and first_beyond(administrator, WEB) is None
    assert first_beyond([WEB], WEB) is None
    assert first_beyond([WEB], Grant("x", frozenset({"jobs.read"}))) == "jobs.read"
    assert first_beyond([WEB], Grant("x", frozenset({"jobs.read"}), Limits(jobs="web-*"))) is None
    assert first_beyond([WEB], Grant("x", frozenset({"jobs.read"}), Limits(jobs="web-1*"))) == "jobs.read", "not proved narrower"
    assert first_beyond([WEB], Grant("x", frozenset({"runs.start"}), Limits(jobs="web-*"))) == "runs.start"
    assert first_beyond([Grant("y", frozenset({"runs.start"}), Limits(jobs="web-*"))], WEB) == "credentials.use"
    assert first_beyond([built_in("operator")], built_in("author")) == "credentials.use"


NAMES = st.text("ab-", max_size=8)


@given(st.text("ab-?*", max_size=8), NAMES)
def test_a_pattern_means_what_its_regular_expression_would(pattern, name):
    said = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
    assert matches_pattern(pattern, name) is bool(re.fullmatch(said, name))


def test_no_pattern_takes_long():
    begun = time.thread_time()
    for pattern, name in (("*a" * 31 + "b", "a" * 63), ("*a" * 31 + "ba", "a" * 63), ("?" + "*a" * 30 + "b", "a" * 63)):
        assert not matches_pattern(pattern, name)
    assert matches_pattern("*a" * 31, "b" * 32 + "a" * 31)
    assert time.thread_time() - begun < 0.3
