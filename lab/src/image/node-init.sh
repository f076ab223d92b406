#!/bin/sh
# Process 1 of a node: an SSH server and nothing else. The harness starts all the rest.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mkdir -p /run/sshd /run/lock
chmod 0755 /run/sshd
exec /usr/sbin/sshd -D -e -f /etc/ssh/harness_sshd_config
