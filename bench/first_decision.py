"""A process of the function app up to its first decision: what a cold start costs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import datetime

from bench.rss import peak_rss_mb


class Then:
    """The moment at which the world stands."""

    def now(self) -> datetime:
        """Return it."""
        return datetime.fromisoformat(sys.argv[1])


async def decide() -> None:
    """As the timer's trigger does it; a tick that was not done is an error."""
    import wiring

    app = await wiring.engine(os.environ, Then())
    await app.tick()
    if not isinstance(app, wiring.Running):
        raise SystemExit("the configuration is invalid")
    await app.close()


if __name__ == "__main__":
    import function_app  # noqa: F401  # what the host imports first

    asyncio.run(decide())
    sys.stdout.write(json.dumps({"cpu_s": time.process_time(), "peak_mb": peak_rss_mb()}))
