#!/bin/sh
# Sets itself up and serves Muster; Ctrl-C stops all that it started.
set -eu
cd "$(dirname "$0")"
setup() { . scripts/environment.sh; }
setup requirements.txt
exec gunicorn --config python:config.server app:app
