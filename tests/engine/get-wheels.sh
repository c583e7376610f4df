#!/bin/sh
# Has the packages of the image ready for the test that builds it, once: where
# tests run, there is no network. They are those of the image's Python.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$1
lock=$here/../../deploy/requirements.lock
if cmp -s "$lock" "$folder/requirements.lock"; then exit 0; fi
rm -rf "$folder"
python -m pip download --quiet --no-deps --only-binary :all: \
    --python-version 3.11 --implementation cp \
    --disable-pip-version-check --require-hashes --dest "$folder" \
    --requirement "$lock"
cp "$lock" "$folder/requirements.lock"
