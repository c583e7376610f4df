#!/bin/sh
# Has a real Jupyter server ready for the tests of the sessions' door, beside the
# packages of this environment, once: where tests run, there is no network.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$1
if cmp -s "$here/jupyter.txt" "$folder/jupyter.txt"; then exit 0; fi
rm -rf "$folder"
python -m pip install --quiet --no-deps --only-binary :all: \
    --disable-pip-version-check --root-user-action ignore \
    --target "$folder" --requirement "$here/jupyter.txt"
cp "$here/jupyter.txt" "$folder/jupyter.txt"
