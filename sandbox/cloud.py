"""What stands in ARM: scale sets, their machines and operations, and the models of how they boot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import exp, log
from random import Random

from sandbox.bridge import SimBridge
from sandbox.history import VmLife
from sandbox.jicofo import Jicofo
from sandbox.meter import LoadMeter
from sandbox.workload import Workload

RUNNING = "PowerState/running"
STARTING = "PowerState/starting"
STOPPING = "PowerState/stopping"
STOPPED = "PowerState/stopped"


class WorldError(Exception):
    """ARM says no: an HTTP status, ARM's code and its message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """`status`: 404, 409 or 412."""
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class BootModel:
    """How long a machine takes from the accepted write to the MUC, in seconds."""

    median_s: float = 120.0
    p95_s: float = 300.0
    listed_s: tuple[float, float] = (1.0, 5.0)
    """Until ARM lists it as Creating."""
    running_s: tuple[float, float] = (15.0, 40.0)
    """Until it runs."""
    never: float = 0.0
    """Probability that the machine runs and its JVB never starts."""

    def draw_s(self, rng: Random) -> float:
        """One lognormal draw: 95 of 100 are under `p95_s`."""
        sigma = log(self.p95_s / self.median_s) / 1.6449
        return exp(log(self.median_s) + sigma * rng.gauss(0, 1)) if sigma else self.median_s


@dataclass(frozen=True, slots=True)
class Prestarted:
    """A machine that stands at the beginning, with a bridge that accepts calls."""

    age: timedelta = timedelta(hours=2)
    image: str | None = None
    """None: the image of the scale set."""


def default_address(scale_set_number: int, vm_number: int) -> str:
    """A loopback address of its own for each machine: 127.(64 + set).x.y."""
    return f"127.{64 + scale_set_number}.{vm_number // 250 % 250}.{vm_number % 250 + 1}"


@dataclass(frozen=True, slots=True)
class ScaleSetSpec:
    """A scale set as it stands at the beginning."""

    scale_set_id: str
    """Full ARM id."""
    vm_size: str = "Standard_F8s_v2"
    vcpus: int = 8
    nic_mbps: int = 12500
    capacity: int = 1
    """Machines at the beginning; those beyond `prestarted` are like a default `Prestarted`."""
    prestarted: tuple[Prestarted, ...] = ()
    location: str = "westeurope"
    owner: str | None = None
    """Value of the tag `jvb-autoscaler-owner`."""
    image: str | None = None
    """Resource id of an image version; None: one of a gallery in the same resource group."""
    workload: Workload | None = None
    """None: the world's, with another stream of chance for each scale set; written ones repeat."""
    quota: int | None = None
    """Most machines that ARM grants; a write above it is a 409."""

    @property
    def default_image(self) -> str:
        """Version 1.0.0 of a gallery in the resource group of the scale set."""
        group = self.scale_set_id.split("/providers/")[0]
        return f"{group}/providers/Microsoft.Compute/galleries/bridges/images/jvb/versions/1.0.0"


@dataclass(slots=True)
class SimOperation:
    """A long-running ARM operation."""

    id: str
    scale_set_id: str
    kind: str
    """`capacity` or `delete`."""
    status: str = "InProgress"
    error_code: str | None = None
    error_message: str | None = None
    ends_at: datetime | None = None
    """None: it ends when the last of its machines is done."""
    waits_for: set[str] = field(default_factory=set)

    def fail(self, code: str, message: str, at: datetime) -> None:
        """End with an error."""
        self.status, self.error_code, self.error_message, self.ends_at = "Failed", code, message, at

    def done_with(self, name: str, at: datetime) -> None:
        """One of its machines is done; the last one ends it."""
        self.waits_for.discard(name)
        if not self.waits_for and self.status == "InProgress":
            self.status, self.ends_at = "Succeeded", at


@dataclass(slots=True)
class SimVm:
    """One machine: what ARM says of it, and the bridge on it."""

    vm_id: str
    name: str
    number: int
    resource_id: str
    nic_id: str
    address: str
    time_created: datetime
    image: str
    scale_set: SimScaleSet
    meter: LoadMeter
    life: VmLife
    provisioning: str = "Creating"
    power: str | None = STARTING
    bridge: SimBridge | None = None
    error: tuple[str, str] | None = None
    """ARM's code and message of a failed provisioning or delete."""
    unreachable: bool = False
    """The private network to it is cut: questions time out, its calls go on."""
    rest_elsewhere: bool = False
    """Its JVB serves, and has its REST API on localhost alone: the private port is refused."""
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """The machine is up, whatever its processes do."""
        return self.power == RUNNING

    @property
    def instance_id(self) -> str:
        """What a delete takes: in a flexible scale set the name."""
        return self.name


@dataclass(slots=True)
class SimScaleSet:
    """A flexible scale set and its machines by name."""

    id: str
    number: int
    spec: ScaleSetSpec
    capacity: int
    etag: str
    image: str
    tags: dict[str, str]
    jicofo: Jicofo
    vms: dict[str, SimVm] = field(default_factory=dict)
    sku_tier: str = "Standard"
    unlisted: int = 0
    """Machines whose creation was accepted and which ARM does not list yet."""
    allocation_error: tuple[str, str] | None = None
    """Fault: creations are accepted and fail later with this code and message."""
    delete_error: tuple[str, str] | None = None
    """Fault: deletes are accepted and fail later with this code and message."""
    creates_late_s: tuple[float, float] | None = None
    """Fault: creations fail, and the machines are made all the same, so much later."""
    bad_configs: set[str] = field(default_factory=set)
    """Fault: bridges of machines with one of these configuration tags never join their MUC."""
    boot: BootModel | None = None
    """Fault: machines created from now on boot like this."""
    image_fault: Callable[[SimBridge], None] | None = None
    """Fault: bridges of machines that are made from now on are spoilt by this, for good."""
    delete_seconds: tuple[float, float] | None = None
    """Fault: deletes from now on take so long, shortest and longest."""
    operation: SimOperation | None = None
    """The newest operation on it."""

    @property
    def provisioning(self) -> str:
        """ARM's provisioningState of the set itself."""
        if self.operation is not None and self.operation.status == "InProgress":
            return "Updating"
        return "Succeeded"

    @property
    def name(self) -> str:
        """Last part of the id."""
        return self.id.rsplit("/", 1)[1]

    @property
    def subscription(self) -> str:
        """Subscription of the id."""
        return self.id.split("/")[2]

    @property
    def resource_group(self) -> str:
        """Resource group of the id."""
        return self.id.split("/")[4]

    @property
    def location(self) -> str:
        """Azure region."""
        return self.spec.location

    @property
    def vm_size(self) -> str:
        """Name of the VM size."""
        return self.spec.vm_size

    def live_vms(self) -> list[SimVm]:
        """Machines that ARM is not removing."""
        return [vm for vm in self.vms.values() if vm.provisioning != "Deleting"]
