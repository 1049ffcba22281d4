"""May the first administrator be made?"""

import pytest

from domain.user import CreateFirstAdministrator, RoleGranted, UserCreated
from tests.support.specification import given

ADMIN = "user/admin"
MADE = [UserCreated("admin", "pw-1"), RoleGranted("administrator")]


def test_the_first_administrator_is_created_with_the_role():
    given(ADMIN, []).when(CreateFirstAdministrator("admin", "pw-1")).then(MADE)


def test_an_existing_user_is_not_made_again_whatever_the_password():
    given(ADMIN, MADE).when(CreateFirstAdministrator("admin", "pw-2")).then_rejected("user_exists")


@pytest.mark.parametrize("name", ["", "Admin", "-a", "a-", "a b", "a" * 64, "ädmin", "a\n", "a.b", "a/b"])
def test_a_name_that_is_no_slug_is_refused(name):
    given(ADMIN, []).when(CreateFirstAdministrator(name, "pw-1")).then_rejected("validation_failed", "name")
