"""The image's bake and proof in a root of their own, where what changes a system is only written down."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from cloud_init.render import HERE
from tests.cloud_init.tools import needs

pytestmark = needs("bash", "jq")

INPUTS = json.loads((HERE / "image/inputs.json").read_text())
FAKES = {
    "apt-get": "",
    "debconf-set-selections": "cat > /dev/null",
    "curl": "echo a key",
    "gpg": "cat",
    "java": "",
    "keytool": "",
    "cloud-init": "",
    "apt-mark": '[ "$1" = showhold ] && exec cat "$root/held"; shift; printf "%s\\n" "$@" > "$root/held"',
    "dpkg-query": f'case "$*" in *videobridge*) echo {INPUTS["jitsi_videobridge2"]} ;; *) echo 17 ;; esac',
    "systemctl": 'case "$1" in is-enabled | is-active) exit 1 ;; esac',
}


def run(script: str, root: Path) -> subprocess.CompletedProcess[str]:
    tools = root / "tools"
    tools.mkdir(exist_ok=True)
    for name, does in FAKES.items():
        (tools / name).write_text(f'#!/bin/bash\nroot={root}\necho "{name} $*" >> "$root/calls"\n{does}\n')
        (tools / name).chmod(0o755)
    env = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "JVB_IMAGE_ROOT": str(root),
        **{name.upper(): value for name, value in INPUTS.items()},
    }
    command = ["bash", str(HERE / "image" / script)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def baked(tmp_path: Path) -> Path:
    """A root after the bake, with what the package would have left in it."""
    folder = tmp_path / "etc/jitsi/videobridge"
    folder.mkdir(parents=True)
    (folder / "jvb.conf").write_text("a password that every machine would share")
    done = run("bake.sh", tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_the_bake_pins_holds_and_starts_nothing(baked: Path):
    """The exact version is installed and held, JVB is disabled, and its own configuration is gone."""
    calls = (baked / "calls").read_text()
    assert f"install jitsi-videobridge2={INPUTS['jitsi_videobridge2']}\n" in calls
    assert f"apt-mark hold jitsi-videobridge2 {INPUTS['java']}\n" in calls
    assert "systemctl disable jitsi-videobridge2.service\n" in calls
    assert not (baked / "etc/jitsi/videobridge/jvb.conf").exists()
    assert not (baked / "usr/sbin/policy-rc.d").exists()
    version = json.loads((baked / "etc/jvb-image.json").read_text())
    assert version["jitsi_videobridge2"] == INPUTS["jitsi_videobridge2"]


def test_a_baked_image_passes_its_proof(baked: Path):
    """Every promise is checked and said."""
    done = run("prove.sh", baked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok ") == 15


@pytest.mark.parametrize(
    ("path", "content", "promise"),
    [
        ("etc/jitsi/videobridge/jvb.conf", "x", "no configuration was baked in"),
        ("etc/jvb-image.json", '{"jitsi_videobridge2": "1"}', "JVB has the version asked for"),
        ("held", "", "JVB is held"),
        ("etc/ssh/sshd_config.d/10-jvb.conf", "PasswordAuthentication yes", "no password opens SSH"),
        (
            "etc/systemd/system/jitsi-videobridge2.service.d/fleet.conf",
            "[Service]\nRestart=always",
            "JVB stays down after exit 0",
        ),
    ],
)
def test_a_broken_image_fails_its_proof(path: str, content: str, promise: str, baked: Path):
    """What does not hold is named, and the image is not published."""
    (baked / path).write_text(content)
    done = run("prove.sh", baked)
    assert (done.returncode, done.stderr.strip()) == (1, f"BROKEN  {promise}")


def test_an_input_that_is_missing_ends_the_bake():
    """No version is guessed."""
    command = ["bash", str(HERE / "image/bake.sh")]
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "JITSI_VIDEOBRIDGE2" in done.stderr
