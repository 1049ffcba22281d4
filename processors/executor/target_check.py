"""Can a target be reached and logged in to? How a check that was asked for is done."""

from domain.identity import TARGET, stream_of
from domain.run.messages import PlannedTarget
from domain.target import RecordTargetCheck, TargetCheckRequested
from processors.delivery import Sleep
from processors.executor.actions import CheckAbandoned, CheckDone, CheckTarget
from processors.executor.connector import Unreachable
from processors.executor.inventory import Inventory, InventoryUnavailable
from processors.executor.materials import Unusable
from processors.executor.step_runner import Ways, endpoint_of, shown
from schemas.event_envelope import EventEnvelope
from schemas.event_types import event_of

LOOK_TIMES = 20
LOOK_AGAIN_S = 0.1
"""How often, and after which pause, a target is looked up whose read model lags behind the event that asked."""


async def check_target(order: CheckTarget, inventory: Inventory, ways: Ways, sleep: Sleep) -> CheckDone | CheckAbandoned:
    """Do the check; abandoned when the read model does not answer or does not know of it."""
    try:
        requested = order.requested or await _request_of(order, inventory)
        target = await _as_of(order.target, requested.version if requested else 0, inventory, sleep)
    except InventoryUnavailable:
        return CheckAbandoned(order.target, order.check)
    if requested is None:
        return CheckAbandoned(order.target, order.check)
    if target is None:
        message = f"target {order.target} is not in service"
        return CheckDone(order.target, requested, RecordTargetCheck(order.check, False, code="target_retired", message=message))
    return CheckDone(order.target, requested, await _tried(order, target, ways))


async def _request_of(order: CheckTarget, inventory: Inventory) -> EventEnvelope | None:
    for recorded in reversed(await inventory.history(stream_of(TARGET, order.target))):
        if recorded.event.type == TargetCheckRequested.__name__ and event_of(recorded.event).check == order.check:
            return recorded.event
    return None


async def _as_of(name: str, version: int, inventory: Inventory, sleep: Sleep) -> PlannedTarget | None:
    for _ in range(LOOK_TIMES):
        target = await inventory.target(name)
        if target is not None and target.version >= version:
            return target
        await sleep(LOOK_AGAIN_S)
    return await inventory.target(name)


async def _tried(order: CheckTarget, target: PlannedTarget, ways: Ways) -> RecordTargetCheck:
    try:
        login = await ways.materials.login(target.connection.credential)
        reached = await ways.connector.check(endpoint_of(target), login)
    except (Unreachable, Unusable) as error:
        return RecordTargetCheck(order.check, False, code=error.code, message=shown(error.message))
    except Exception as error:  # noqa: BLE001 - a connector's bug must end this check, not the executor
        ways.crashed(f"check of {target.name}", error)
        return RecordTargetCheck(order.check, False, code="check_failed", message="the check failed in a way nobody foresaw")
    details = {shown(key): shown(value) for key, value in reached.details.items()}
    return RecordTargetCheck(order.check, True, seconds=round(reached.seconds, 6), details=details)
