"""How does a command get on its lane?"""

from infra.kafka.producing import PlainProducer
from schemas.actor import PEOPLE_KINDS
from schemas.command_envelope import CommandEnvelope
from schemas.partitioning import shard_of
from schemas.position import Partition
from schemas.topics import COMMANDS_PEOPLE, COMMANDS_SYSTEM
from schemas.wire import encode_command


class KafkaSender:
    """Puts commands on a lane: people's actors on `commands.people`, ours on `commands.system`."""

    def __init__(self, producer: PlainProducer, shards: int) -> None:
        self._producer = producer
        self._shards = shards

    async def send(self, command: CommandEnvelope) -> None:
        """Return once all in-sync brokers have the command.

        Raises `LogUnavailable` within a second while no broker can be reached, `ResultUnknown` within `send_s` when a broker
        was lost on the way, `RecordTooLarge`.
        """
        lane = COMMANDS_PEOPLE if command.actor.kind in PEOPLE_KINDS else COMMANDS_SYSTEM
        await self._producer.put(Partition(lane, shard_of(command.stream, self._shards)), [encode_command(command)])
