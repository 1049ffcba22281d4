"""Where all these tests run: a fleet, an embedded server, a cluster."""

from collections.abc import Iterator

import pytest

from infra.deploy.services.native_process import ServiceUnavailable
from tests.roles.fleet import FleetServer
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
