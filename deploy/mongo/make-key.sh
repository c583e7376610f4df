#!/bin/sh
# Makes the key of the replica set, once: as MongoDB's own user, 999 in its image.
set -eu
keys=${1:-/keys}
owner=${2:-999:999}
if [ ! -s "$keys/keyfile" ]; then
    umask 077
    head -c 756 /dev/urandom | base64 -w 0 >"$keys/keyfile.new"
    chown "$owner" "$keys/keyfile.new"
    chmod 400 "$keys/keyfile.new"
    mv "$keys/keyfile.new" "$keys/keyfile"
fi
