# Sourced by run.sh, test.sh and lint.sh: puts the packages of the requirements
# files named in "$@" on PATH. On a Heroku dyno the build has done that.

if [ -z "${DYNO:-}" ]; then
    python=python3
    if ! command -v "$python" >/dev/null 2>&1 ||
        ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "muster: python3 must be Python 3.11 or newer" >&2
        exit 1
    fi
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        if [ ! -x .venv/bin/pip ] && ! "$python" -m venv .venv; then
            echo "muster: 'python3 -m venv' does not work here: install it" \
                "(Debian: apt-get install python3-venv)" >&2
            exit 1
        fi
        VIRTUAL_ENV=$PWD/.venv
        export VIRTUAL_ENV
        PATH=$VIRTUAL_ENV/bin:$PATH
        export PATH
    fi
    for requirements in "$@"; do
        stamp=$VIRTUAL_ENV/.muster-$requirements
        if ! cmp -s "$requirements" "$stamp"; then
            echo "muster: installing $requirements"
            pip install --quiet --disable-pip-version-check -r "$requirements"
            cp "$requirements" "$stamp"
        fi
    done
fi
