"""A real Prosody with a private CA, and a client that knows nothing but what the boot wrote."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pyhocon
import pytest
import slixmpp
from slixmpp.exceptions import XMPPError

from tests.cloud_init.authority import Authority
from tests.cloud_init.machine import NAME, PASSWORD, World, free_port, machine
from tests.cloud_init.tools import needs

pytestmark = needs("prosody", "prosodyctl", "openssl", "keytool", "curl", "jq")

DOMAIN = "auth.meet.example.com"
CONFIGURATION = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{}}
modules_disabled = {{ "s2s", "posix" }}
modules_enabled = {{ "saslauth", "tls", "disco", "roster", "ping" }}
c2s_require_encryption = true
log = {{ info = "{folder}/prosody.log" }}
VirtualHost "{domain}"
    authentication = "internal_hashed"
    ssl = {{ key = "{folder}/ca/server.key", certificate = "{folder}/ca/server.pem" }}
Component "internal.{domain}" "muc"
    modules_enabled = {{ "muc_hide_all" }}
    storage = "memory"
    muc_room_locking = false
    muc_room_default_public_jids = true
"""


@dataclass(frozen=True)
class Rendered:
    """What a bridge knows after its boot."""

    account: Any
    authorities: Path


@pytest.fixture(scope="module")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Authority]]:
    """A Prosody with the bridges' account and their room; its port and its authority."""
    folder = tmp_path_factory.mktemp("prosody")
    authority, port = Authority(folder / "ca"), free_port()
    authority.issue(DOMAIN, f"internal.{DOMAIN}")
    config = folder / "prosody.cfg.lua"
    config.write_text(CONFIGURATION.format(folder=folder, port=port, domain=DOMAIN))
    for user in ("jvb", "other"):
        register = ["prosodyctl", "--config", str(config), "register", user, DOMAIN, PASSWORD]
        subprocess.run(register, check=True, capture_output=True)
    with (folder / "output").open("w") as output:
        server = subprocess.Popen(["prosody", "--config", str(config), "-F"], stdout=output, stderr=output)
        try:
            wait_for(port, folder)
            yield port, authority
        finally:
            server.terminate()
            server.wait(10)


def wait_for(port: int, folder: Path) -> None:
    end = monotonic() + 20
    while monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        sleep(0.05)
    raise AssertionError((folder / "output").read_text())


@pytest.fixture(scope="module")
def rendered(prosody: tuple[int, Authority], tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The values that the real boot script wrote, for a shard that points at this Prosody."""
    port, authority = prosody
    root = tmp_path_factory.mktemp("vm")
    xmpp = {"host": "127.0.0.1", "port": port, "domain": DOMAIN, "muc": f"jvbbrewery@internal.{DOMAIN}"}
    vault = {"uri": "https://kv.example.com", "password_secret": "xmpp-alpha", "ca_secret": "xmpp-ca"}
    world = World(secrets={"xmpp-alpha": PASSWORD, "xmpp-ca": authority.pem()})
    with machine(root, world, xmpp=xmpp, key_vault=vault) as vm:
        done = vm.boot()
        assert done.returncode == 0, done.stderr
        conf = pyhocon.ConfigFactory.parse_file(str(vm.conf / "jvb.conf"))
        store = str(vm.conf / "truststore.p12")
        listing = ["keytool", "-list", "-rfc", "-keystore", store, "-storepass", "changeit"]
        pem = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    authorities = root / "trusted.pem"
    authorities.write_text(pem[pem.index("-----BEGIN") : pem.rindex("-----END CERTIFICATE-----") + 25] + "\n")
    account = conf["videobridge.apis.xmpp-client.configs.shard"]
    assert account["disable_certificate_verification"] is False
    return Rendered(account, authorities)


class Client(slixmpp.ClientXMPP):
    """Signs in and joins as a JVB does; `outcome` is the room's roster, or what went wrong."""

    def __init__(self, known: Rendered) -> None:
        """Take everything from what was rendered."""
        self.account = known.account
        super().__init__(f"{self.account['username']}@{self.account['domain']}", self.account["password"])
        self.ca_certs = known.authorities
        self.enable_direct_tls = False
        self.register_plugin("xep_0045")
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.add_event_handler("session_start", self._joins)
        self.add_event_handler("failed_auth", lambda stanza: self._ends(f"auth: {stanza['condition']}"))
        self.add_event_handler(
            "presence_error", lambda stanza: self._ends(f"room: {stanza['error']['condition']}")
        )
        self.add_event_handler("ssl_invalid_chain", lambda error: self._ends(f"certificate: {error}"))

    async def _joins(self, _: Any) -> None:
        self.send_presence()
        room, nick = self.account["muc_jids"], self.account["muc_nickname"]
        with suppress(TimeoutError, XMPPError):
            await self.plugin["xep_0045"].join_muc_wait(room, nick, timeout=5)
            self._ends("joined")

    def _ends(self, outcome: str) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    async def try_it(self) -> str:
        """Connect to the rendered host; tell what came of it."""
        self.connect(self.account["hostname"], self.account["port"])
        return await asyncio.wait_for(asyncio.shield(self.outcome), 20)


async def attempt(known: Rendered) -> str:
    client = Client(known)
    try:
        return await client.try_it()
    finally:
        await client.disconnect(wait=1)


def changed(known: Rendered, **values: Any) -> Rendered:
    return replace(known, account={**known.account, **values})


async def test_what_the_boot_wrote_signs_in_and_joins_the_room(rendered: Rendered):
    """Account, certificate and room are right: the bridge stands in the brewery under the name of its VM."""
    assert await attempt(rendered) == "joined"
    assert rendered.account["muc_nickname"] == NAME


async def test_a_wrong_password_is_refused(rendered: Rendered):
    """The server says not-authorized, which is what the boot's reason quotes."""
    assert await attempt(changed(rendered, password="another")) == "auth: not-authorized"


async def test_another_authority_is_not_trusted(rendered: Rendered, tmp_path: Path):
    """A certificate that the shard's own CA did not sign ends the connection before the password is sent."""
    other = Authority(tmp_path / "other")
    outcome = await attempt(replace(rendered, authorities=other.folder / "ca.pem"))
    assert outcome.startswith("certificate: ")


async def test_a_nickname_that_another_has_is_refused(rendered: Rendered):
    """The room refuses a name that another account holds, in words that the boot's reason quotes."""
    first = Client(rendered)
    assert await first.try_it() == "joined"
    try:
        assert await attempt(changed(rendered, username="other")) == "room: conflict"
    finally:
        await first.disconnect(wait=1)


async def test_one_account_may_take_a_name_twice(rendered: Rendered):
    """All bridges share an account: Prosody would hide a copied name. Hence the VM's, which is unique."""
    first = Client(rendered)
    assert await first.try_it() == "joined"
    try:
        assert await attempt(rendered) == "joined"
    finally:
        await first.disconnect(wait=1)
