#!/bin/sh
# Sets itself up and runs all tests; arguments go to pytest, e.g.
# `sh test.sh -k cancel`. With MONGO_DB_URI set, they run on that server.
# Those marked `engine` run beside a Docker Engine that is started for them, in
# a network of their own: on the embedded database always. They are left out
# where no engine can be, unless MUSTER_ENGINE=required. `sh test.sh --short`
# leaves those out that are marked `long`.
set -eu
cd "$(dirname "$0")"
setup() { . scripts/environment.sh; }
setup requirements.txt requirements-dev.txt
suite() {
    python -m pytest -n "${TEST_PROCESSES:-auto}" --dist worksteal "$@"
}
with_engine() {
    packages=$(python -c 'import sys; print(sys.prefix)')/share/muster-jupyter
    sh tests/engine/get-jupyter.sh "$packages" ||
        echo "test.sh: no Jupyter server could be fetched" >&2
    case $* in
    *"not long"*) ;;
    *)
        wheels=$(python -c 'import sys; print(sys.prefix)')/share/muster-wheels
        sh tests/engine/get-wheels.sh "$wheels" ||
            echo "test.sh: no packages of the image could be fetched" >&2
        ;;
    esac
    env -u MONGO_DB_URI tests/engine/with-docker.sh \
        python -m pytest -n "${TEST_PROCESSES:-auto}" --dist worksteal "$@"
}
case " $* " in
"  " | " --short ")
    but=${1:+ and not long}
    status=0
    suite -m "not engine$but" || status=$?
    with_engine -m "engine$but" tests/engine || engine=$?
    if [ "${engine:-0}" = 69 ] && [ "${MUSTER_ENGINE:-}" != required ]; then
        echo "test.sh: the tests of sessions' engine are left out" >&2
    elif [ "${engine:-0}" -gt $status ]; then
        status=$engine
    fi
    exit $status
    ;;
*" not engine "*) suite "$@" ;;
*" engine "* | *tests/engine*) with_engine "$@" ;;
*) suite "$@" ;;
esac
