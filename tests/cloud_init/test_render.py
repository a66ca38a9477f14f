from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud_init.render import CUSTOM_DATA_LIMIT_BYTES, HERE, render
from cloud_init.settings import FIELDS, SettingsInvalid, read_settings
from tests.cloud_init.shards import EVERYTHING, PLAIN, PRIVATE_CA, SHARDS, files_of
from tests.cloud_init.tools import needs

ROOT = HERE.parent


def schema_verdict(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "user-data.yaml"
    file.write_text(text)
    command = ["cloud-init", "schema", "--config-file", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs("cloud-init")
@pytest.mark.parametrize("shard", SHARDS, ids=lambda each: str(each["shard"]))
def test_cloud_init_accepts_what_is_rendered(shard: dict[str, Any], tmp_path: Path):
    """The system's own cloud-init finds the custom data of three different shards valid."""
    verdict = schema_verdict(render(shard), tmp_path)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@needs("cloud-init")
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("write_files:\n  - path: ", "write_files:\n  - pfad: "),
        ("#cloud-config\n", "\n"),
        ("encoding: b64", "encoding: b65"),
        ("[systemctl, daemon-reload]", "{systemctl: daemon-reload}"),
    ],
)
def test_cloud_init_refuses_what_is_broken(right: str, wrong: str, tmp_path: Path):
    """The same check fails for a template with one slip, so that it does check."""
    text = render(PLAIN)
    assert right in text
    assert schema_verdict(text.replace(right, wrong, 1), tmp_path).returncode != 0


def test_only_known_keys_of_cloud_config():
    """No key at the top is misspelt: Debian's schema lets unknown ones pass, and then nothing happens."""
    known = {"write_files", "ssh_pwauth", "package_update", "package_upgrade", "package_reboot_if_required"}
    assert set(yaml.safe_load(render(EVERYTHING))) == known | {"runcmd"}


def test_custom_data_is_small():
    """Azure refuses custom data of 64 KiB, and takes ours with much room left."""
    sizes = [len(render(shard).encode()) for shard in SHARDS]
    assert max(sizes) < CUSTOM_DATA_LIMIT_BYTES / 3


def test_every_script_arrives_as_it_stands_here():
    """What the VM unpacks is byte for byte what the tests of the scripts ran."""
    files = files_of(render(PLAIN))
    carried = {Path(path).name: content for path, content in files.items()}
    assert carried.pop("settings.json")
    assert carried == {path.name: path.read_bytes() for path in (HERE / "vm").iterdir()}


def test_the_same_settings_give_the_same_text():
    """A tag hashes the custom data: two renderings must not look like two configurations."""
    assert render(EVERYTHING) == render(json.loads(json.dumps(EVERYTHING)))


@pytest.mark.parametrize("shard", SHARDS, ids=lambda each: str(each["shard"]))
def test_settings_arrive_whole_and_name_secrets_only(shard: dict[str, Any]):
    """The VM gets every setting with its default; of secrets there are names, and no field for a value."""
    settings = json.loads(files_of(render(shard))["/etc/jvb-boot/settings.json"])
    assert settings == read_settings(shard)
    assert not [path for path in FIELDS if re.search("password$|key$|token", path)]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"shard": "Alpha"}, "shard"),
        ({"stun": "turn.example.com:3478"}, "stun"),
        ({"stun": ["turn.example.com"]}, "stun"),
        ({"bridge_port": True}, "bridge_port"),
        ({"boot_timeout_minutes": 2}, "boot_timeout_minutes"),
        ({"boot_timeout_minutes": 10.5}, "boot_timeout_minutes"),
        ({"callback_url": "https://app.example.com/api/bridges/boot?code=abc"}, "callback_url"),
        ({"callback_url": "http://app.example.com/api/bridges/boot"}, "callback_url"),
        ({"key_vault": {**PLAIN["key_vault"], "password": "hunter2"}}, "key_vault.password"),
        ({"key_vault": "kv"}, "key_vault"),
        ({"xmpp": {**PLAIN["xmpp"], "muc": "jvbbrewery"}}, "xmpp.muc"),
        ({"xmpp": {**PLAIN["xmpp"], "host": "$(reboot)"}}, "xmpp.host"),
        ({"xmpp": {"host": "10.20.1.4"}}, "xmpp.domain"),
        ({"identity_client_id": "bridges"}, "identity_client_id"),
        ({"relay_regoin": "westeurope"}, "relay_regoin"),
    ],
)
def test_a_faulty_setting_is_named(change: dict[str, Any], named: str):
    """A fault names the field and what is allowed; a key in the address counts as one."""
    with pytest.raises(SettingsInvalid) as raised:
        render({**PLAIN, **change})
    assert any(fault.startswith(f"{named}: ") and "allowed: " in fault for fault in raised.value.faults)


