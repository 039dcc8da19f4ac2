#!/usr/bin/env bash
# A model whose vocabulary ids and table rows were permuted together compares with delta 0 against the original, each under its
# own feature spec; with ids permuted alone it does not. Stages by hand on local files. Ends with `N passed, N failed, N skipped`.
set -u
cd "$(dirname "$0")/../.." || exit 1
bin=${BUILD:-build}/bin tool=${BUILD:-build}/test/permute-vocabulary
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/harness/check.sh
. tests/harness/check.sh
step() { # NAME CONFIG OUTPUT ARGUMENT…
    local name=$1 config=$2 output=$3
    shift 3
    echo "$config" >"$work/config.json"
    "$bin/$name" --config "$work/config.json" --output "$output" "$@" >"$output.result" 2>"$output.log" || { cat "$output.log"; return 1; }
}
# The baseline of evaluate's comparison: MODEL registered as production in a registry of its own, then the original against it.
compare() { # MODEL NAME
    step evaluate '{"metrics": ["auc"]}' "$work/evaluation-$2" --input "features=$work/features/features" --input "model=$1" &&
        step register '{"model": "m", "alias": "production"}' "$work/version-$2" --input "model=$1" --input "evaluation=$work/evaluation-$2/report" \
            --registry "file://$work/registry-$2" &&
        step evaluate '{"metrics": ["auc", "logloss", "ndcg@10"], "baseline": {"model": "m", "alias": "production", "onMissing": "fail"}}' "$work/compared-$2" \
            --input "features=$work/features/features" --input "model=$work/model/model" --registry "file://$work/registry-$2"
}
delta() { # NAME METRIC: the delta's text
    sed -n "s/.*\"delta_$2\":\([^,}]*\).*/\1/p" "$work/compared-$1.result"
}

"$bin/click-ranker-generate" --out "$work/logs" --rows 30000 --days 10 >/dev/null 2>&1 || { echo "no data was generated"; exit 1; }
mkdir -p "$work/snap/data"
for part in "$work"/logs/day=*; do cp "$part/clicks.parquet" "$work/snap/data/$(basename "$part").parquet"; done

check "featurize" step featurize '{"seed": 3, "rowKey": ["session_id", "item_id"], "label": {"column": "clicked", "type": "binary"}, "group": "session_id", "time": "time",
  "split": {"by": "time", "validation": "1d", "test": "2d"}, "features": [
  {"name": "price", "sql": "ln(1 + price)", "numeric": {"impute": "median", "scale": "standard"}},
  {"name": "item", "column": "item_id", "categorical": {"vocabulary": {"minCount": 2, "oovBuckets": 4}}},
  {"name": "category", "column": "category", "categorical": {"vocabulary": {}}},
  {"name": "position", "column": "position", "categorical": {"values": {"from": 1, "to": 10}}, "servingValue": 1}]}' "$work/features" --input "snapshot=$work/snap"
check "train" step train-ddp '{"seed": 3, "epochs": 2, "batch": {"global": 1024}, "network": {"dcnV2": {"crossLayers": 1, "deep": [16], "linearTerm": true}},
  "loss": {"bce": {}}, "optimizers": {"dense": {"adamw": {"lr": 0.01}}, "embeddings": {"sparseAdam": {"lr": 0.01}}}}' "$work/model" --input "features=$work/features/features"
check "two features have a vocabulary" bash -c "[ \"\$('$tool' '$work/model/model' '$work/permuted' 7)\" = 2 ]"
check "the permuted model is another by its bytes" bash -c "! cmp -s '$work/permuted/model.safetensors' '$work/model/model/model.safetensors'"
# The control: the same ids, but rows left where they were.
cp -r "$work/permuted" "$work/torn" && cp "$work/model/model/model.safetensors" "$work/torn/" && rm -f "$work/torn/manifest.json"
check "comparison with the permuted model" compare "$work/permuted" permuted
for metric in auc logloss ndcg_at_10; do
    check "delta of $metric is 0" test "$(delta permuted $metric)" = 0
done

# The control's golden rows hold the scores of the original, so it is compared by its metrics, not registered.
for model in model/model torn; do
    check "metrics of $model" step evaluate '{"metrics": ["auc"]}' "$work/control-${model##*/}" --input "features=$work/features/features" --input "model=$work/$model"
done
check "ids permuted alone change the scores" bash -c "! cmp -s <(grep -o '\"auc\":[^,}]*' '$work/control-model.result') <(grep -o '\"auc\":[^,}]*' '$work/control-torn.result')"

check_sum
