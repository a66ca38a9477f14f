"""Every kind of fault that a run may meet: what it does to the world or the ports, and its rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from sandbox.azure import CONFIG_TAG
from sandbox.bridge import SimBridge
from sandbox.bridge_report import MISSING
from sandbox.cloud import BootModel, SimOperation, SimVm
from sandbox.faults import Begin, Fault, Kind, Site, Undo, forced
from sandbox.gallery import Defect
from sandbox.scenario import DEFINITION
from sandbox.world import WorldError
from scaler.model import Command, CommandKind

WAITS_FOR_ONE_THAT_LEAVES, BOTH_COUNTS = 1 << 21, 1 << 22
"""Bits of a fault's pick."""
LATE_CREATION_S = (30.0, 840.0)
"""Behind the error: no longer than what a repair of the capacity waits for, where it is allowed at all."""
LISTED_WITHIN_S = 7.0
"""ARM lists a new machine by then, and it does not run yet."""
COUNTS = ("conferences", "local_endpoints")
STRANGE: tuple[tuple[str, Any], ...] = (
    *((key, value) for key in COUNTS for value in (None, -1, 0.5, True, "0", MISSING)),
    ("current_timestamp", "yesterday"),
    ("stress_level", float("nan")),
    ("mucs_joined", "1"),
    ("a_field_of_tomorrow", {"conferences": 0}),
)
IDLE = {
    **dict.fromkeys(("conferences", "local_endpoints", "endpoints", "participants", "largest_conference"), 0),
    **dict.fromkeys(("bit_rate_download", "bit_rate_upload"), 0),
}
NOT_JSON = (b"", b"{}", b"[]", b'{"conferences": 0, "local_end', b"<html><body>Bad Gateway</body></html>")
OLD_JVB = {"healthy": MISSING, "drain": MISSING, "version": "2.1-595"}
"""Statistics of a JVB that cannot be drained: older than stable 7210."""
IN_ITS_MUC = {"muc_clients_connected": 1, "mucs_joined": 1, "healthy": True}


def _nothing() -> None:
    """End what ends by itself."""


def on_bridge(hit: Callable[[Site, SimVm, SimBridge, Fault], Undo | None], *, counts: bool = True) -> Begin:
    """Choose a machine whose bridge runs; `counts` False: the ports count what comes of it."""

    def begin(site: Site, fault: Fault) -> Undo | None:
        victims = _victims(site, fault, site.serving())
        if not victims:
            return None
        vm = victims[fault.pick % len(victims)]
        if vm.bridge is None:
            return None
        undo = hit(site, vm, vm.bridge, fault)
        return _counted(site, fault, undo) if counts else undo

    return begin


def _victims(site: Site, fault: Fault, among: Sequence[SimVm]) -> list[SimVm]:
    """Half of the faults wait for a bridge on its way out: there the guards of the protocol are tried."""
    if not fault.pick & WAITS_FOR_ONE_THAT_LEAVES:
        return list(among)
    leaving = {vm.vm_id for vm in site.leaving()}
    return [vm for vm in among if vm.vm_id in leaving]


def on_machine(hit: Callable[[Site, SimVm, Fault], Undo | None]) -> Begin:
    """Choose a machine that runs."""

    def begin(site: Site, fault: Fault) -> Undo | None:
        victims = _victims(site, fault, site.machines())
        return (
            _counted(site, fault, hit(site, victims[fault.pick % len(victims)], fault)) if victims else None
        )

    return begin


def _counted(site: Site, fault: Fault, undo: Undo | None) -> Undo | None:
    if undo is not None:
        site.exercised[fault.kind] += 1
    return undo


def marking(kind: str) -> Begin:
    """Mark a machine, for the ports to treat it so."""

    def begin(site: Site, fault: Fault) -> Undo | None:
        victims = _victims(site, fault, site.serving())
        if not victims:
            return None
        return site.mark(kind, victims[fault.pick % len(victims)].name)

    return begin


# What bridges say and do


def _says(bridge: SimBridge, values: dict[str, Any]) -> Undo:
    bridge.faults.overrides.update(values)
    return partial(_unsay, bridge, values)


def _unsay(bridge: SimBridge, values: dict[str, Any]) -> None:
    for key in values:
        bridge.faults.overrides.pop(key, None)


