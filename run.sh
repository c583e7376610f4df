#!/bin/sh
# Sets itself up and serves Muster, or, as `sh run.sh worker`, runs its tasks;
# Ctrl-C stops all that it started. `sh run.sh setup` does no more than that.
set -eu
cd "$(dirname "$0")"
setup() { . scripts/environment.sh; }
setup requirements.txt
case ${1:-} in
setup) ;;
worker) exec python -m scripts.worker ;;
*) exec gunicorn --config python:config.server app:app ;;
esac