def test_every_fault_is_told_at_once():
    """One round of corrections is enough."""
    with pytest.raises(SettingsInvalid) as raised:
        render({"shard": "A", "bridge_port": 0})
    missing = {path for path, field in FIELDS.items() if field.default is ...} - {"shard"}
    assert {fault.partition(":")[0] for fault in raised.value.faults} == missing | {"shard", "bridge_port"}


def test_the_command_renders_a_file_and_names_faults(tmp_path: Path):
    """`python -m cloud_init FILE` prints the cloud-config, or the faults and 2."""
    file = tmp_path / "shard.json"

    def command() -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "cloud_init", str(file)]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)

    assert command().returncode == 2
    file.write_text(json.dumps(PRIVATE_CA))
    assert command().stdout == render(PRIVATE_CA)
    file.write_text("[]")
    assert (command().returncode, command().stdout) == (2, "")
    file.write_text(json.dumps({**PLAIN, "shard": "?"}))
    assert command().stderr.startswith("shard: is '?'")


@needs("terraform")
def test_terraform_fills_the_same_template(tmp_path: Path):
    """Terraform's templatefile writes the same files to the VM as the renderer here."""
    settings = json.dumps(read_settings(EVERYTHING))
    (tmp_path / "settings.json").write_text(settings)
    (tmp_path / "main.tf").write_text(f"""
      locals {{
        vm_files = {{ for f in fileset("{HERE}/vm", "*") :
          replace(replace(f, "-", "_"), ".", "_") => base64gzip(file("{HERE}/vm/${{f}}")) }}
        settings = jsondecode(file("{tmp_path}/settings.json"))
        text = templatefile("{HERE}/cloud-config.yaml",
          merge(local.vm_files, {{ settings = base64encode(jsonencode(local.settings)) }}))
      }}
    """)
    said = subprocess.run(
        ["terraform", "console"],
        cwd=tmp_path,
        input="base64encode(local.text)\n",
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    theirs = files_of(base64.b64decode(said.stdout.strip().strip('"')).decode())
    ours = files_of(render(EVERYTHING))
    assert json.loads(theirs.pop("/etc/jvb-boot/settings.json")) == json.loads(
        ours.pop("/etc/jvb-boot/settings.json")
    )
    assert theirs == ours


@needs("shellcheck")
def test_the_scripts_are_clean():
    """Shellcheck finds nothing in any script that a machine runs."""
    scripts = [
        str(path)
        for folder in ("vm", "image")
        for path in sorted((HERE / folder).iterdir())
        if path.read_text().startswith("#!/usr/bin/env bash")
    ]
    assert len(scripts) == 4
    said = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout


def test_image_inputs_are_those_of_the_bake_script():
    """Every input that the bake asks for stands in inputs.json, which the image's tags record."""
    asked = set(re.findall(r"\$\{(\w+):\?\}", (HERE / "image" / "bake.sh").read_text()))
    assert {name.upper() for name in json.loads((HERE / "image" / "inputs.json").read_text())} == asked
