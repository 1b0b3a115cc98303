#!/usr/bin/env bash
# The board and the alerts under deploy/: rules that Prometheus takes and that fire on what they are for, a board that
# Grafana takes, and no metric in either that the server does not tell.
#
# Needs Debian's python3-yaml (PYTHON names another Python that has PyYAML), and promtool (Debian: prometheus, unpacked is
# enough; PROMTOOL names it where it is not in PATH). Nothing is started.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PROMTOOL=${PROMTOOL:-promtool}
WORK=$(mktemp -d /tmp/e2e-deploy.XXXXXX)
trap 'rm -rf "$WORK"' EXIT
export LC_ALL=C

echo "== deploy"
command -v "$PROMTOOL" >/dev/null || { echo "deploy: no promtool (Debian: prometheus)" >&2; exit 1; }
cd "$ROOT/deploy/prometheus"

"$PROMTOOL" check config prometheus.yml
"$PROMTOOL" check rules alerts.yml
"$PROMTOOL" test rules alerts_test.yml
# Each alert has a test in which it fires.
"${PYTHON:-/usr/bin/python3}" - <<'PYTHON'
import sys, yaml
rules = [rule for group in yaml.safe_load(open("alerts.yml"))["groups"] for rule in group["rules"]]
tests = yaml.safe_load(open("alerts_test.yml"))["tests"]
fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
silent = {case["alertname"] for test in tests for case in test["alert_rule_test"] if not case.get("exp_alerts")}
wrong = [f"{rule['alert']} never {word} in alerts_test.yml" for rule in rules
         for word, seen in (("fires", fired), ("is silent", silent)) if rule["alert"] not in seen]
wrong += [f"{rule['alert']} lacks {what}" for rule in rules for what in ("summary", "description")
          if not rule.get("annotations", {}).get(what)]
sys.exit("\n".join(wrong) or None)
PYTHON
echo "  ok: every alert fires on what it is for"

# What Grafana needs of a board, and the expressions in it for promtool.
"${PYTHON:-/usr/bin/python3}" - "$ROOT/deploy/grafana/alternator-dns.json" "$WORK/board.yml" <<'PYTHON'
import json, sys, yaml
board, wrong, rules = json.load(open(sys.argv[1])), [], []
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
def need(condition, what):
    if not condition:
        wrong.append(what)
need(board.get("uid") == "alternator-dns" and len(board["uid"]) <= 40, "the uid")
need(board.get("title") and "id" not in board, "a title, and no id: that is the instance's to give")
need(isinstance(board.get("schemaVersion"), int) and board["schemaVersion"] >= 36, "the schemaVersion")
variables = {variable["name"]: variable for variable in board["templating"]["list"]}
need(variables.get("datasource", {}).get("type") == "datasource", "a variable for the data source")
for name, variable in variables.items():
    need(name == "datasource" or variable.get("datasource") == SOURCE, f"variable {name}: the data source")
panels = board["panels"]
need(len({panel["id"] for panel in panels}) == len(panels), "panels with numbers of their own")
taken = {}
for panel in panels:
    title, place = panel.get("title"), panel.get("gridPos", {})
    need(title and set(place) == {"h", "w", "x", "y"}, f"panel {panel['id']}: a title and a place")
    need(place["x"] + place["w"] <= 24, f"{title}: beyond the edge")
    for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
        need(cell not in taken, f"{title} covers {taken.get(cell)}")
        taken[cell] = title
    if panel["type"] == "row":
        continue
    need(panel.get("datasource") == SOURCE, f"{title}: the data source")
    need(panel.get("targets"), f"{title}: no query")
    need(len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), f"{title}: a refId twice")
    for target in panel["targets"]:
        need(target.get("datasource") == SOURCE, f"{title}: the data source of {target['refId']}")
        rules.append(target["expr"])
rules += [annotation["expr"] for annotation in board["annotations"]["list"] if "expr" in annotation]
for name in ("__rate_interval", *variables):
    rules = [rule.replace("$" + name, "5m" if name == "__rate_interval" else ".*") for rule in rules]
need(not any("$" in rule for rule in rules), f"variables that are not there: {[rule for rule in rules if '$' in rule]}")
names = [{"record": f"board:{number}", "expr": rule} for number, rule in enumerate(rules)]
json.dump({"groups": [{"name": "board", "rules": names}]}, open(sys.argv[2], "w"))
sys.exit("\n".join(wrong) or None)
PYTHON
"$PROMTOOL" check rules "$WORK/board.yml" >"$WORK/log" || { cat "$WORK/log" >&2; exit 1; }
echo "  ok: the board is one"

# Every metric and label in board and alerts is told by the server: the list that a test holds it to.
"${PYTHON:-/usr/bin/python3}" - "$ROOT/tests/integration/admin/metrics.txt" alerts.yml "$WORK/board.yml" <<'PYTHON'
import re, sys, yaml
known = {"up": set()}
for line in open(sys.argv[1]):
    if not line.startswith("#") and line.strip():
        name, kind, *labels = line.split()
        for end in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
            known[name + end] = {*labels, *(["le"] if end == "_bucket" else [])}
wrong, used = set(), set()
for path in sys.argv[2:]:
    for group in yaml.safe_load(open(path))["groups"]:
        for rule in group["rules"]:
            where = f"{rule.get('alert') or 'the board'}: {rule['expr'].strip()}"
            text = re.sub(r'"[^"]*"', '""', rule["expr"])
            for name, selector in re.findall(r"\b((?:alternator_dns|process)_[a-z_]+|up)\b(?:\{([^}]*)\})?", text):
                used.add(name)
                if name not in known:
                    wrong.add(f"{where}: nobody tells {name}")
                    continue
                for label in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector):
                    if label not in known[name] | {"job", "instance"}:
                        wrong.add(f"{where}: {name} has no label {label}")
assert len(used) > 20, used
sys.exit("\n".join(sorted(wrong)) or None)
PYTHON
echo "  ok: every metric in board and alerts is told"
echo "deploy: ok"
