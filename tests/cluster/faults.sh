#!/usr/bin/env bash
# The longer runs of the fault tests, with a release build: the power of three nodes cut at once (20
# rounds), a leader that is stopped for 10 s (20 rounds), and networks that fall apart (each way 3
# times). Needs root. Takes about 20 minutes.
#
#   tests/cluster/faults.sh [power_loss|pause|namespaces]...
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release
export PURLIN_TEST_BINARY="${CARGO_TARGET_DIR:-$PWD/target}/release/purlin"
export PURLIN_POWER_ROUNDS=${PURLIN_POWER_ROUNDS:-20}
export PURLIN_PAUSE_ROUNDS=${PURLIN_PAUSE_ROUNDS:-20} PURLIN_PAUSE_MS=${PURLIN_PAUSE_MS:-10000}
export PURLIN_SPLIT_ROUNDS=${PURLIN_SPLIT_ROUNDS:-3}
(($#)) || set -- power_loss pause namespaces
for name in "$@"; do
    cargo test --test "$name" -- --nocapture --test-threads 1
done
