"""A server for every test that asks for one."""

from tests.api.conftest import server

__all__ = ["server"]