def _silent(_site: Site, vm: SimVm, _fault: Fault) -> Undo:
    """Also one whose process has ended: then its port is not refused, which proves nothing."""
    vm.unreachable = True
    return partial(setattr, vm, "unreachable", False)


def _frozen(site: Site, _vm: SimVm, bridge: SimBridge, _fault: Fault) -> Undo:
    return _says(bridge, bridge.stats(site.world.now))


def _lying_idle(_site: Site, _vm: SimVm, bridge: SimBridge, fault: Fault) -> Undo | None:
    if not bridge.people:
        return None
    values = dict(IDLE)
    if fault.pick % 2:
        values["total_conferences_created"] = bridge.totals.conferences_created
    return _says(bridge, values)


def _lying_healthy(_site: Site, _vm: SimVm, bridge: SimBridge, _fault: Fault) -> Undo:
    bridge.leave_muc()
    unsay = _says(bridge, IN_ITS_MUC)

    def undo() -> None:
        unsay()
        bridge.rejoin_muc()

    return undo


def _ignores_drain(site: Site, vm: SimVm, bridge: SimBridge, fault: Fault) -> Undo:
    bridge.faults.ignores_drain = True
    unmark = site.mark(fault.kind, vm.name)

    def undo() -> None:
        bridge.faults.ignores_drain = False
        unmark()

    return undo


def _drain_lost(site: Site, fault: Fault) -> Undo | None:
    victims = [
        vm for vm in site.serving() if vm.bridge is not None and vm.bridge.drain and vm.bridge.muc_joined
    ]
    if not victims:
        return None
    bridge = victims[fault.pick % len(victims)].bridge
    assert bridge is not None
    bridge.restart()
    return _counted(site, fault, _nothing)


def _strange(_site: Site, _vm: SimVm, bridge: SimBridge, fault: Fault) -> Undo:
    key, value = STRANGE[fault.pick % len(STRANGE)]
    if key in COUNTS and fault.pick & BOTH_COUNTS:
        return _says(bridge, dict.fromkeys(COUNTS, value))
    return _says(bridge, {key: value})


