"""One shard in the hand: settles commands in order, staged, until the test commits or discards."""

from commands.settle import Settled, settle
from commands.shard_state import ShardState
from commands.state_store import Found, Mark
from schemas.command_envelope import CommandEnvelope
from schemas.command_types import LANE_TOPIC, TABLE
from schemas.log import TakenCommand, Undecodable
from schemas.position import Position
from schemas.wire import topic_of


class Shard:
    def __init__(self) -> None:
        self.state = ShardState(0, Mark(), 1000)
        self._offset = 0
        self._staged: list[Settled] = []

    def settle(self, *commands: CommandEnvelope | Undecodable, lane: str | None = None) -> list[Settled]:
        """Settle and stage; by the lane of each command's type unless one is given."""
        settled = [self._settle(command, lane) for command in commands]
        self._staged += settled
        return settled

    def commit(self) -> None:
        positions = []
        for one in self._staged:
            for event in one.events:
                self._offset += 1
                positions.append(Position(topic_of(event.stream), 0, self._offset))
        self._staged = []
        self.state.seal()
        self.state.commit(positions)

    def discard(self) -> None:
        self._staged = []
        self.state.discard()

    def _settle(self, command, lane):
        if not isinstance(command, Undecodable):
            needs = self.state.needs([command.stream], [command.command_id])
            self.state.admit(needs, Found())
            known = TABLE.get(command.type)
            lane = lane or LANE_TOPIC[known.lane if known else "people"]
        self._offset += 1
        settled = settle(TakenCommand(Position(lane or "commands.people", 0, self._offset), command), self.state)
        self.state.stage(settled)
        return settled


def code_of(settled: Settled) -> str:
    """The code of a rejection, or `accepted`."""
    return getattr(settled.outcome.result, "code", "accepted")


def codes_of(settled: list[Settled]) -> list[str]:
    return [code_of(one) for one in settled]
