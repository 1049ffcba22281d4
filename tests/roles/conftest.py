"""Where all these tests run: a fleet of SSH targets, an embedded server, a cluster whose services may be stopped."""

from collections.abc import Iterator

import pytest

from infra.deploy.services.native_process import NativeService, ServiceUnavailable
from infra.deploy.services.together import running
from tests.roles.fleet import Fleet, FleetServer
from tests.roles.harness import Installation, cluster, embedded
from tests.roles.rest import Rest
from tests.support.services import missing, scratch_folder


@pytest.fixture(scope="session")
def fleet_servers() -> Iterator[list[FleetServer]]:
    """Two OpenSSH servers on ten addresses each."""
    with scratch_folder() as folder:
        servers = [FleetServer(home=folder / letter) for letter in "ab"]
        try:
            for server in servers:
                server.start()
            yield servers
        except ServiceUnavailable as absent:
            missing("sshd", absent)
        finally:
            for server in servers:
                server.stop()


@pytest.fixture(scope="package")
def server(fleet_servers: list[FleetServer]) -> Iterator[Installation]:
    """An embedded server with the fleet's targets, signed in on the command line; who stops or breaks one has their own."""
    with scratch_folder() as folder, embedded(folder) as installation:
        rest = installation.rest()
        Fleet(fleet_servers, folder / "traces").register(rest)
        rest.close()
        installation.log_in()
        yield installation


@pytest.fixture(scope="package")
def services() -> Iterator[dict[str, NativeService]]:
    """Kafka, Postgres and Redis of our own, by name: these may be stopped."""
    with scratch_folder() as folder:
        try:
            with running(folder) as found:
                yield found
        except ServiceUnavailable as absent:
            missing("services to stop", absent)


@pytest.fixture(scope="package")
def house(services: dict[str, NativeService], fleet_servers: list[FleetServer]) -> Iterator[tuple[Installation, Rest, Fleet]]:
    """A cluster on them with the fleet's targets."""
    kafka, postgres, redis = (services[name].address for name in ("kafka-1", "postgres", "redis"))
    with scratch_folder() as folder, cluster(folder, kafka, postgres, redis) as installation:
        rest = installation.rest()
        fleet = Fleet(fleet_servers, folder / "traces")
        fleet.register(rest)
        yield installation, rest, fleet