def _not_json(_site: Site, _vm: SimVm, bridge: SimBridge, fault: Fault) -> Undo:
    endpoint = ("stats", "stats", "drain", "metrics")[fault.pick % 4]
    bridge.faults.bodies[endpoint] = NOT_JSON[fault.pick // 4 % len(NOT_JSON)]
    return partial(_forget_body, bridge, endpoint)


def _forget_body(bridge: SimBridge, endpoint: str) -> None:
    bridge.faults.bodies.pop(endpoint, None)


def _statuses(_site: Site, _vm: SimVm, bridge: SimBridge, fault: Fault) -> Undo | None:
    endpoint = ("health", "stats", "drain", "shutdown", "metrics")[fault.pick % 5]
    if endpoint in bridge.faults.statuses:
        return None  # its image may be without it for good
    bridge.faults.statuses[endpoint] = (404, 500, 503)[fault.pick // 5 % 3]

    def undo() -> None:
        bridge.faults.statuses.pop(endpoint, None)

    return undo


def _xmpp_cut(_site: Site, _vm: SimVm, bridge: SimBridge, fault: Fault) -> Undo:
    bridge.leave_muc(strands_calls=bool(fault.pick % 2))
    return bridge.rejoin_muc


def _unhealthy(_site: Site, _vm: SimVm, bridge: SimBridge, _fault: Fault) -> Undo:
    bridge.fail_health("no working transport")
    return partial(bridge.fail_health, None)


def _crash(_site: Site, _vm: SimVm, bridge: SimBridge, fault: Fault) -> Undo:
    bridge.crash(back_after_s=fault.lasts_s)
    return _nothing


def _dead(_site: Site, _vm: SimVm, bridge: SimBridge, _fault: Fault) -> Undo:
    bridge.crash()
    return _nothing


def _clock(_site: Site, _vm: SimVm, bridge: SimBridge, fault: Fault) -> Undo:
    bridge.faults.clock_skew_s = Random(fault.pick).uniform(-600, 600)
    return partial(setattr, bridge.faults, "clock_skew_s", 0.0)


# What becomes of machines


def _booting_like(model: BootModel) -> Begin:
    def begin(site: Site, fault: Fault) -> Undo:
        created = len(site.world.history.lives)
        site.scale_set.boot = model

        def undo() -> None:
            site.scale_set.boot = None
            site.exercised[fault.kind] += len(site.world.history.lives) - created

        return undo

    return begin


def _booting_from(spoil: Callable[[SimBridge, Fault], None]) -> Begin:
    """Machines made from now on have another image, and keep it."""

    def begin(site: Site, fault: Fault) -> Undo:
        def put_on(bridge: SimBridge) -> None:
            spoil(bridge, fault)
            site.exercised[fault.kind] += 1

        site.scale_set.image_fault = put_on
        return partial(setattr, site.scale_set, "image_fault", None)

    return begin


def _old(bridge: SimBridge, _fault: Fault) -> None:
    bridge.faults.overrides.update(OLD_JVB)
    bridge.faults.statuses.update(drain=404, metrics=404)


def _broken(bridge: SimBridge, fault: Fault) -> None:
    """No password for Prosody, no transport, an API that is off, or a process that dies again and again."""
    faults = bridge.faults
    match fault.pick % 6:
        case 0:
            faults.never_joins = True
        case 1:
            faults.sick_from_start = "no valid address for the harvester"
        case 2:
            faults.statuses["shutdown"] = 404
        case 3:
            faults.statuses["drain"] = 404
        case 4:
            faults.statuses["shutdown"] = 503
        case _:
            faults.crashes_after_s = 20.0 + fault.pick % 300


def _vanishes(site: Site, vm: SimVm, _fault: Fault) -> Undo:
    site.remove_by_hand(partial(site.world.lose, vm))
    return _nothing


def _appears(site: Site, fault: Fault) -> Undo:
    # Where more stand than the capacity says, one more removes some: that, too, is the person's doing.
    capacity = site.scale_set.capacity + 1
    site.remove_by_hand(lambda: _ignored(site.world.set_capacity(site.scale_set.id, capacity)))
    site.exercised[fault.kind] += 1
    return _nothing


def _fails(_site: Site, vm: SimVm, _fault: Fault) -> Undo:
    """ARM calls its provisioning failed, by an extension say, and it serves as before."""
    vm.provisioning = "Failed"

    def undo() -> None:
        if vm.provisioning == "Failed" and vm.error is None:
            vm.provisioning = "Succeeded"

    return undo


def _appears_deaf(site: Site, fault: Fault) -> Undo:
    """The person's machine is of the package's default: a REST API for localhost alone."""
    world, capacity = site.world, site.scale_set.capacity + 1
    before = {vm.vm_id for vm in site.scale_set.vms.values()}

    def add() -> None:
        operation = world.set_capacity(site.scale_set.id, capacity)
        world.schedule(world.now + timedelta(seconds=LISTED_WITHIN_S), mark, operation)

    def mark(operation: SimOperation) -> None:
        for vm in site.scale_set.vms.values():
            if vm.name in operation.waits_for and vm.vm_id not in before:
                vm.rest_elsewhere = True
                site.exercised[fault.kind] += 1

    site.remove_by_hand(add)
    return _nothing


def _configured(site: Site, fault: Fault) -> Undo:
    """A person changes the configuration of machines to come: half the time to one that does not work."""
    before, new = site.scale_set.tags.get(CONFIG_TAG), f"config-{fault.pick}"
    if fault.pick % 2:
        site.scale_set.bad_configs.add(new)
    _tag(site, new)
    site.exercised[fault.kind] += 1
    # What stood before may be another such fault's, and nobody would go back to what does not work.
    return partial(_tag, site, None if before in site.scale_set.bad_configs else before)


def _tag(site: Site, value: str | None) -> None:
    tags = {key: text for key, text in site.scale_set.tags.items() if key != CONFIG_TAG}
    site.world.set_tags(site.scale_set.id, tags if value is None else {**tags, CONFIG_TAG: value})


def _reimaged(site: Site, vm: SimVm, _fault: Fault) -> Undo:
    site.world.reimage(vm)
    return _nothing


def _halted(site: Site, vm: SimVm, _fault: Fault) -> Undo:
    site.world.halt(vm)
    return partial(site.world.power_on, vm)


def _deleted_by_hand(site: Site, vm: SimVm, _fault: Fault) -> Undo:
    def remove() -> None:
        site.world.delete_instances(site.scale_set.id, [vm.name])

    site.remove_by_hand(remove)
    return _nothing


def _resized(site: Site, fault: Fault) -> Undo | None:
    capacity = max(site.scale_set.capacity + (-2, -1, 1, 2)[fault.pick % 4], 1)
    if capacity == site.scale_set.capacity:
        return None
    site.remove_by_hand(lambda: _ignored(site.world.set_capacity(site.scale_set.id, capacity)))
    site.exercised[fault.kind] += 1
    return _nothing


def _ignored(_result: object) -> None:
    """Take a result that nobody needs."""


def _drained_by_hand(site: Site, _vm: SimVm, bridge: SimBridge, _fault: Fault) -> Undo | None:
    if bridge.drain:
        return None
    bridge.set_drain(True)
    return partial(site.undrain_by_hand, bridge)


def _undrained_by_hand(site: Site, fault: Fault) -> Undo | None:
    victims = [vm.bridge for vm in site.serving() if vm.bridge is not None and vm.bridge.drain]
    if not victims:
        return None
    site.undrain_by_hand(victims[fault.pick % len(victims)])
    return _counted(site, fault, _nothing)


# What operators command


def _commands(site: Site, fault: Fault, kind: CommandKind, **changes: Any) -> None:
    """Give a command that is over before the peace begins to be judged."""
    now = site.world.now
    site.order(
        Command(
            f"{kind}-{fault.at_s:.0f}-{fault.pick}-{now:%H%M%S}",
            kind,
            "sim",
            str(fault.kind),
            now,
            expires_at=now + timedelta(seconds=max(fault.lasts_s, 120)),
            **changes,
        )
    )
    site.exercised[fault.kind] += 1


def _of(vm: SimVm) -> dict[str, Any]:
    return {"vm_id": vm.vm_id, "bridge": vm.name}


def _commands_drain(site: Site, fault: Fault) -> Undo | None:
    victims = site.serving()
    if not victims:
        return None
    vm = victims[fault.pick % len(victims)]
    _commands(site, fault, CommandKind.DRAIN, **_of(vm))
    return partial(_commands, site, fault, CommandKind.UNDRAIN, **_of(vm))


def _commands_protect(site: Site, fault: Fault) -> Undo | None:
    victims = site.machines()
    if not victims:
        return None
    _commands(site, fault, CommandKind.PROTECT, **_of(victims[fault.pick % len(victims)]))
    return _nothing


def _commands_pause(site: Site, fault: Fault) -> Undo:
    _commands(site, fault, CommandKind.PAUSE)
    return partial(_commands, site, fault, CommandKind.RESUME)


def _commands_floor(site: Site, fault: Fault) -> Undo:
    _commands(site, fault, CommandKind.FLOOR, minimum=1 + fault.pick % 5)
    return _nothing


def _commands_replace(site: Site, fault: Fault) -> Undo | None:
    """Replace one of which the operator knows that it is dead, or, wrongly, one that serves."""
    machines = site.machines()
    dead = [vm for vm in machines if vm.bridge is not None and not vm.bridge.listening]
    victims = dead if fault.pick % 4 else site.serving()
    if not victims:
        return None
    victim = victims[fault.pick % len(victims)]
    site.vouched.add(victim.vm_id)  # it may be wrong from the beginning, or when its JVB comes back
    _commands(site, fault, CommandKind.REPLACE, **_of(victim))
    return _nothing


# What a whole shard meets


def _prosody_down(site: Site, fault: Fault) -> Undo | None:
    """Every bridge is cut from its MUC at once, as when Prosody is restarted."""
    bridges = [vm.bridge for vm in site.serving() if vm.bridge is not None]
    for bridge in bridges:
        bridge.leave_muc(strands_calls=bool(fault.pick % 2))

    def undo() -> None:
        for bridge in bridges:
            bridge.rejoin_muc()

    return _counted(site, fault, undo) if bridges else None


def _network_cut(site: Site, fault: Fault) -> Undo:
    """The function reaches no bridge, by an error in a route or a rule; calls go on."""
    machines = list(site.scale_set.vms.values())
    for vm in machines:
        vm.unreachable = True
    site.exercised[fault.kind] += 1

    def undo() -> None:
        for vm in machines:
            vm.unreachable = False

    return undo


def _rows_lost(site: Site, fault: Fault) -> Undo:
    """Somebody empties the tables."""
    site.forget()
    site.exercised[fault.kind] += 1
    return _nothing


# What ARM does


def _scale_set_has(attribute: str, value: object) -> Begin:
    """While it lasts, the scale set answers writes in this way; the port counts those that it hits."""

    def begin(site: Site, fault: Fault) -> Undo:
        setattr(site.scale_set, attribute, value)
        site.in_force.setdefault(fault.kind, []).append(fault)

        def undo() -> None:
            setattr(site.scale_set, attribute, None)
            site.spend(fault)

        return undo

    return begin


_allocation = _scale_set_has("allocation_error", ("AllocationFailed", "no room for this size here"))
_creates_late = _scale_set_has("creates_late_s", LATE_CREATION_S)
_delete_fails = _scale_set_has("delete_error", ("InternalOperationError", "the delete did not complete"))
_delete_slow = _scale_set_has("delete_seconds", (300.0, 1800.0))


def _etag_moves(site: Site) -> None:
    try:
        site.world.set_tags(site.scale_set.id, dict(site.scale_set.tags))
    except WorldError:
        return


# Images


def _image_broken(site: Site, fault: Fault) -> Undo:
    """A version is published of which no sound bridge comes; counted when a machine is made of it."""
    rng = Random(fault.pick)
    _publish(site, defect=rng.choice([each for each in Defect if each is not Defect.NONE]))
    return _nothing


def _image_published(site: Site, fault: Fault) -> Undo:
    """A version appears at any time, also in the middle of the night, and takes its time to be usable."""
    rng = Random(fault.pick)
    site.exercised[fault.kind] += 1
    _publish(site, replicated_after_s=rng.choice((0.0, 900.0)), excluded=rng.random() < 0.2)
    return _nothing


def _publish(site: Site, **details: Any) -> None:
    galleries = site.world.galleries
    galleries.publish(DEFINITION, galleries.next_name(DEFINITION), **details)


# The function's hosts


def _host_clocks(site: Site, fault: Fault) -> Undo:
    site.host_clocks = fault
    site.exercised[fault.kind] += 1
    return partial(setattr, site, "host_clocks", None)


def _of_ports(name: str, per_hour: float, shortest_s: float, longest_s: float) -> Kind:
    return Kind(name, per_hour, (shortest_s, longest_s), forced(name))


BRIDGE_KINDS = (
    Kind("bridge_silent", 1.5, (60, 1500), on_machine(_silent)),
    Kind("bridge_cut_off", 0.25, (2400, 5400), on_machine(_silent)),
    Kind("bridge_slow", 0.5, (60, 600), marking("bridge_slow")),
    Kind("bridge_huge_body", 0.3, (60, 600), marking("bridge_huge_body")),
    Kind("stats_frozen", 0.7, (60, 1200), on_bridge(_frozen)),
    Kind("lying_idle", 1.5, (300, 3000), on_bridge(_lying_idle)),
    Kind("lying_healthy", 0.5, (120, 1800), on_bridge(_lying_healthy)),
    Kind("drain_ignored", 0.7, (300, 3000), on_bridge(_ignores_drain, counts=False)),
    Kind("drain_lost", 1.0, (600, 3600), _drain_lost),
    Kind("stats_strange", 0.7, (60, 900), on_bridge(_strange)),
    Kind("stats_not_json", 0.5, (60, 900), on_bridge(_not_json)),
    Kind("endpoint_fails", 0.7, (60, 1200), on_bridge(_statuses)),
    Kind("xmpp_cut", 1.0, (30, 900), on_bridge(_xmpp_cut)),
    Kind("health_fails", 0.5, (60, 900), on_bridge(_unhealthy)),
    Kind("jvb_crash", 1.0, (3, 300), on_bridge(_crash)),
    _of_ports("call_slips_in", 2.0, 600, 3600),
    Kind("jvb_dead", 0.15, (0, 0), on_bridge(_dead)),
    Kind("bridge_clock", 0.7, (60, 3600), on_bridge(_clock)),
)
MACHINE_KINDS = (
    Kind("vm_never_boots", 0.5, (600, 2400), _booting_like(BootModel(never=1.0))),
    Kind("vm_boots_slowly", 0.5, (600, 2400), _booting_like(BootModel(median_s=900, p95_s=1500))),
    Kind("vm_boots_old_image", 0.3, (600, 2400), _booting_from(_old)),
    Kind("vm_boots_broken_image", 0.5, (600, 2400), _booting_from(_broken)),
    Kind("vm_disappears", 0.2, (0, 0), on_machine(_vanishes)),
    Kind("vm_appears", 0.3, (0, 0), _appears),
    Kind("vm_failed_state", 0.4, (60, 1800), on_machine(_fails)),
    Kind("vm_appears_deaf", 0.3, (0, 0), _appears_deaf),
    Kind("vm_reimaged", 0.4, (0, 0), on_machine(_reimaged)),
    Kind("vm_halted", 0.4, (20, 900), on_machine(_halted)),
    Kind("operator_deletes", 0.2, (0, 0), on_machine(_deleted_by_hand)),
    Kind("operator_resizes", 0.2, (0, 0), _resized),
    Kind("operator_configures", 0.3, (600, 3600), _configured),
    Kind("operator_drains", 0.4, (60, 3600), on_bridge(_drained_by_hand)),
    Kind("operator_undrains", 0.7, (600, 3600), _undrained_by_hand),
)
SHARD_KINDS = (
    Kind("prosody_down", 0.3, (20, 1200), _prosody_down),
    Kind("network_cut", 0.3, (20, 1200), _network_cut),
    Kind("rows_lost", 0.1, (0, 0), _rows_lost),
)
COMMAND_KINDS = (
    Kind("command_drain", 0.7, (60, 3600), _commands_drain),
    Kind("command_protect", 0.5, (60, 3600), _commands_protect),
    Kind("command_pause", 0.3, (60, 1800), _commands_pause),
    Kind("command_floor", 0.5, (60, 3600), _commands_floor),
    Kind("command_replace", 0.7, (400, 700), _commands_replace),
)
IMAGE_KINDS = (
    Kind("image_broken", 0.3, (0, 0), _image_broken),
    Kind("image_published", 0.5, (0, 0), _image_published),
)
ARM_KINDS = (
    _of_ports("arm_throttled", 0.5, 30, 240),
    _of_ports("arm_conflict", 0.5, 30, 240),
    _of_ports("arm_etag_moves", 1.0, 600, 3600),
    _of_ports("arm_error", 0.5, 30, 600),
    _of_ports("arm_timeout_after_change", 1.0, 600, 3600),
    _of_ports("arm_answer_lost", 1.0, 600, 3600),
    _of_ports("arm_partial_page", 0.7, 30, 300),
    _of_ports("arm_stale_list", 0.7, 60, 600),
    _of_ports("arm_list_lacks", 0.7, 60, 600),
    _of_ports("arm_nic_lacks", 0.7, 60, 900),
    _of_ports("arm_power_unknown", 0.5, 60, 900),
    _of_ports("arm_operation_endless", 0.5, 300, 1800),
    _of_ports("arm_quota", 0.4, 300, 1800),
    Kind("arm_allocation", 0.4, (300, 1800), _allocation),
    Kind("arm_creates_late", 0.4, (300, 1800), _creates_late),
    Kind("arm_slow_delete", 0.4, (600, 3600), _delete_slow),
    Kind("arm_failed_delete", 0.4, (600, 3600), _delete_fails),
    _of_ports("address_reused", 0.7, 600, 600),
)
MONITOR_KINDS = (
    _of_ports("monitor_late", 0.5, 60, 1200),
    _of_ports("monitor_gap", 0.5, 60, 1200),
    _of_ports("monitor_spike", 0.4, 60, 180),
    _of_ports("monitor_absent", 0.5, 60, 1200),
)
TABLE_KINDS = (
    _of_ports("table_conflict", 0.7, 60, 300),
    _of_ports("table_timeout_after_write", 0.7, 60, 300),
    _of_ports("tables_unavailable", 0.3, 60, 600),
)
LOOP_KINDS = (
    _of_ports("killed", 3.0, 600, 600),
    _of_ports("process_frozen", 2.0, 20, 400),
    _of_ports("two_ticks", 2.0, 60, 240),
    _of_ports("timer_late", 0.7, 60, 500),
    _of_ports("timer_twice", 1.0, 60, 240),
    _of_ports("alert_storm", 1.0, 60, 300),
    Kind("host_clock", 0.7, (60, 1200), _host_clocks),
)
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        *BRIDGE_KINDS,
        *MACHINE_KINDS,
        *SHARD_KINDS,
        *COMMAND_KINDS,
        *IMAGE_KINDS,
        *ARM_KINDS,
        *MONITOR_KINDS,
        *TABLE_KINDS,
        *LOOP_KINDS,
    )
}
ONCE_PER_RUN = ("capacity_stays",)
"""Traits of a whole run that count as faults: the capacity does not fall when a machine is deleted."""
etag_moves = _etag_moves
