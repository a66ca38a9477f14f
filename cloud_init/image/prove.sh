#!/usr/bin/env bash
# Proves on a machine of the new image that it can become a bridge. The first broken promise ends it with 1.
set -euo pipefail
root="${JVB_IMAGE_ROOT:-}"

prove() {  # prove WHAT COMMAND...
    local what="$1"
    shift
    if "$@" > /dev/null 2>&1; then echo "ok      $what"; else echo "BROKEN  $what" >&2; exit 1; fi
}
not() { ! "$@"; }

prove "JVB has the version asked for" \
    test "$(dpkg-query -W -f '${Version}' jitsi-videobridge2)" = "$(jq -r .jitsi_videobridge2 "$root/etc/jvb-image.json")"
prove "JVB is held" grep -qx jitsi-videobridge2 <(apt-mark showhold)
prove "Java runs" java -version
prove "JVB does not start by itself" not systemctl is-enabled --quiet jitsi-videobridge2.service
prove "JVB does not run" not systemctl is-active --quiet jitsi-videobridge2.service
prove "no configuration was baked in" not test -e "$root/etc/jitsi/videobridge/jvb.conf"
prove "JVB stays down after exit 0" grep -qx Restart=on-failure "$root/etc/systemd/system/jitsi-videobridge2.service.d/fleet.conf"
prove "receive buffers are large" grep -q '^net.core.rmem_max = 10485760' "$root/etc/sysctl.d/60-jvb.conf"
prove "no password opens SSH" grep -qx 'PasswordAuthentication no' "$root/etc/ssh/sshd_config.d/10-jvb.conf"
prove "nothing updates or restarts by itself" grep -q 'Periodic::Enable "0"' "$root/etc/apt/apt.conf.d/99-jvb"
for tool in curl jq keytool python3 cloud-init; do prove "$tool is there" command -v "$tool"; done
