"""A log of its own for each test here, with time-outs short enough to see an owner given up."""

import asyncio

import pytest

from infra.deploy.services.kafka import kafka_cluster
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceUnavailable
from infra.deploy.services.together import services_folder
from tests.contracts.kafka_harness import KafkaHarness, kafka_settings
from tests.support.services import missing, scratch_folder


@pytest.fixture
async def log_on_kafka(kafka):
    """The harness of an empty log; `settings`, `open`, and what `LogHarness` has."""
    settings = kafka_settings(kafka, call_s=1.5, transaction_s=2, session_s=3, max_poll_s=30)
    harness = KafkaHarness(settings)
    yield harness
    await harness.close()
    await asyncio.sleep(0)


@pytest.fixture
def cluster():
    """Three brokers, which the test may kill."""
    try:
        jars = kafka_jars(services_folder())
    except ServiceUnavailable as absent:
        missing("kafka", absent)
    with scratch_folder() as folder, kafka_cluster(folder, jars, 3) as brokers:
        yield brokers
