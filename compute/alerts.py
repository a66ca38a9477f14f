"""Azure Monitor's common alert schema: which resources does an alert name? Sans-I/O."""

from __future__ import annotations

from typing import Any

import orjson

from scaler.errors import ScalerError

MAX_ALERT_BYTES = 256 * 1024
_SCHEMA = "azureMonitorCommonAlertSchema"


class AlertMalformed(ScalerError):
    """The body is not an alert that we understand; the text names the field."""


def targets(body: bytes) -> tuple[str, ...]:
    """
    Return the ARM ids that a common-schema alert is about, as they stand in it.

    Fields that we do not know, and alerts that are resolved, are fine. Raises `AlertMalformed`.
    """
    if len(body) > MAX_ALERT_BYTES:
        raise AlertMalformed(f"body: is {len(body)} bytes, allowed: at most {MAX_ALERT_BYTES}")
    try:
        alert: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise AlertMalformed(f"body: is not JSON ({error.msg})") from None
    if not isinstance(alert, dict) or alert.get("schemaId") != _SCHEMA:
        raise AlertMalformed(f"schemaId: is missing or another, allowed: {_SCHEMA}")
    data = alert.get("data")
    essentials = data.get("essentials") if isinstance(data, dict) else None
    ids = essentials.get("alertTargetIDs") if isinstance(essentials, dict) else None
    if not isinstance(ids, list) or not ids or not all(isinstance(each, str) for each in ids):
        raise AlertMalformed("data.essentials.alertTargetIDs: is missing or not a list of resource ids")
    return tuple(ids)
