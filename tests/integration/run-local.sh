#!/usr/bin/env bash
# The local runner from outside: exit codes, messages, retries, resuming, signals, environments. Real processes, fake stages
# (local/fake-stage), a file:// store.
set -u
cd "$(dirname "$0")/../.." || exit 1
BIN=$PWD/${BUILD:-build}/bin
HERE=$PWD/tests/integration/local
[ -x "$BIN/trainyard" ] || { echo "$BIN/trainyard is not built"; exit 77; }
W=$(mktemp -d "${TMPDIR:-/tmp}/run-local.XXXXXX")
passed=0 failed=0 skipped=0
started=()
cleanup() {
    for pid in "${started[@]:-}"; do [ -n "$pid" ] && kill -9 "$pid" 2>/dev/null; done
    rm -rf "$W"
}
trap cleanup EXIT

mkdir -p "$W/stages" "$W/home"
for program in data-validate featurize train-ddp evaluate register; do ln -s "$HERE/fake-stage" "$W/stages/$program"; done
export XDG_STATE_HOME=$W/home FAKE_BEHAVIOUR=$W/behaviour NO_COLOR=1
unset TRAINYARD_STORE TRAINYARD_REGISTRY

ok() { passed=$((passed + 1)); echo "ok - $1"; }
not_ok() { failed=$((failed + 1)); echo "not ok - $1: $2"; sed 's/^/    /' "$W/out" "$W/err" 2>/dev/null | tail -40; }
equal() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected '$3', found '$2'"; fi; }
contains() { if grep -qF -- "$3" "$2"; then ok "$1"; else not_ok "$1" "'$3' is not in $(basename "$2")"; fi; }
fresh() { rm -rf "$FAKE_BEHAVIOUR" "$W/store"; mkdir -p "$FAKE_BEHAVIOUR"; : >"$FAKE_BEHAVIOUR/calls"; : >"$FAKE_BEHAVIOUR/work"; }
behave() { cat >"$FAKE_BEHAVIOUR/$1"; }
yard() { "$BIN/trainyard" "$@" >"$W/out" 2>"$W/err"; rc=$?; }
run() { yard run "${PIPELINE:-$HERE/chain.yaml}" --store "$W/store" --stages-dir "$W/stages" --plain "$@"; }
begin() { "$BIN/trainyard" run "${PIPELINE:-$HERE/chain.yaml}" --store "$W/store" --stages-dir "$W/stages" --plain "$@" >"$W/out" 2>"$W/err" & pid=$!; started+=("$pid"); }
state() { "$BIN/trainyard" get "$1" --store "$W/store" -o json | python3 -c "
import json, sys
run = json.load(sys.stdin)
$2"; }
await() { for _ in $(seq 100); do grep -qs -- "$2" "$1" && return 0; sleep 0.1; done; return 1; }
calls() { grep -c "$1" "$FAKE_BEHAVIOUR/calls"; }
orphans() { for p in /proc/[0-9]*; do tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -qF "FAKE_BEHAVIOUR=$FAKE_BEHAVIOUR" && tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -q '^TRAINYARD_RUN_UID=' && basename "$p"; done; }

# --- success, cache ---------------------------------------------------------------------------------
fresh
run --name first
equal "a good run ends with 0" "$rc" 0
contains "the summary says so" "$W/out" "run first: Succeeded"
equal "every rank ran once" "$(sort "$FAKE_BEHAVIOUR/calls" | tr '\n' ';')" \
    "evaluate a1 g0 r0;features a1 g0 r0;spread[0] a1 g0 r0;spread[1] a1 g0 r0;spread[2] a1 g0 r0;spread[3] a1 g0 r0;train a1 g0 r0;train a1 g0 r1;train a1 g0 r2;validate a1 g0 r0;"
equal "get shows the states" "$(state first "print([s['state'] for s in run['steps']])")" "['Succeeded', 'Succeeded', 'Succeeded', 'Succeeded', 'Succeeded']"
equal "and values" "$(state first "print(run['steps'][0]['values']['rows'])")" 1000
yard get --store "$W/store"
contains "get lists the run" "$W/out" "first"
yard get
contains "also without --store" "$W/out" "first"
yard logs first validate --store "$W/store"
contains "logs prints what the step wrote" "$W/out" "fake data-validate of validate starts, attempt 1"
yard logs first train --store "$W/store"
contains "logs of workers are told apart" "$W/out" "[2] fake train-ddp of train starts"
rm -r "$W"/store/local/runs/*/first-features-a1
yard logs first features --store "$W/store"
contains "without the files, the log kept in the store" "$W/out" "kept of features"
equal "no scratch is left" "$(find "$W/store/local/runs" -name 'scratch-*' | wc -l)" 0
: >"$FAKE_BEHAVIOUR/calls"
run
equal "a second run gets a name of its own" "$(state chain-1 "print(run['phase'])")" "Succeeded"
equal "pure steps are not done again" "$(calls '^train\|^features')" 0
equal "steps that look outside are" "$(calls '^validate')" 1
equal "and get tells" "$(state chain-1 "print([s['cached'] for s in run['steps']][1:3])")" "[True, True]"
: >"$FAKE_BEHAVIOUR/calls"
run --param lr=0.2
equal "another parameter: training again" "$(calls '^train')" 3
equal "but not featurize" "$(calls '^features')" 0
: >"$FAKE_BEHAVIOUR/calls"
run --no-cache
equal "--no-cache does it all again" "$(calls '^features')" 1
run --name first
equal "a name that is taken is a usage error" "$rc" 64
contains "that says what to do" "$W/err" "--resume first"

# --- environment of workers ---------------------------------------------------------------------------
fresh
behave train <<'END'
env | grep -E '^(RANK|LOCAL_RANK|WORLD_SIZE|MASTER_ADDR|MASTER_PORT|PET_|TRAINYARD_)' | sort >"$FAKE_BEHAVIOUR/env.$RANK"
python3 - "$TRAINYARD_ADVERTISE_ADDR" <<'PY'
import socket, sys
s = socket.socket(); s.bind((sys.argv[1], 0))   # the address is usable
PY
cp "$TRAINYARD_CONFIG" "$FAKE_BEHAVIOUR/config"
cp "$TRAINYARD_INPUTS" "$FAKE_BEHAVIOUR/inputs"
END
RANK=9 WORLD_SIZE=77 TRAINYARD_STEP=outer run --name env --scheduled-time 2026-01-31T02:00:00Z --param lr=0.25
equal "the run with three workers succeeds" "$rc" 0
value() { sed -n "s/^$2=//p" "$FAKE_BEHAVIOUR/env.$1"; }
equal "ranks are numbered" "$(value 0 RANK) $(value 1 RANK) $(value 2 RANK)" "0 1 2"
equal "the world is theirs, not the caller's" "$(value 0 WORLD_SIZE) $(value 2 WORLD_SIZE) $(value 1 LOCAL_RANK)" "3 3 0"
equal "torchrun's names agree" "$(value 1 PET_NNODES) $(value 1 PET_NODE_RANK) $(value 1 PET_NPROC_PER_NODE)" "3 1 1"
equal "all know rank 0's address" "$(value 2 MASTER_ADDR):$(value 2 MASTER_PORT)" "$(value 0 TRAINYARD_ADVERTISE_ADDR):$(value 0 MASTER_PORT)"
equal "and have one of their own" "$(sed -n 's/^TRAINYARD_ADVERTISE_ADDR=//p' "$FAKE_BEHAVIOUR"/env.* | sort -u | wc -l)" 3
equal "one rendezvous key" "$(sed -n 's/^TRAINYARD_RENDEZVOUS_KEY=//p' "$FAKE_BEHAVIOUR"/env.* | sort -u | grep -cE '^[0-9a-f]{64}$')" 1
equal "the scheduled time" "$(value 0 TRAINYARD_SCHEDULED_TIME)" "2026-01-31T02:00:00Z"
equal "the device, from the planner" "$(value 0 TRAINYARD_DEVICE)" cpu
equal "the step" "$(value 0 TRAINYARD_STEP) $(value 0 TRAINYARD_ATTEMPT)" "train 1"
equal "set put the parameter into the config" "$(python3 -c "import json; print(json.load(open('$FAKE_BEHAVIOUR/config'))['optimizers']['dense']['adamw']['lr'])")" 0.25
equal "inputs name digest and producer" "$(python3 -c "import json; i = json.load(open('$FAKE_BEHAVIOUR/inputs'))['features']; print(len(i['digest']), i['step'])")" "64 features"
fresh
run --workers 2 --name fit
equal "--workers fits the pipeline to the machine" "$(calls '^train')" 2

# --- fan-out, parallelism, when -----------------------------------------------------------------------
fresh
behave spread <<'END'
mkdir "$FAKE_BEHAVIOUR/now.$TRAINYARD_INDEX"
ls -d "$FAKE_BEHAVIOUR"/now.* | wc -l >>"$FAKE_BEHAVIOUR/at-once"
sleep 0.4
grep -o 'data/[a-d]/' "$TRAINYARD_CONFIG" >>"$FAKE_BEHAVIOUR/items"
rmdir "$FAKE_BEHAVIOUR/now.$TRAINYARD_INDEX"
END
run --name fan --param evaluating=false
equal "a fan-out succeeds" "$rc" 0
equal "each item has its own config" "$(sort "$FAKE_BEHAVIOUR/items" | tr '\n' ' ')" "data/a/ data/b/ data/c/ data/d/ "
equal "its parallelism holds" "$(sort -n "$FAKE_BEHAVIOUR/at-once" | tail -1)" 2
equal "when: false skips" "$(state fan "print(run['steps'][3]['state'])")" Skipped
equal "a skipped step never starts" "$(calls '^evaluate')" 0
fresh
cp /dev/null "$FAKE_BEHAVIOUR/at-once"
behave spread <<'END'
mkdir "$FAKE_BEHAVIOUR/now.$TRAINYARD_INDEX"
ls -d "$FAKE_BEHAVIOUR"/now.* | wc -l >>"$FAKE_BEHAVIOUR/at-once"
sleep 0.2
rmdir "$FAKE_BEHAVIOUR/now.$TRAINYARD_INDEX"
END
run --name one --parallelism 1
equal "--parallelism 1 runs one at a time" "$(sort -n "$FAKE_BEHAVIOUR/at-once" | tail -1)" 1

# --- failure --------------------------------------------------------------------------------------------
fresh
behave validate <<'END'
fail user 65 'column price: expected double, found string in day=31' schema
END
run --name bad
equal "a failed run ends with 1" "$rc" 1
equal "bad data is not tried again" "$(calls '^validate')" 1
contains "the message is there in full" "$W/err" "column price: expected double, found string in day=31"
contains "with class, reason and exit code" "$W/err" "(user, schema, exit 65)"
contains "the log" "$W/err" "log-0.txt"
contains "and what to do" "$W/err" "trainyard logs bad validate"
equal "the log named exists" "$(test -s "$(sed -n 's/^ *log: //p' "$W/err")" && echo yes)" yes
equal "get has the exit code" "$(state bad "print(run['steps'][0]['exitCode'], run['steps'][0]['class'], run['steps'][1]['state'])")" "65 user Stopped"
rm "$FAKE_BEHAVIOUR/validate"
yard run --resume bad --store "$W/store" --plain
equal "resume tries the failed step again" "$rc" 0
equal "and only what was not done" "$(calls '^validate') $(calls '^features') $(calls '^evaluate')" "2 1 1"

fresh
behave validate <<'END'
[ "$TRAINYARD_ATTEMPT" -ge 2 ] || fail application 70 'fell over'
END
run --name retried
equal "a retried step saves the run" "$rc" 0
equal "it took two attempts" "$(state retried "print(run['steps'][0]['attempts'])")" 2
contains "and the first is told" "$W/err" "retries (application): attempt 1: fell over"
yard logs retried validate --attempt 1 --store "$W/store"
contains "each attempt has its log" "$W/out" "failing: fell over"

fresh
behave evaluate <<'END'
kill -SEGV $$
END
run --name crashed
equal "a crash fails the run" "$rc" 1
equal "it counts as the application's" "$(state crashed "print(run['steps'][3]['class'])")" application
contains "the signal is named" "$W/err" "signal 11"

fresh
behave train <<'END'
[ "$RANK" != 1 ] || [ "$TRAINYARD_ATTEMPT" != 1 ] || fail infrastructure 75 'peer lost'
[ "$TRAINYARD_ATTEMPT" != 1 ] || sleep 60
END
run --name gang
equal "a gang that lost a worker starts again as a whole" "$rc" 0
equal "with all its ranks" "$(calls '^train a2')" 3

fresh
behave evaluate <<'END'
exit 0
END
behave evaluate.committed <<'END'
exit 0
END
run --name silent
equal "exit 0 without a result is no success" "$rc" 1

# --- progress -------------------------------------------------------------------------------------------
fresh
behave validate <<'END'
progress 0.5 'half way' >"$FAKE_BEHAVIOUR/codes"
progress 0.5 'half way' wrong >>"$FAKE_BEHAVIOUR/codes"
echo "$TRAINYARD_PROGRESS_URL $TRAINYARD_PROGRESS_TOKEN" >"$FAKE_BEHAVIOUR/url"
END
behave features <<'END'
read -r url token <"$FAKE_BEHAVIOUR/url"
TRAINYARD_PROGRESS_URL=$url progress 0.6 'too late' "$token" >>"$FAKE_BEHAVIOUR/codes"
END
run --name progress
equal "posts: taken, wrong token, ended attempt" "$(tr '\n' ' ' <"$FAKE_BEHAVIOUR/codes")" "204 401 410 "

# --- stop -------------------------------------------------------------------------------------------------
fresh
behave train <<'END'
trap 'touch "$FAKE_BEHAVIOUR/saved.$RANK"; exit 75' TERM
[ "$TRAINYARD_RESTART" != 0 ] || { touch "$FAKE_BEHAVIOUR/training.$RANK"; sleep 60 & wait; }
END
begin --name stopped
await "$FAKE_BEHAVIOUR/calls" "train a1 g0 r2" && sleep 0.5
kill -INT "$pid"
wait "$pid"
equal "Ctrl-C ends with 130" "$?" 130
equal "the workers got SIGTERM" "$(find "$FAKE_BEHAVIOUR" -name 'saved.*' | wc -l)" 3
equal "the run is Stopped" "$(state stopped "print(run['phase'])")" Stopped
equal "nothing is left running" "$(orphans)" ""
yard run --resume stopped --store "$W/store" --plain
equal "resume goes on" "$rc" 0
equal "with what was stopped, not with what was done" "$(calls '^validate') $(calls '^features') $(calls '^evaluate')" "1 1 1"

# --- kill -9 ------------------------------------------------------------------------------------------------
fresh
behave train <<'END'
[ "$TRAINYARD_ATTEMPT" != 1 ] || exec sleep 60
END
begin --name killed
await "$FAKE_BEHAVIOUR/calls" "train a1 g0 r2" && sleep 0.3
kill -9 "$pid"
wait "$pid" 2>/dev/null
sleep 0.3
equal "kill -9 of trainyard leaves no orphan" "$(orphans)" ""
yard get --store "$W/store"
contains "get calls the run interrupted" "$W/out" "Interrupted"
equal "in JSON, too" "$(state killed "print(run['phase'])")" Interrupted
yard run --resume --store "$W/store" --plain
equal "resume without a name finds it and goes on" "$rc" 0
equal "nothing that was done is done again" "$(sort "$FAKE_BEHAVIOUR/work" | tr '\n' ' ')" "evaluate features spread[0] spread[1] spread[2] spread[3] train validate "
equal "a lost attempt is not charged" "$(state killed "print(run['steps'][2]['attempts'], run['phase'])")" "2 Succeeded"

fresh
behave features.committed <<'END'
[ "$TRAINYARD_ATTEMPT" != 1 ] || exec sleep 60
END
begin --name committed
await "$FAKE_BEHAVIOUR/work" "features"
kill -9 "$pid"
wait "$pid" 2>/dev/null
yard run "$HERE/chain.yaml" --resume --name committed --store "$W/store" --stages-dir "$W/stages" --plain
equal "a run killed between commit and record goes on" "$rc" 0
equal "the committed step is adopted" "$(grep -c '^features' "$FAKE_BEHAVIOUR/work")" 1
yard run --resume committed --store "$W/store" --plain
equal "resuming what has succeeded is fine" "$rc" 0
contains "and says so" "$W/err" "has succeeded already"

fresh
begin --name driven
behave validate <<'END'
sleep 8
END
await "$FAKE_BEHAVIOUR/calls" "validate" || true
yard run --resume driven --store "$W/store" --plain
equal "a run that is being driven is not driven twice" "$rc" 75
contains "the message names the driver" "$W/err" "process $pid"
kill -9 "$pid"; wait "$pid" 2>/dev/null

# --- restart --------------------------------------------------------------------------------------------------
fresh
run --name again
: >"$FAKE_BEHAVIOUR/calls"
yard restart again --from train --store "$W/store" --plain
equal "restart ends well" "$rc" 0
equal "the step and what follows are done again" "$(sort "$FAKE_BEHAVIOUR/calls" | tr '\n' ';')" "evaluate a2 g1 r0;train a2 g1 r0;train a2 g1 r1;train a2 g1 r2;"
yard restart again --from trian --store "$W/store"
equal "an unknown step is a usage error" "$rc" 64
contains "with a suggestion" "$W/err" "did you mean train?"

# --- lint, usage, configuration ----------------------------------------------------------------------------------
fresh
yard lint "$HERE/chain.yaml"
equal "lint accepts a good file" "$rc" 0
sed 's/from: validate.snapshot/from: validate.snapshop/' "$HERE/chain.yaml" >"$W/wrong.yaml"
line=$(grep -n snapshop "$W/wrong.yaml" | cut -d: -f1)
yard lint "$W/wrong.yaml"
equal "lint of a wrong reference ends with 78" "$rc" 78
contains "and names file, line and path" "$W/err" "$W/wrong.yaml:$line: spec.steps[1].inputs[0]"
yard lint --json "$W/wrong.yaml"
equal "as JSON, too" "$(python3 -c "import json; print(json.load(open('$W/out'))[0]['line'])")" "$line"
if [ -f /usr/share/zoneinfo/Europe/Berlin ]; then
    for zone in Europe/Berlin:0 +02:00:0 Europe/Berln:78 ../Berlin:78; do
        sed "s|^spec:|spec:\n  runOn: [Schedule]\n  schedule: {cron: '0 2 * * *', timeZone: '${zone%:*}'}|" "$HERE/chain.yaml" >"$W/zone.yaml"
        yard lint "$W/zone.yaml"
        equal "lint of a schedule in ${zone%:*} ends with ${zone##*:}" "$rc" "${zone##*:}"
    done
else
    echo "skipped - lint of time zones: this machine has no time zone database"
    skipped=$((skipped + 1))
fi
PIPELINE=$W/wrong.yaml run
equal "run refuses a wrong manifest with 78" "$rc" 78
equal "before anything is recorded" "$(test -e "$W/store" && echo there)" ""
run --param nosuch=1
equal "an unknown parameter is a usage error" "$rc" 64
run --param lr=fast
equal "so is one of the wrong type" "$rc" 64
run --stages-dir /nonexistent
equal "no stages: 78" "$rc" 78
mkdir "$W/empty"
run --stages-dir "$W/empty"
equal "missing stage programs: 78" "$rc" 78
contains "with their names and steps" "$W/err" "featurize (for step features)"
yard run
equal "no manifest: 64" "$rc" 64
yard run "$W/none.yaml"
equal "a manifest that is not there: 66" "$rc" 66
yard rnu
equal "an unknown command: 64" "$rc" 64
contains "with a suggestion" "$W/err" 'did you mean "run"?'
yard get nosuch --store "$W/store"
equal "an unknown run: 66" "$rc" 66
cat >"$W/container.yaml" <<'END'
apiVersion: trainyard.dev/v1alpha1
kind: TrainingPipeline
metadata: {name: container}
spec:
  steps:
    - name: notify
      container: {image: "localhost/none"}
END
mkdir "$W/noengine"
ln -s "$(type -P true)" "$W/stages/artifact"
PATH=$W/noengine PIPELINE=$W/container.yaml run
equal "container steps without an engine: 78" "$rc" 78
contains "naming the steps" "$W/err" "steps that run containers cannot run here: notify"
contains "and what was looked for" "$W/err" "podman is not installed"
rm "$W/stages/artifact"

# --- containers, through a stand-in for the engine ------------------------------------------------------------------
fresh
mkdir "$W/engine"
ln -s "$HERE/fake-podman" "$W/engine/podman"
ln -s "$BIN/artifact" "$W/stages/artifact"
cat >"$W/container.yaml" <<'END'
apiVersion: trainyard.dev/v1alpha1
kind: TrainingPipeline
metadata: {name: container}
spec:
  parameters: [{name: word, type: string, default: "0"}]
  steps:
    - name: write
      container:
        image: localhost/good
        command: [sh, -c]
        args: ["echo $(params.word) $TRAINYARD_STEP >/trainyard/out/text/file; echo '{\"size\": 3}' >/trainyard/out/values.json"]
        outputs: [text]
        values: [{name: size, type: integer}]
    - name: read
      inputs: [{name: text, from: write.text}]
      retry: {application: 0}
      container:
        image: localhost/good
        command: [sh, -c, "cat /trainyard/in/text/file >$FAKE_BEHAVIOUR/read; echo $COLOR >>$FAKE_BEHAVIOUR/read; exit ${CODE:-0}"]
        env: [{name: COLOR, value: red}, {name: CODE, value: "$(params.word)"}]
        runAsUser: 101
END
PATH=$W/engine:$PATH PIPELINE=$W/container.yaml run --name boxed
equal "container steps run through the engine" "$rc" 0
equal "outputs reach the next step, with its variables" "$(tr '\n' ' ' <"$FAKE_BEHAVIOUR/read")" "0 write red "
equal "values are the step's" "$(state boxed "print(run['steps'][0]['values']['size'])")" 3
contains "the engine is told user and name" "$FAKE_BEHAVIOUR/engine" "--user=101"
PATH=$W/engine:$PATH PIPELINE=$W/container.yaml run --name broken --param word=3
equal "a container that fails fails the run" "$rc" 1
contains "with its exit code" "$W/err" "the container ended with exit code 3"
sed -i 's|localhost/good|localhost/none|; s|^    - name: write|&\n      retry: {infrastructure: 0}|' "$W/container.yaml"
PATH=$W/engine:$PATH PIPELINE=$W/container.yaml run --name noimage
equal "an image that cannot be had fails the run" "$rc" 1
contains "with the engine's words" "$W/err" "no such image: localhost/none"

# --- approval ----------------------------------------------------------------------------------------------------------
fresh
python3 - "$HERE/chain.yaml" "$W/approval.yaml" <<'END'
import sys
text = open(sys.argv[1]).read()
text = text.replace("    - name: evaluate\n", "    - name: sign-off\n      after: [train]\n      approval: {message: is the model good?}\n    - name: evaluate\n      after: [sign-off]\n", 1)
open(sys.argv[2], "w").write(text)
END
PIPELINE=$W/approval.yaml run --name asked
equal "a run that waits for a person ends with 75" "$rc" 75
contains "says what for" "$W/err" "is the model good?"
contains "and how to approve" "$W/err" "--approve sign-off"
equal "what it asks is not passed" "$(calls '^evaluate')" 0
yard run --resume asked --approve sign-off --store "$W/store" --plain
equal "approved, it goes on to its end" "$rc" 0
equal "with what came after" "$(calls '^evaluate')" 1

yard plan "$HERE/chain.yaml" --store "$W/store" --stages-dir "$W/stages"
equal "plan ends with 0" "$rc" 0
contains "and names the jobs" "$W/out" "train"
yard docs cli
contains "docs cli prints the reference" "$W/out" "trainyard run"
yard docs manifest
contains "docs manifest prints the fields" "$W/out" 'steps[].trainDdp'

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
