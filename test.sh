#!/bin/sh
# Sets itself up and runs all tests; arguments go to pytest, e.g.
# `sh test.sh -k cancel`. With MONGO_DB_URI set, they run on that server.
set -eu
cd "$(dirname "$0")"
setup() { . scripts/environment.sh; }
setup requirements.txt requirements-dev.txt
exec python -m pytest -n "${TEST_PROCESSES:-auto}" --dist worksteal "$@"
