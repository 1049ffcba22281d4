"""How often is a command sent that nobody answers?"""

import asyncio

from processors.delivery import Delivery
from schemas.log import LogUnavailable
from schemas.outcome import Accepted
from tests.contracts.records import command, outcome
from tests.processors.fake_time import simulated


class Silent:
    """Takes commands and gives no outcome until so many have come; each time it was sent to."""

    def __init__(self, answers_after, fails=0):
        self.answers_after, self.fails = answers_after, fails
        self.sent_at, self.ids = [], set()

    async def send(self, sent):
        if self.fails:
            self.fails -= 1
            raise LogUnavailable("away")
        self.sent_at.append(asyncio.get_running_loop().time())
        self.ids.add(sent.command_id)

    async def wait(self, command_id, within_s):
        if len(self.sent_at) > self.answers_after:
            return outcome(command())
        await asyncio.sleep(within_s)
        return None


def test_it_is_sent_again_ever_more_rarely_and_always_under_its_id():
    log = Silent(answers_after=6)
    answered = simulated(Delivery(log, log, asyncio.sleep).deliver(command()))
    assert isinstance(answered, Accepted)
    assert len(log.ids) == 1
    pauses = [round(after - before) for before, after in zip(log.sent_at, log.sent_at[1:], strict=False)]
    assert pauses == [5, 10, 20, 40, 40, 40]


def test_a_log_that_cannot_be_reached_is_asked_again_soon_however_long_it_takes():
    log = Silent(answers_after=0, fails=20)
    simulated(Delivery(log, log, asyncio.sleep).deliver(command()))
    assert log.sent_at == [10.0]
