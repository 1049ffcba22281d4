"""A log of its own for each test here, with time-outs short enough to see an owner given up."""

import asyncio

import pytest

from tests.contracts.kafka_harness import KafkaHarness, kafka_settings


@pytest.fixture
async def log_on_kafka(kafka):
    """The harness of an empty log; `settings`, `open`, and what `LogHarness` has."""
    settings = kafka_settings(kafka, call_s=1.5, transaction_s=2, session_s=3, max_poll_s=30)
    harness = KafkaHarness(settings)
    yield harness
    await harness.close()
    await asyncio.sleep(0)
