#!/usr/bin/env bash
# train-ddp as real processes, by hand on synthetic features: workers agree, a killed or stopped run resumes to the same
# bytes, a lost peer ends the others, and what is wrong is said with the right exit code.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
make -s "$BUILD/bin/train-ddp" "$BUILD/obj/tests/harness/synthetic-features.c.o" >/dev/null || exit 1
dir=$(mktemp -d)
pids=()
cleanup() {
    for p in "${pids[@]}"; do kill -9 "$p" 2>/dev/null; done
    rm -rf "$dir"
}
trap cleanup EXIT
case $BUILD in *address*) san=-fsanitize=address ;; *undefined*) san=-fsanitize=undefined ;; *thread*) san=-fsanitize=thread ;; *) san= ;; esac
gcc $san -o "$dir/synth" "$BUILD/obj/tests/harness/synthetic-features.c.o" "$BUILD/lib/libtensor.a" "$BUILD/lib/libbase.a" -lcjson -lcrypto -lm -lpthread || exit 1
# shellcheck source=tests/harness/check.sh
. tests/harness/check.sh

key=$(printf '%064d' 42)
port=$((20000 + $$ % 20000))
# start OUT CONFIG WORKERS: starts one process a rank, their pids in ${pids[@]}; logs in OUT.<rank>.log, results in OUT.<rank>.json
start() {
    pids=()
    port=$((port + 1))
    for ((r = 0; r < $3; r++)); do
        RANK=$r LOCAL_RANK=$r WORLD_SIZE=$3 MASTER_ADDR=127.5.1.1 MASTER_PORT=$port TRAINYARD_ADVERTISE_ADDR=127.5.1.$((r + 1)) \
            TRAINYARD_RENDEZVOUS_KEY=$key "$BUILD/bin/train-ddp" --config "$2" --input features="$dir/features" --output "$1" \
            >"$1.$r.json" 2>>"$1.$r.log" &
        pids[r]=$!
    done
}
# finish: waits for all; exit codes in ${codes[@]}
finish() {
    codes=()
    for ((r = 0; r < ${#pids[@]}; r++)); do
        wait "${pids[$r]}"
        codes[r]=$?
    done
    pids=()
}
train() { # train OUT CONFIG WORKERS: all must exit 0
    start "$@"
    finish
    for c in "${codes[@]}"; do [ "$c" = 0 ] || { cat "$1".*.log; echo "exit codes ${codes[*]}"; return 1; }; done
}
# await OUT STEP: until a checkpoint of that step or a later one is there (or the workers have ended)
await() {
    for ((i = 0; i < 3000; i++)); do
        newest=$(find "$1/checkpoints" -name manifest.json 2>/dev/null | sed 's|.*/\([0-9]*\)-a.*|\1|' | sort -n | tail -1)
        [ "${newest:-0}" -ge "$2" ] && return 0
        kill -0 "${pids[@]}" 2>/dev/null || return 1
        sleep 0.02
    done
    return 1
}
digest() { sha256sum <"$1/model/manifest.json"; }
value() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["values"][sys.argv[2]])' "$1" "$2"; }

"$dir/synth" "$dir/features" 60000 8000 16384 5 || exit 1
config() { # config FILE NETWORK EPOCHS EVERY_STEPS
    cat >"$1" <<JSON
{"seed": 3, "threads": 1, "epochs": $3, "batch": {"global": 512}, "embeddings": {"default": 8, "perFeature": {"item": 12}},
 "network": $2, "loss": {"bce": {}},
 "optimizers": {"dense": {"adamw": {"lr": 0.003, "weightDecay": 0.01}}, "embeddings": {"sparseAdam": {"lr": 0.003}}},
 "schedule": {"warmupSteps": 20, "decay": {"steps": {"at": [0.7], "factor": 0.3}}}, "clip": {"globalNorm": 5},
 "validation": {"every": "1 epoch", "metrics": ["auc", "logloss"]},
 "earlyStopping": {"metric": "auc", "patience": 3, "restoreBest": true},
 "checkpoint": {"everySteps": $4, "keep": 2}, "collective": {"timeoutSeconds": 3}}
JSON
}
dcn='{"dcnV2": {"crossLayers": 2, "rank": "full", "deep": [32, 16], "dropout": 0.1, "linearTerm": true}}'
config "$dir/short.json" "$dcn" 2 1000000
config "$dir/long.json" "$dcn" 12 40

# --- agreement ---
agree() {
    train "$dir/one" "$dir/short.json" 1 && train "$dir/two" "$dir/short.json" 2 && train "$dir/three" "$dir/short.json" 3 || return 1
    python3 - "$dir"/{one,two,three}.0.json <<'PY'
import json, sys
v = [json.load(open(p))["values"] for p in sys.argv[1:]]
print(v)
assert all(x["steps"] == 236 for x in v)
assert max(x["validation_logloss"] for x in v) - min(x["validation_logloss"] for x in v) < 1e-3
assert min(x["validation_auc"] for x in v) > 0.68
PY
}
check "1, 2 and 3 workers reach the same loss" agree
same_bytes() { train "$dir/two-again" "$dir/short.json" 2 && [ "$(digest "$dir/two")" = "$(digest "$dir/two-again")" ]; }
check "equal runs give equal bytes" same_bytes
networks() {
    config "$dir/logistic.json" '{"logistic": {}}' 2 1000000
    config "$dir/mlp.json" '{"mlp": {"hidden": [24, 12]}}' 2 1000000
    train "$dir/logistic" "$dir/logistic.json" 2 && train "$dir/mlp" "$dir/mlp.json" 2 || return 1
    python3 - "$dir"/{logistic,mlp,two}.0.json <<'PY'
import json, sys
logistic, mlp, dcn = [json.load(open(p))["values"]["validation_auc"] for p in sys.argv[1:]]
print(logistic, mlp, dcn)
assert 0.6 < logistic < min(mlp, dcn) - 0.01
PY
}
check "networks that cross features beat logistic regression" networks
golden() {
    python3 - "$dir/two/model" <<'PY'
import json, sys
d = sys.argv[1]
rows = json.load(open(d + "/golden.json"))["rows"]
assert len(rows) == 32 and all(0 < r["score"] < 1 for r in rows)
m = json.load(open(d + "/model.json"))
assert m["newestEventTime"] == "1700000000000" and m["serving"] == {"bucket": "1"} and m["loss"] == "bce", m
c = json.load(open(d + "/curves.json"))
assert len(c["train"]) == 236 and len(c["validation"]) == 2, (len(c["train"]), len(c["validation"]))
PY
}
check "the model holds golden scores, serving values and curves" golden

# --- exact resume ---
check "a long run, undisturbed" train "$dir/whole" "$dir/long.json" 2
killed() {
    local resumed=0
    for moment in 40 200 500 800; do # early stopping ends it at step 1062; a busy upload skips checkpoints
        start "$dir/killed" "$dir/long.json" 2
        await "$dir/killed" "$moment" || { cat "$dir"/killed.*.log; return 1; }
        victim=${pids[$((RANDOM % 2))]}
        kill -9 "$victim" 2>/dev/null
        finish
        echo "killed after step $moment: exit codes ${codes[*]}"
        # the other one ends by itself with 75 (137: it was the victim; 0: it was done)
        for c in "${codes[@]}"; do case $c in 0 | 75 | 137) ;; *) cat "$dir"/killed.*.log; return 1 ;; esac; done
    done
    train "$dir/killed" "$dir/long.json" 2 || return 1
    resumed=$(grep -c 'resumed from a checkpoint' "$dir/killed.0.log")
    echo "resumed $resumed times"
    [ "$resumed" = 4 ] && [ "$(digest "$dir/whole")" = "$(digest "$dir/killed")" ]
}
check "killed at four moments and resumed: the same bytes" killed
stopped() {
    start "$dir/stopped" "$dir/long.json" 2
    await "$dir/stopped" 80 || return 1
    kill -TERM "${pids[1]}"
    finish
    echo "exit codes ${codes[*]}"
    [ "${codes[*]}" = "75 75" ] || { cat "$dir"/stopped.*.log; return 1; }
    [ ! -e "$dir/stopped/model/manifest.json" ] || { echo "a stopped run published a model"; return 1; }
    train "$dir/stopped" "$dir/long.json" 2 && grep -q 'resumed from a checkpoint' "$dir/stopped.0.log" && [ "$(digest "$dir/whole")" = "$(digest "$dir/stopped")" ]
}
check "SIGTERM to one worker: all checkpoint, exit 75, resume to the same bytes" stopped
kept() { [ "$(find "$dir/whole/checkpoints" -name manifest.json | wc -l)" = 2 ]; }
check "checkpoints are kept by count" kept
torn() {
    cp -r "$dir/whole" "$dir/torn"
    rm -rf "$dir/torn/model"
    newest=$(find "$dir/torn/checkpoints" -name manifest.json | sort -V | tail -1)
    printf 'x' | dd of="$(dirname "$newest")/state.safetensors" bs=1 seek=5000 conv=notrunc 2>/dev/null
    train "$dir/torn" "$dir/long.json" 2 && [ "$(digest "$dir/whole")" = "$(digest "$dir/torn")" ]
}
check "a damaged checkpoint is passed over" torn

