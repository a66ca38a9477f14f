"""
Galleries of image versions, and the templates that build them.

A version may be broken, in one of the ways in which real ones are: its machines run, and no bridge
comes of them, or one that looks well at first.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sandbox.agenda import Agenda

BUILD_SECONDS = 40 * 60.0
REPLICATION_SECONDS = 10 * 60.0


class Defect(StrEnum):
    """What is wrong with the machines that are made of a version."""

    NONE = ""
    NEVER_STARTS = "never_starts"
    """The JVB never listens."""
    NEVER_JOINS = "never_joins"
    """It listens and never enters the MUC."""
    UNHEALTHY = "unhealthy"
    """It joins, and ten minutes later its health check fails for good."""
    NO_MEDIA = "no_media"
    """It joins and says that it is healthy, and nobody's media reaches it."""


@dataclass(slots=True)
class SimVersion:
    """One image version."""

    id: str
    """Resource id, as it was written."""
    published_at: datetime
    replicated_at: datetime
    defect: Defect = Defect.NONE
    excluded: bool = False
    end_of_life: datetime | None = None
    provisioning: str = "Succeeded"

    @property
    def name(self) -> str:
        """The three numbers."""
        return self.id.rpartition("/")[2]


@dataclass(slots=True)
class SimTemplate:
    """An Image Builder template and its last run."""

    id: str
    definition_id: str
    defect: Defect = Defect.NONE
    """Of the versions that it builds."""
    error: str | None = None
    """Its runs end with this message."""
    state: str | None = None
    started_at: datetime | None = None
    message: str = ""
    runs: int = 0


@dataclass(slots=True)
class Galleries:
    """Every image version of the world, and every template."""

    agenda: Agenda
    versions: dict[str, SimVersion] = field(default_factory=dict)
    """By id in lower case."""
    templates: dict[str, SimTemplate] = field(default_factory=dict)
    """By id in lower case."""
    machines_with: Counter[Defect] = field(default_factory=Counter)
    """How many machines were made of versions with each defect."""

    def publish(
        self,
        definition_id: str,
        name: str,
        *,
        defect: Defect = Defect.NONE,
        replicated_after_s: float = 0.0,
        excluded: bool = False,
        end_of_life: datetime | None = None,
    ) -> SimVersion:
        """Put up a version now; it is usable in the region of the scale set once it is replicated."""
        version_id = f"{definition_id}/versions/{name}"
        replicated_at = self.agenda.now + timedelta(seconds=replicated_after_s)
        version = SimVersion(version_id, self.agenda.now, replicated_at, defect, excluded, end_of_life)
        self.versions[version_id.lower()] = version
        return version

    def of(self, definition_id: str) -> list[SimVersion]:
        """Versions of one image, in the order of publication."""
        prefix = f"{definition_id.lower()}/versions/"
        return [version for key, version in self.versions.items() if key.startswith(prefix)]

    def remove(self, version_id: str) -> None:
        """Delete a version. Raises `KeyError`."""
        del self.versions[version_id.lower()]

    def resolve(self, image: str) -> str:
        """Exact version that a new machine is made of: a definition's newest where none is named."""
        if "/versions/" in image.lower():
            return image
        usable = [v for v in self.of(image) if not v.excluded and v.replicated_at <= self.agenda.now]
        newest = max(usable, key=lambda v: [int(part) for part in v.name.split(".")], default=None)
        return newest.id if newest else image

    def defect_of(self, image: str) -> Defect:
        """What is wrong with a machine of this image."""
        version = self.versions.get(image.lower())
        return version.defect if version else Defect.NONE

    def add_template(self, template_id: str, definition_id: str) -> SimTemplate:
        """Put up a template that never ran."""
        template = self.templates[template_id.lower()] = SimTemplate(template_id, definition_id)
        return template

    def run(self, template_id: str) -> SimTemplate:
        """Start a run; it publishes the next version when it ends. Raises `KeyError`."""
        template = self.templates[template_id.lower()]
        template.state, template.started_at, template.message = "Running", self.agenda.now, ""
        template.runs += 1
        self.agenda.after(BUILD_SECONDS, self._built, template, template.runs)
        return template

    def _built(self, template: SimTemplate, run: int) -> None:
        if run != template.runs:
            return
        if template.error is not None:
            template.state, template.message = "Failed", template.error
            return
        template.state = "Succeeded"
        self.publish(
            template.definition_id,
            self.next_name(template.definition_id),
            defect=template.defect,
            replicated_after_s=REPLICATION_SECONDS,
        )

    def next_name(self, definition_id: str) -> str:
        """Version that a build would publish."""
        numbers = [[int(part) for part in version.name.split(".")] for version in self.of(definition_id)]
        newest = max(numbers, default=[1, 0, -1])
        return ".".join(str(part) for part in (*newest[:-1], newest[-1] + 1))
