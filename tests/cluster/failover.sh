#!/usr/bin/env bash
# How long writing stands still when a node goes: 30 rounds of each kind (kill -9 of a leader, of the
# controller, of one that is both; SIGTERM) with a release build, and a table at the end. Fails when
# a record is lost, repeated or out of order, and when a gap is out of bounds. Takes about 15 minutes.
#
#   tests/cluster/failover.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release
export PURLIN_TEST_BINARY="${CARGO_TARGET_DIR:-$PWD/target}/release/purlin"
export PURLIN_FAILOVER_ROUNDS=${1:-30} PURLIN_FAILOVER_BOUNDS=1
exec cargo test --test failover -- --nocapture
