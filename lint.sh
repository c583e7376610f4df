#!/bin/sh
# Sets itself up and lints every project file: style, types, import contracts.
set -eu
cd "$(dirname "$0")"
setup() { . scripts/environment.sh; }
setup requirements.txt requirements-dev.txt
files=$(git ls-files --cached --others --exclude-standard '*.py')
# shellcheck disable=SC2086
pylint --fail-under=10 $files
# shellcheck disable=SC2086
mypy $files
lint-imports --no-logo
