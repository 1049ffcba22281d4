"""How does a processor's command get to its outcome? The same command is sent again until the log has said what became of it.

No answer in time means *unknown*: the command may or may not have been decided. Sending it again under the same id is safe (the
owner gives the same outcome and appends nothing); acting as if it had been accepted is not.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from schemas.command_envelope import CommandEnvelope
from schemas.log import CommandSender, LogError, Outcomes, RecordTooLarge
from schemas.outcome import Accepted, Rejected, result_for

Sleep = Callable[[float], Awaitable[None]]

FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 40.0
"""How long an outcome is waited for before the command is sent again: twice as long each time, so that whoever hears nothing for
long does not fill the lane. Waiting longer delays nothing where the command is in the lane: its outcome is heard as it comes."""

PAUSE_S = 0.5
"""The pause after the log could not be reached."""

TOO_LARGE = "command_too_large"


@dataclass(frozen=True, slots=True)
class Delivery:
    """Sends commands and brings back their results; gives up only when cancelled."""

    sender: CommandSender
    outcomes: Outcomes
    sleep: Sleep

    async def deliver(self, command: CommandEnvelope) -> Accepted | Rejected:
        """The result of `command`, however long it takes."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self.sender.send(command)
                outcome = await self.outcomes.wait(command.command_id, wait_s)
            except RecordTooLarge as error:
                return Rejected(TOO_LARGE, str(error))
            except LogError:
                await self.sleep(PAUSE_S)
                continue
            if outcome is not None:
                return result_for(command, outcome)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
