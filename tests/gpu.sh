#!/usr/bin/env bash
# SmolLM2 on an NVIDIA card: brings ONNX Runtime for CUDA, compares with transformers' answers in f32, f16 and bf16, measures,
# and prints a table with the card's name.
#
#   tests/gpu.sh           # what can be done here: all of it with a card, else as with --host, and says so
#   tests/gpu.sh --host    # the parts that need no card: builds, compares and measures on the processor
#
# Needs cargo, python3 with pip, and a network the first time. IRC_ORT_LIBRARY names a library of ONNX Runtime of one's own. The
# libraries of NVIDIA that are not here are brought by pip into target/nvidia. ROUNDS says how often each program is measured.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1-}" in
    '') host=no ;;
    --host) host=yes ;;
    *) echo "usage: tests/gpu.sh [--host]" >&2 && exit 2 ;;
esac
rounds="${ROUNDS:-15}"
target="${CARGO_TARGET_DIR:-target}"
mkdir -p "$target"
irc="$target/release/irc"
nvidia="$(cd "$target" && pwd)/nvidia"

say() { printf '\n== %s\n' "$*" >&2; }

# Prints the row of `irc backends --json` whose name is $1: why it is not available, or nothing.
why_not() {
    "$irc" backends --json | python3 -c '
import json, sys
row = next(row for row in json.load(sys.stdin)["backends"] if row["name"] == sys.argv[1])
print("" if row["available"] else row["why"])' "$1"
}

card='none'
if [ "$host" = no ]; then
    if card="$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1)" && [ -n "$card" ]; then
        say "card: $card"
    else
        card='none' host=yes
        say 'NO NVIDIA CARD WAS FOUND (nvidia-smi shows none): NOTHING RUNS ON CUDA, only the parts that need no card'
    fi
fi

say 'building'
cargo build --release

say 'SmolLM2'
"$irc" model fetch smollm2

if [ "$host" = yes ]; then
    engines=('rten cpu f32' 'ort cpu f32')
    [ -n "${IRC_ORT_LIBRARY-}" ] || "$irc" setup ort
else
    engines=('rten cpu f32' 'ort cpu f32' 'ort cuda f32' 'ort cuda f16' 'ort cuda bf16')
    say 'ONNX Runtime for CUDA'
    [ -n "${IRC_ORT_LIBRARY-}" ] || "$irc" setup ort --cuda
    why="$(why_not 'ort CUDA')"
    if [[ "$why" == *'cannot be loaded'* ]]; then
        say "$why"
        say "bringing the libraries of NVIDIA into $nvidia"
        python3 -m pip install --quiet --disable-pip-version-check --upgrade --target "$nvidia" \
            'nvidia-cuda-runtime~=13.0' 'nvidia-curand~=10.0' 'nvidia-cudnn-cu13~=9.0'
        folders="$(find "$nvidia" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)"
        export LD_LIBRARY_PATH="$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
        why="$(why_not 'ort CUDA')"
    fi
    if [ -n "$why" ]; then
        echo "$why" >&2
        exit 3
    fi
fi
"$irc" backends

for engine in "${engines[@]}"; do
    read -r name device precision <<<"$engine"
    say "answers of transformers: $engine"
    if [ "$name" = rten ]; then
        cargo test --release --test goldens -- --nocapture --exact transformers_answers
    else
        IRC_GOLDENS_DEVICE="$device" IRC_GOLDENS_PRECISION="$precision" \
            cargo test --release --test goldens -- --nocapture --exact onnx_runtime::transformers_answers_on_onnx_runtime
    fi
done

results="$(mktemp -d)"
trap 'rm -rf "$results"' EXIT
for at in "${!engines[@]}"; do
    say "measuring: ${engines[$at]}"
    # The words of an engine are three arguments.
    # shellcheck disable=SC2086
    cargo bench --bench forward -- programs ${engines[$at]} "$rounds" >"$results/$at.tsv"
    cat "$results/$at.tsv" >&2
done

say 'done'
python3 - "$results" "$card" "$rounds" "${engines[@]}" <<'PYTHON'
import os, platform, sys

folder, card, rounds, *engines = sys.argv[1:]
columns = []
for at, _ in enumerate(engines):
    with open(f"{folder}/{at}.tsv", encoding="utf-8") as lines:
        columns.append(dict(line.rstrip("\n").split("\t") for line in lines if "\t" in line))
processor = platform.processor() or platform.machine()
if os.path.exists("/proc/cpuinfo"):
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
load = f"{os.getloadavg()[0]:.1f}"
print(f"Card: {card}. Processor: {processor}, {os.cpu_count()} cores, load {load}.")
print(f"Wall time in ms, median of {rounds} runs in one process after two that warm up.\n")
print("| | " + " | ".join(engines) + " |")
print("|---|" + "---|" * len(engines))
for name in columns[0]:
    print(f"| {name} | " + " | ".join(column.get(name, "") for column in columns) + " |")
if not any(" cuda " in engine for engine in engines):
    print("\nNOT RUN, for want of a card: the answers of transformers on CUDA in f32, f16 and bf16, and their times.")
PYTHON
