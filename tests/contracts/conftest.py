"""The adapters that the suite runs on."""

import importlib

import pytest

ADAPTERS = ("memory", "sqlite", "kafka")


@pytest.fixture(params=ADAPTERS)
async def harness(request, tmp_path):
    """An empty log of each adapter in turn."""
    module = importlib.import_module(f"tests.contracts.{request.param}_harness")
    async with module.open_harness(request, tmp_path) as harness:
        yield harness
