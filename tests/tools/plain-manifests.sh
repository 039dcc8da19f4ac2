#!/usr/bin/env bash
# The chart with its default values as plain manifests, on standard output.
set -euo pipefail
cd "$(dirname "$0")/../.."
helm=${HELM:-$(python3 tests/cluster/tools.py path helm)}
echo "# Made from charts/trainyard by \`make plain-manifests\`; do not edit."
# The release's name stands for Helm in a label that says who manages an object.
"$helm" template trainyard charts/trainyard --namespace trainyard-system --no-hooks 2>/dev/null |
    sed -e 's|app.kubernetes.io/managed-by: Helm|app.kubernetes.io/managed-by: kustomize|' -e '/^# Source: /d' -e '/helm.sh\/chart: /d'
