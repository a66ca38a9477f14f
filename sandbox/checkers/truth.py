"""
WORLD: what must never happen, whatever goes wrong and whatever the engine was told.

Judged on the simulated truth alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sandbox.bridge import SimBridge
from sandbox.checkers.court import Court
from sandbox.cloud import SimVm
from sandbox.faults import Site
from sandbox.history import CutReason
from sandbox.witness import Act, Told
from scaler.model import Reach
from scaler.tick import Report

NAME = "world"
UNSEEN_BETWEEN_POLLS = timedelta(minutes=2)
"""What a person lifts and sets again within so long, no poll may ever see."""
PASSES_FOR_DEAD_AFTER = timedelta(minutes=30)
MEDIA_MBPS = 1.0
"""More than an idle machine sends."""


class WorldChecker:
    """No delete of a machine whose JVB runs or that has a call; no call moved or ended by us."""

    def __init__(self, site: Site, court: Court, *, replaces_dead: bool = False) -> None:
        """`site`: knows which machines others removed; `replaces_dead`: the operator lets it be done."""
        self._site, self._court, self._replaces_dead = site, court, replaces_dead
        self._silent_since: dict[str, datetime] = {}
        self._cuts_seen = 0
        self._lives_seen: set[str] = set()
        self._deleted_by_us: set[str] = set()
        self._misled: dict[str, set[str]] = {}
        """
        Calls that stood on a bridge when it was fenced on a lie: it said that it had none, or that
        it was drained, while a person had just lifted its drain and set it again.

        It carries them to their end, which no such call may miss, and ends at a time that nobody chose:
        calls that Jicofo has put on it since then move.
        """

    def before(self, act: Act, told: Told) -> None:
        """Look at the machine that is about to be deleted, and at the calls on one that is fenced."""
        vm = self._site.scale_set.vms.get(act.name)
        if act.verb == "shut_down" and vm is not None and vm.bridge is not None and self._lies(vm.bridge):
            self._misled.setdefault(vm.vm_id, set(vm.bridge.conferences))
        if act.verb != "delete":
            return
        self._deleted_by_us.add(act.vm_id)
        if vm is not None and vm.provisioning != "Deleting":
            self._deleted_by_us.add(vm.vm_id)
            self._judge(vm, told)

    def _lies(self, bridge: SimBridge) -> bool:
        lifted = self._site.undrained_by_hand.get(bridge.name)
        return bridge.people > 0 or (
            lifted is not None and self._site.world.now - lifted <= UNSEEN_BETWEEN_POLLS
        )

    def _judge(self, vm: SimVm, told: Told) -> None:
        bridge = vm.bridge
        if bridge is None or not bridge.listening:
            return
        vouched = vm.vm_id in self._site.vouched or self._passes_for_dead(vm, told)
        if vouched and not _showed_itself(vm.vm_id, told):
            self._site.removed_by_others.add(vm.vm_id)  # a wrong word, and nothing was there to be seen
            return
        calls = len(bridge.conferences)
        self._court.accuse(NAME, f"delete of {vm.name} while its JVB runs with {calls} calls")

    def _passes_for_dead(self, vm: SimVm, told: Told) -> bool:
        """It never answered for half an hour, and what is on it came after Azure Monitor's last minute."""
        load, since, bridge = told.platform.get(vm.vm_id), self._silent_since.get(vm.vm_id), vm.bridge
        if not self._replaces_dead or load is None or since is None or bridge is None:
            return False
        shown_until_s = load.at.timestamp()
        unseen = all(each.on_bridge_since_s >= shown_until_s for each in bridge.conferences.values())
        return unseen and self._site.world.now - since >= PASSES_FOR_DEAD_AFTER

    def _listen(self, told: Told, *, ended: bool) -> None:
        """An answer in a tick that was killed, or whose rows another had written, is known to nobody."""
        for vm_id, poll in told.polls.items():
            if poll.reach is not Reach.ANSWERED:
                self._silent_since.setdefault(vm_id, poll.at)
            elif ended:
                self._silent_since.pop(vm_id, None)

    def after_tick(self, told: Told, report: Report | None) -> None:
        """Look at the calls that were cut, and at the machines that went, since the last tick."""
        self._listen(told, ended=report is not None and report.result == "done")
        history = self._site.world.history
        for cut in history.cuts[self._cuts_seen :]:
            by_others = cut.reason is CutReason.VM_DELETED and cut.vm_id in self._site.removed_by_others
            calls_then = self._misled.get(cut.vm_id)
            came_later = calls_then is not None and cut.conference not in calls_then
            if cut.reason.ours and not by_others and not (cut.reason is CutReason.MOVED and came_later):
                text = f"{cut.conference} with {cut.participants} people lost {cut.vm_name}: {cut.reason}"
                self._court.accuse(NAME, text)
        self._cuts_seen = len(history.cuts)
        for life in history.lives:
            if life.delete_asked_at is None or life.vm_id in self._lives_seen:
                continue
            self._lives_seen.add(life.vm_id)
            if life.vm_id not in self._deleted_by_us | self._site.removed_by_others:
                self._court.accuse(NAME, f"{life.name} was removed, and nobody asked for that machine")


def _showed_itself(vm_id: str, told: Told) -> bool:
    """In this tick something answered for it, or its platform saw traffic leave it."""
    polls = [told.polls.get(vm_id), told.reads[vm_id][1] if vm_id in told.reads else None]
    load = told.platform.get(vm_id)
    return any(poll is not None and poll.reach is Reach.ANSWERED for poll in polls) or (
        load is not None and load.out_mbps is not None and load.out_mbps >= MEDIA_MBPS
    )