# --- lost and silent peers ---
silent() {
    start "$dir/silent" "$dir/long.json" 2
    await "$dir/silent" 40 || return 1
    kill -STOP "${pids[1]}"
    local begin=$SECONDS
    wait "${pids[0]}"
    local code=$? took=$((SECONDS - begin))
    kill -9 "${pids[1]}"
    wait "${pids[1]}" 2>/dev/null
    pids=()
    echo "exit $code after $took s"
    [ "$code" = 75 ] && [ "$took" -le 8 ] && grep -q 'rank 1' "$dir/silent.0.log"
}
check "a silent peer ends the attempt with 75 within the timeout" silent

# --- what is wrong is said ---
refused() { # refused CODE WORD CONFIG [OPTION…]
    local code=$1 word=$2 conf=$3
    shift 3
    "$BUILD/bin/train-ddp" --config "$conf" --input features="$dir/features" --output "$dir/refused" "$@" >"$dir/out" 2>&1
    local rc=$?
    if [ $rc != "$code" ] || ! grep -q -- "$word" "$dir/out"; then
        echo "exit $rc, expected $code with \"$word\""
        cat "$dir/out"
        return 1
    fi
}
sed 's/dcnV2/dlrm/' "$dir/short.json" >"$dir/dlrm.json"
check "an unknown network is a configuration error" refused 78 'logistic, mlp and dcnV2' "$dir/dlrm.json"
sed 's/"lr": 0.003/"lr": 900/; s/"clip": {"globalNorm": 5},//' "$dir/short.json" | sed 's/adamw/sgd/; s/, "weightDecay": 0.01//' >"$dir/wild.json"
check "divergence names step and layer" refused 65 'diverged in step' "$dir/wild.json"
check "too little memory is said before the start" refused 78 'MiB a worker' "$dir/short.json" --memory 8Mi
check "a missing CUDA back end is exit 69" refused 69 'CUDA' "$dir/short.json" --device cuda
sed 's/"seed": 3/"seed": 3, "determinism": {"isa": "avx1024"}/' "$dir/short.json" >"$dir/isa.json"
check "an unknown vector level is a configuration error" refused 78 'determinism.isa' "$dir/isa.json"
bad_label() {
    rm -rf "$dir/features"
    "$dir/synth" "$dir/features" 2000 100 16384 5 broken || return 1
    refused 65 'label: expected 0 to 1' "$dir/short.json"
}
check "a bad label is bad data" bad_label

check_sum
