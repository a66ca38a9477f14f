#!/usr/bin/env bash
# Bakes the bridges' image: run once as root on a build machine (Ubuntu 22.04 and newer, Debian 12).
# Installs and tunes; configures no bridge: that is done at first boot. Inputs come as environment, from inputs.json:
#   JITSI_VIDEOBRIDGE2  exact version of the package      JAVA             its Java, without a screen
#   JITSI_REPOSITORY    where it comes from               JITSI_KEY        the key that signs it
set -euo pipefail
: "${JITSI_VIDEOBRIDGE2:?}" "${JAVA:?}" "${JITSI_REPOSITORY:?}" "${JITSI_KEY:?}"
root="${JVB_IMAGE_ROOT:-}"
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l

put() { mkdir -p "$(dirname "$root$1")" && cat > "$root$1"; }  # put PATH: from standard input

# Nothing may start while it is installed: a bridge without its configuration has no place in a fleet.
put /usr/sbin/policy-rc.d <<< $'#!/bin/sh\nexit 101'
chmod 755 "$root/usr/sbin/policy-rc.d"

apt-get update -qq
apt-get -qq -y -o Dpkg::Options::=--force-confold dist-upgrade
apt-get -qq -y install ca-certificates curl gnupg jq python3 debconf-utils "$JAVA"

curl -fsS --proto '=https' "$JITSI_KEY" | gpg --dearmor | put /usr/share/keyrings/jitsi-keyring.gpg
put /etc/apt/sources.list.d/jitsi.list <<< "deb [signed-by=/usr/share/keyrings/jitsi-keyring.gpg] $JITSI_REPOSITORY"
apt-get update -qq
debconf-set-selections <<< 'jitsi-videobridge2 jitsi-videobridge/jvb-hostname string bridge.invalid'
apt-get -qq -y install "jitsi-videobridge2=$JITSI_VIDEOBRIDGE2"
apt-mark hold jitsi-videobridge2 "$JAVA"

# The package writes a configuration with a password of its own: every machine would share it.
rm -f "$root/etc/jitsi/videobridge/jvb.conf" "$root/etc/jitsi/videobridge/sip-communicator.properties"

# Exit 0 is the end of a graceful shutdown: it stays down. Only a crash is started again.
put /etc/systemd/system/jitsi-videobridge2.service.d/fleet.conf << 'UNIT'
[Service]
Restart=on-failure
RestartSec=2
RestartPreventExitStatus=78
LimitNOFILE=65000
UNIT
systemctl disable jitsi-videobridge2.service

put /etc/sysctl.d/60-jvb.conf << 'SYSCTL'
# JVB asks for a receive buffer of 10 MiB on its one UDP port.
net.core.rmem_max = 10485760
net.core.wmem_max = 10485760
net.core.netdev_max_backlog = 100000
SYSCTL

put /etc/ssh/sshd_config.d/10-jvb.conf << 'SSH'
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
SSH

# Machines are replaced, not patched: an update or a restart by itself would cut calls.
put /etc/apt/apt.conf.d/99-jvb << 'APT'
APT::Periodic::Enable "0";
Unattended-Upgrade::Automatic-Reboot "false";
APT
mkdir -p "$root/etc/needrestart/conf.d"
put /etc/needrestart/conf.d/jvb.conf <<< "\$nrconf{restart} = 'l';"
systemctl mask apt-daily.timer apt-daily-upgrade.timer

jq -n --arg jvb "$JITSI_VIDEOBRIDGE2" --arg java "$(dpkg-query -W -f '${Version}' "$JAVA")" \
    '{jitsi_videobridge2: $jvb, java: $java}' | put /etc/jvb-image.json

rm -f "$root/usr/sbin/policy-rc.d"
apt-get clean
