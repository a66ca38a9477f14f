"""Errors, named by what the caller must do about them."""

from __future__ import annotations


class ScalerError(Exception):
    """Root of every error that this project raises on purpose."""


class ConfigurationInvalid(ScalerError):
    """The operator must correct the configuration. Carries every fault found, not the first."""

    def __init__(self, faults: list[str]) -> None:
        """`faults`: one sentence each, with the field, the value and what is allowed."""
        super().__init__("; ".join(faults))
        self.faults = faults


class TryNextTick(ScalerError):
    """The neighbour did not answer, or not completely: what it knows is unknown until asked again."""


class Throttled(TryNextTick):
    """The neighbour asked us to come back later."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        """`retry_after_seconds`: as the neighbour said, None where it did not."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StateChanged(ScalerError):
    """Somebody else wrote first (ETag mismatch): read again before deciding anything."""


class Refused(ScalerError):
    """The neighbour said no for good: repeating the same call cannot help, a person must look."""

    def __init__(self, code: str, message: str) -> None:
        """`code`: the neighbour's own error code, e.g. `AuthorizationFailed` or `404`."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class LeaseHeld(ScalerError):
    """Another run holds the shard's lease: leave at once, it is doing the work."""


class LeaseTooShort(ScalerError):
    """The lease would not outlive the call, so the call is not started."""


class NotTheSameBridge(ScalerError):
    """Another process answers where we expected one we know: nothing may be done to it."""
