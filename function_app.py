"""The triggers. Each ends in the engine; nothing is built when this module is imported."""

from __future__ import annotations

import azure.functions as func

import page
import wiring

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *", run_on_startup=False, use_monitor=False)
async def tick(timer: func.TimerRequest) -> None:
    """Every minute: one tick of every shard."""
    await (await wiring.application()).tick()


@app.timer_trigger(arg_name="timer", schedule="30 */15 * * * *", run_on_startup=False, use_monitor=False)
async def nightly_recycle(timer: func.TimerRequest) -> None:
    """Every quarter of an hour, half a minute beside the tick: open a shard's night where it is time."""
    await (await wiring.application()).nightly()


@app.route(route="alerts/monitor", methods=["POST"])
async def alert(req: func.HttpRequest) -> func.HttpResponse:
    """Azure Monitor raised or closed an alert: one tick of the shard that it names, now."""
    return _response(await (await wiring.application()).alert(req.get_body()))


@app.route(route="status", methods=["GET"])
async def status(req: func.HttpRequest) -> func.HttpResponse:
    """Every shard as its last tick left it; `?format=csv`: its bridges."""
    return _response(await (await wiring.application()).status(req.params.get("format")))


@app.route(route="explain", methods=["GET"])
async def explain(req: func.HttpRequest) -> func.HttpResponse:
    """Why it is as it is: `?shard=` and `?bridge=` narrow it down."""
    return _response(
        await (await wiring.application()).explain(req.params.get("shard"), req.params.get("bridge"))
    )


@app.route(route="plan", methods=["GET"])
async def plan(req: func.HttpRequest) -> func.HttpResponse:
    """One dry tick: what would be done now."""
    return _response(await (await wiring.application()).plan(req.params.get("shard")))


@app.route(route="doctor", methods=["GET"])
async def doctor(req: func.HttpRequest) -> func.HttpResponse:
    """The first broken link of each bridge, looked at now."""
    return _response(await (await wiring.application()).doctor(req.params.get("shard")))


@app.route(route="preflight", methods=["GET"])
async def preflight(req: func.HttpRequest) -> func.HttpResponse:
    """What is missing before the app can do its work: rights, quota, addresses, settings, endpoints."""
    return _response(await (await wiring.application()).preflight(req.params.get("shard")))


@app.route(route="events", methods=["GET"])
async def events(req: func.HttpRequest) -> func.HttpResponse:
    """What happened: `?since=` (ISO time), `?shard=` and `?limit=` narrow it down."""
    return _response(await (await wiring.application()).events(req.params))


@app.route(route="usage", methods=["GET"])
async def usage(req: func.HttpRequest) -> func.HttpResponse:
    """Figures of each minute: `?from=`, `?to=`, `?shard=`, `?step=` and `?format=csv`."""
    return _response(await (await wiring.application()).usage(req.params))


@app.route(route="metrics", methods=["GET"])
async def metrics(req: func.HttpRequest) -> func.HttpResponse:
    """Every shard as its last tick left it, in the Prometheus text format."""
    return _response(await (await wiring.application()).metrics())


@app.route(route="commands", methods=["POST"])
async def commands(req: func.HttpRequest) -> func.HttpResponse:
    """An operator's command: written down with who and why, and taken up by a tick at once."""
    who = req.headers.get("x-ms-client-principal-name")
    return _response(await (await wiring.application()).command(req.get_body(), who))


# A key would be a secret on every machine. What is taken is bound to the address that ARM knows instead.
@app.route(route="bridges/boot", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def boot(req: func.HttpRequest) -> func.HttpResponse:
    """A machine tells how its boot went: a remark, on which no decision depends."""
    forwarded_for = req.headers.get("x-forwarded-for")
    return _response(await (await wiring.application()).boot(req.get_body(), forwarded_for))


@app.route(route="dashboard", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def dashboard(req: func.HttpRequest) -> func.HttpResponse:
    """The status page. It holds no data: its script asks for them, with the reader's key."""
    shown = page.dashboard()
    return func.HttpResponse(shown.html, mimetype="text/html", headers=dict(shown.headers))


def _response(answer: wiring.Answer) -> func.HttpResponse:
    return func.HttpResponse(answer.body, status_code=answer.status, mimetype=answer.mimetype)
