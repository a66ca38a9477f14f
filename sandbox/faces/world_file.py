"""A world from a file of JSON, for a sandbox that runs as a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.world import BootModel, BridgeConfig, Prestarted, ScaleSetSpec, Workload, World, WorldConfig


def world_of(config: Mapping[str, Any]) -> World:
    """
    Build a world.

    `config` has the fields of `WorldConfig` that are plain values, `start` in ISO, `boot` and
    `bridge` as objects, `workload` as `{"name", "scale"}`, and `scale_sets` as objects of
    `ScaleSetSpec`, where `prestarted` is a list of ages in minutes; `templates` maps the id of each
    image template to its definition's. Raises `TypeError` or `LookupError` for a name that does not exist.
    """
    given = dict(config)
    start = datetime.fromisoformat(given.pop("start"))
    seed = int(given.pop("seed"))
    templates = given.pop("templates", {})
    world = World(
        WorldConfig(
            seed=seed,
            start=start if start.tzinfo else start.replace(tzinfo=UTC),
            scale_sets=tuple(_scale_set(spec) for spec in given.pop("scale_sets")),
            workload=_workload(given.pop("workload", None), seed),
            boot=BootModel(**given.pop("boot", {})),
            bridge=BridgeConfig(**given.pop("bridge", {})),
            **given,
        )
    )
    for template_id, definition_id in templates.items():
        world.galleries.add_template(template_id, definition_id)
    return world


def _scale_set(spec: Mapping[str, Any]) -> ScaleSetSpec:
    ages = spec.get("prestarted", ())
    machines = tuple(Prestarted(timedelta(minutes=minutes)) for minutes in ages)
    return ScaleSetSpec(**{**spec, "prestarted": machines})


def _workload(workload: Mapping[str, Any] | None, seed: int) -> Workload | None:
    if workload is None:
        return None
    return Workload.named(workload["name"], int(workload.get("seed", seed)), float(workload.get("scale", 1)))
