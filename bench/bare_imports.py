"""The packages that the app cannot do without, imported and nothing else: the floor of a cold start."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module

from bench.rss import peak_rss_mb

NEEDED = (
    "aiohttp",
    "azure.data.tables.aio",
    "azure.functions",
    "azure.identity.aio",
    "azure.mgmt.compute.aio",
    "azure.monitor.querymetrics.aio",
    "orjson",
)

if __name__ == "__main__":
    for name in NEEDED:
        import_module(name)
    sys.stdout.write(json.dumps({"cpu_s": time.process_time(), "peak_mb": peak_rss_mb()}))
