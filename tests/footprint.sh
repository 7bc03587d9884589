#!/usr/bin/env bash
# Prints what a node costs: size of the binary, time until it is ready on a fresh directory, and
# memory when idle. Ends with 1 if one of them is over its bound.
#
#     tests/footprint.sh [BINARY]        without one, a release binary is built
#
# Time is the best of five starts: the bound is on the program, not on what else the machine does.
set -euo pipefail
cd "$(dirname "$0")/.."

binary_bytes_max=$((25 * 1000 * 1000))
idle_bytes_max=$((25 * 1000 * 1000))
ready_us_max=300000
starts=5
idle_s=3

binary=${1:-}
if [[ -z $binary ]]; then
    cargo build --release --quiet
    binary=${CARGO_TARGET_DIR:-target}/release/purlin
fi

work=$(mktemp -d)
node=0
clean() {
    if ((node)); then
        kill -9 "$node" 2>/dev/null || true
        wait "$node" 2>/dev/null || true
        node=0
    fi
}
trap 'clean; rm -rf "$work"' EXIT

now_us() { echo "${EPOCHREALTIME/[^0-9]/}"; }

# Starts a node on a fresh directory; sets `node` and `ready_us`.
start() {
    local directory=$work/data.$1 pipe=$work/ready.$1 line="" before after
    mkfifo "$pipe"
    before=$(now_us)
    "$binary" node init --data-dir "$directory" --kafka 127.0.0.1:0 --rpc 127.0.0.1:0 \
        --admin 127.0.0.1:0 >"$pipe" 2>"$work/log.$1" &
    node=$!
    read -r -t 20 line <"$pipe" || true
    after=$(now_us)
    if [[ $line != ready\ * ]]; then
        echo "no ready line but \`$line\`; the node's log:" >&2
        cat "$work/log.$1" >&2
        exit 1
    fi
    ready_us=$((after - before))
}

best_us=
for ((turn = 1; turn <= starts; turn++)); do
    start "$turn"
    if [[ -z $best_us ]] || ((ready_us < best_us)); then best_us=$ready_us; fi
    if ((turn < starts)); then clean; fi
done

sleep "$idle_s"
idle_kib=$(awk '/^VmRSS:/ { print $2 }' "/proc/$node/status")
threads=$(awk '/^Threads:/ { print $2 }' "/proc/$node/status")
descriptors=$(ls "/proc/$node/fd" | wc -l)
clean

idle_bytes=$((idle_kib * 1024))
binary_bytes=$(stat -L -c %s "$binary")
over=0
row() { # name, shown value, shown bound, value, bound
    local verdict=ok
    if (($4 > $5)); then verdict=OVER over=1; fi
    printf '%-34s %12s %12s  %s\n' "$1" "$2" "$3" "$verdict"
}
mb() { awk -v bytes="$1" 'BEGIN { printf "%.1f MB", bytes / 1e6 }'; }
ms() { awk -v us="$1" 'BEGIN { printf "%.0f ms", us / 1e3 }'; }
printf '%-34s %12s %12s\n' what is bound
row "binary" "$(mb "$binary_bytes")" "$(mb $binary_bytes_max)" "$binary_bytes" $binary_bytes_max
row "ready on a fresh directory, best of $starts" "$(ms "$best_us")" "$(ms $ready_us_max)" "$best_us" $ready_us_max
row "resident after ${idle_s} s idle" "$(mb "$idle_bytes")" "$(mb $idle_bytes_max)" "$idle_bytes" $idle_bytes_max
printf '%-34s %12s\n' "threads" "$threads" "open descriptors" "$descriptors"
exit $over
