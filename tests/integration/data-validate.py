#!/usr/bin/env python3
"""data-validate by hand and under the contract, on small files that this script writes: formats, every rule, baselines,
memo, equal digests, S3. Exit codes and messages are what a user sees.

usage: data-validate.py [NAME…]   only cases whose function's name has one of the words
"""
import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
import yard  # noqa: E402

PROGRAM = yard.BIN / "data-validate"
CASES = yard.Cases()
WORK = Path(tempfile.mkdtemp(prefix="data-validate-"))
COLUMNS = [
    {"name": "id", "type": "int64", "nullable": False},
    {"name": "price", "type": "double", "min": 0, "max": 1000, "maxNullFraction": 0.1},
    {"name": "kind", "type": "string", "values": ["a", "b", "c"]},
    {"name": "country", "type": "string", "pattern": "[A-Z]{2}"},
    {"name": "time", "type": "timestamp", "nullable": False},
    {"name": "y", "type": "int32", "nullable": False},
]


def row(day, i):
    """A row of the healthy table: fields by name."""
    return {"id": day * 1000 + i, "price": round((i * 37 % 101) * 1.5, 2), "kind": "abc"[i * 7 % 3], "country": "DE" if i % 2 else "FR",
            "time": f"2026-01-{day:02d} {i % 24:02d}:{i % 60:02d}:00", "y": (i * 13 // 7) % 2}


def rows(day, n=400):
    return [row(day, i) for i in range(n)]


def csv(table, names=None):
    names = names or list(table[0])
    return "\n".join([",".join(names)] + [",".join("" if r.get(n) is None else str(r[n]) for n in names) for r in table]) + "\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def source(name, days=4, change=None):
    """Daily CSV partitions; change(day, rows) → rows."""
    root = WORK / name / "table"
    shutil.rmtree(root.parent, ignore_errors=True)
    for day in range(1, days + 1):
        table = rows(day)
        write(root / f"day=2026-01-{day:02d}" / "part.csv", csv(change(day, table) if change else table))
    return root


def config(root, **more):
    out = {"source": {"uri": f"{root}/", "window": 3}, "columns": COLUMNS}
    for key, value in more.items():
        out[key] = value
    return out


class Outcome:
    def __init__(self, process, out):
        self.code, self.out, self.log = process.returncode, Path(out), process.stderr
        self.result = json.loads(process.stdout) if process.stdout.strip().startswith("{") else {}
        self.message = ""
        for line in process.stderr.splitlines():
            if line.startswith("{"):
                entry = json.loads(line)
                if entry.get("msg") in ("failed", "stopped"):
                    self.message, self.reason = entry["why"], entry.get("reason", "")
        self.values = self.result.get("values", {})
        self.outputs = self.result.get("outputs", {})


def run(conf, *options, out=None, env=None, **kwargs):
    """By hand."""
    out = out or WORK / "out"
    path = WORK / "config.json"
    path.write_text(json.dumps(conf))
    process = subprocess.run([str(PROGRAM), "--config", str(path), "--output", str(out), "--scheduled-time", "2026-01-05T02:00:00Z", "--log-format", "json", *options],
                             capture_output=True, text=True, timeout=120, env={**os.environ, "TMPDIR": str(WORK), **(env or {})}, **kwargs)
    return Outcome(process, out)


def refused(name, outcome, code, *words):
    missing = [w for w in words if w not in outcome.message]
    CASES.check(name, outcome.code == code and not missing, f"exit {outcome.code} (expected {code}): {outcome.message}" + (f" [lacks {missing}]" if missing else ""))


def passes(name, outcome):
    return CASES.check(name, outcome.code == 0, f"exit {outcome.code}: {outcome.message}" if outcome.code else "")


def part_digests(outcome):
    manifest = json.loads((outcome.out / "snapshot" / "manifest.json").read_text())
    return {f["name"].split("-", 1)[1]: f["sha256"] for f in manifest["files"]}


# --- what passes ----------------------------------------------------------------------------------------


def test_formats():
    root = source("formats")
    full = config(root, unique=[["id"]], volume={"tolerance": 0.1}, drift={"max": 0.3, "columns": ["price", "kind", "y"]}, freshness={"column": "time", "maxAge": "36h"}, leakage={"label": "y"},
                  checks=[{"name": "cheap", "sql": "price < 500 or price is null"}, {"name": "many", "aggregate": "count(*)", "min": 300}])
    plain = run(full)
    passes("healthy CSV passes every rule", plain)
    CASES.equal("values", {k: plain.values.get(k) for k in ("rows", "partitions", "newest_partition", "warnings", "newest_time")},
                {"rows": 1200, "partitions": 3, "newest_partition": "day=2026-01-04", "warnings": 0, "newest_time": "2026-01-04T23:59:00Z"})
    CASES.check("snapshot has a part for each file of the window", sorted(part_digests(plain)) == [f"day=2026-01-0{d}.parquet" for d in (2, 3, 4)], str(sorted(part_digests(plain))))
    packed = WORK / "formats" / "packed"
    jsonl = WORK / "formats" / "jsonl"
    for day in range(1, 5):
        write(packed / f"day=2026-01-{day:02d}" / "part.csv.gz", csv(rows(day)))
        write(jsonl / f"day=2026-01-{day:02d}" / "part.jsonl", "".join(json.dumps(r) + "\n" for r in rows(day)))
    gz = run({**full, "source": {"uri": f"{packed}/", "window": 3}}, out=WORK / "gz")
    passes("the same, packed with gzip", gz)
    CASES.equal("gives the same snapshot", gz.outputs.get("snapshot"), plain.outputs.get("snapshot"))
    lines = run({**full, "source": {"uri": f"{jsonl}/", "window": 3}}, out=WORK / "jsonl")
    passes("the same as JSON-lines", lines)
    CASES.equal("gives the same snapshot", lines.outputs.get("snapshot"), plain.outputs.get("snapshot"))
    if shutil.which("zstd"):
        for path in jsonl.rglob("*.jsonl"):
            subprocess.run(["zstd", "-q", "--rm", str(path)], check=True)
        CASES.equal("and so with zstd", run({**full, "source": {"uri": f"{jsonl}/", "window": 3}}, out=WORK / "zst").outputs.get("snapshot"), plain.outputs.get("snapshot"))
    else:
        CASES.skip("zstd", "zstd is not installed")
    parquet = WORK / "formats" / "parquet"
    shutil.copytree(plain.out / "snapshot" / "data", parquet)
    again = run({**full, "source": {"uri": f"{parquet}/*.parquet"}}, out=WORK / "parquet")
    passes("its own parts pass as a source of files", again)
    CASES.equal("Parquet that is right already is taken as it is", sorted(part_digests(again).values()), sorted(part_digests(plain).values()))
    one = run({"source": {"uri": f"{root}/day=2026-01-01/part.csv"}})
    passes("a single file without rules", one)
    CASES.equal("its rows", one.values.get("rows"), 400)
    listed = run(config(root, columns=COLUMNS + [{"name": "day", "type": "date"}]))
    passes("a folder's key=value is a column when it is listed", listed)
    CASES.check("the report stands by itself", all(w not in (plain.out / "report" / "report.html").read_text() for w in ("http://", "https://", "<script")))


def test_equal_digests():
    root = source("equal", days=6)
    conf = config(root, drift={"max": 0.3, "columns": ["price", "kind", "y"]}, unique=[["id"]], leakage={"label": "y"})
    first = run(conf, "--threads", "1")
    passes("one thread", first)
    for threads in ("2", "5"):
        for _ in range(2):
            CASES.equal(f"{threads} threads give equal digests", run(conf, "--threads", threads, out=WORK / "equal-out").outputs, first.outputs)
    elsewhere = WORK / "equal" / "moved"
    shutil.copytree(root, elsewhere)
    CASES.equal("so does another folder", run({**conf, "source": {"uri": f"{elsewhere}/", "window": 3}}, out=WORK / "equal-out").outputs, first.outputs)
    newer = run({**conf, "source": {"uri": f"{root}/", "partition": "day=2026-01-06", "window": 3}}, out=WORK / "newer")
    older = run({**conf, "source": {"uri": f"{root}/", "partition": "day=2026-01-05", "window": 3}}, out=WORK / "older")
    common = set(part_digests(newer)) & set(part_digests(older))
    CASES.check("windows of two days share two parts", len(common) == 2 and all(part_digests(newer)[n] == part_digests(older)[n] for n in common), str(common))


# --- what is refused -------------------------------------------------------------------------------------


def newest(change):
    return lambda day, table: change(table) if day == 4 else table


def put(index, **fields):
    return lambda table: [({**r, **fields} if i == index else r) for i, r in enumerate(table)]


def test_schema():
    refused("a missing column", run(config(source("schema", change=newest(lambda t: [{k: v for k, v in r.items() if k != "price"} for r in t])))), 65, "price", "column", "missing", "double",
            "day=2026-01-04")
    refused("a wrong type", run(config(source("schema", change=newest(lambda t: [{**r, "price": f"EUR {r['price']}"} for r in t])))), 65, "price", "type", "double", "EUR")
    refused("one value that does not fit", run(config(source("schema", change=newest(put(7, price="free"))))), 65, "price", "1 values are no double", "free")
    refused("an unlisted column that is gone", run(config(source("schema", change=lambda d, t: [{**r, "extra": 1} for r in t] if d < 4 else t))), 65, "extra", "missing", "day=2026-01-03")
    passes("a new unlisted column is allowed", run(config(source("schema", change=newest(lambda t: [{**r, "extra": 1} for r in t])))))
    passes("so are reordered columns", run(config(source("schema", change=newest(lambda t: [dict(reversed(r.items())) for r in t])))))
    wrong = run(config(source("schema"), columns=COLUMNS + [{"name": "prise"}]))
    refused("a misspelt column is suggested", wrong, 65, "prise", "price")
    warned = run(config(source("schema"), columns=COLUMNS + [{"name": "absent", "level": "warn", "min": 1}]))
    passes("a missing column may be a warning", warned)
    CASES.equal("which is counted", warned.values.get("warnings"), 1)


def test_rows():
    bad = run(config(source("rows", change=newest(put(5, price=-3)))))
    refused("a value below its range", bad, 65, "price", "range", "min 0", "-3", "part.csv row 6")
    violations = json.loads((bad.out / "report" / "violations.json").read_text())["findings"]
    CASES.equal("the row is kept", violations[0]["rows"], [{"file": "day=2026-01-04/part.csv", "row": 6, "value": "-3"}])
    CASES.check("a refused table leaves no snapshot", not (bad.out / "snapshot").exists())
    refused("an unknown value", run(config(source("rows", change=newest(put(5, kind="z"))))), 65, "kind", "values", "a, b, c", "\"z\"")
    refused("a value against its pattern", run(config(source("rows", change=newest(put(5, country="Germany"))))), 65, "country", "[A-Z]{2}", "Germany")
    refused("nulls where none may be", run(config(source("rows", change=newest(put(5, id=None))))), 65, "id", "null", "nullable: false", "row 6")
    refused("too many nulls", run(config(source("rows", change=newest(lambda t: [{**r, "price": None if i % 4 == 0 else r["price"]} for i, r in enumerate(t)])))), 65, "price", "null", "0.1",
            "100 of 400")
    check = [{"name": "cheap", "sql": "price < 100", "maxViolations": 3}]
    refused_row = run(config(source("rows", change=newest(put(5, price=999))), checks=check))
    refused("a row check", refused_row, 65, "check cheap", "maxViolations 3", "price < 100")
    shown = json.loads((refused_row.out / "report" / "violations.json").read_text())["findings"][0]["rows"]
    CASES.check("its rows are shown whole", all(json.loads(r["value"])["price"] >= 100 for r in shown[:10]), str(shown[:2]))
    passes("nulls pass a row check, and so many violations are allowed", run(config(source("rows", change=lambda d, t: put(5, price=None)([{**r, "price": 1} for r in t])), checks=check)))
    refused("an aggregate check", run(config(source("rows"), checks=[{"name": "many", "aggregate": "count(distinct id)", "min": 1000}])), 65, "check many", "min 1000", "400")
    refused("a repeated key", run(config(source("rows", change=lambda d, t: t + t[:2] if d == 3 else t), unique=[["id", "kind"]])), 65, "unique", "id, kind", "2 keys", "3000")
    warned = run(config(source("rows", change=newest(put(5, price=-3))), columns=[{**c, "level": "warn"} for c in COLUMNS]))
    passes("rules of level warn do not refuse", warned)
    CASES.equal("but count", warned.values.get("warnings"), 1)
    refused("an older partition's rows count, too", run(config(source("rows", change=lambda d, t: put(5, price=-3)(t) if d == 2 else t))), 65, "price", "day=2026-01-02/part.csv row 6")
    passes("those before the window do not", run(config(source("rows", change=lambda d, t: put(5, price=-3)(t) if d == 1 else t))))


def test_references():
    root = source("references")
    other = WORK / "references" / "countries.csv"
    write(other, "code,name\nDE,Germany\nFR,France\n")
    rule = [{"name": "country", "columns": ["country"], "table": {"uri": str(other), "columns": ["code"]}}]
    passes("all values occur in the other table", run(config(root, references=rule)))
    write(other, "code,name\nDE,Germany\n")
    refused("some do not", run(config(root, references=rule)), 65, "reference country", "600 rows", "FR")


def test_baselines():
    volume = {"tolerance": 0.2}
    refused("volume", run(config(source("baselines", change=newest(lambda t: t[:100])), volume=volume)), 65, "volume", "rows", "400", "100", "0.2")
    first = run({**config(source("baselines", days=1), volume=volume, drift={"max": 0.2})})
    passes("the first partition has no baseline", first)
    CASES.equal("which is said twice", first.values.get("warnings"), 2)
    drift = {"max": 0.2, "columns": ["price", "kind"]}
    shifted = newest(lambda t: [{**r, "price": r["price"] * 3} for r in t])
    for method in ("psi", "ks", "js", "chi2"):
        refused(f"drift by {method}", run(config(source("baselines", change=shifted), drift={**drift, "method": method})), 65, "price", method, "0.2", "day=2026-01-03")
    refused("drift of a text", run(config(source("baselines", change=newest(lambda t: [{**r, "kind": "a"} for r in t])), drift=drift)), 65, "kind", "psi")
    few = run(config(source("baselines", change=newest(lambda t: t[:6])), drift=drift))
    passes("six rows are too few to tell", few)
    # Day 3 is shifted and would be refused; day 4 is like it. It must not pass because day 3 is its predecessor.
    later = run(config(source("baselines", change=lambda d, t: [{**r, "price": r["price"] * 3} for r in t] if d >= 3 else t), drift=drift))
    refused("a refused partition is no baseline for the next", later, 65, "price", "psi", "day=2026-01-02")
    for baseline in ("trailing:2", "sameWeekday"):
        root = source("baselines", days=9, change=lambda d, t: [{**r, "price": r["price"] * 3} for r in t] if d == 9 else t)
        refused(f"baseline {baseline}", run(config(root, drift={**drift, "baseline": baseline})), 65, "price", "psi")
    root = source("baselines")
    profile = run(config(root), out=WORK / "pinned").out / "profile"
    digest = hashlib.sha256((profile / "profile.json").read_bytes()).hexdigest()
    pinned = {**drift, "baseline": f"{profile}/profile.json@{digest}"}
    passes("a pinned profile as baseline", run(config(root, drift=pinned)))
    refused("which drift is seen against", run(config(source("baselines", change=shifted), drift=pinned)), 65, "price", "psi", digest[:8])
    refused("and whose digest counts", run(config(root, drift={**drift, "baseline": f"{profile}/profile.json@{'0' * 64}"})), 66, "digest")
    logs = WORK / "served" / "served.csv"
    root = source("baselines")
    write(logs, csv([{**r, "price": r["price"] * 3} for r in rows(4)]))
    refused("training-serving skew", run(config(root, servingLogs={"uri": str(logs), "max": 0.2})), 65, "price", "serving", "psi")
    refused("a column that knows the label", run(config(source("baselines", change=newest(lambda t: [{**r, "dwell": 3000 + r["id"] if r["y"] else 0} for r in t])), leakage={"label": "y"})), 65, "dwell",
            "y", "AUC", "0.95")
    refused("a label that is none", run(config(root, leakage={"label": "price"})), 65, "price", "0 or 1")


def test_freshness():
    root = source("freshness")
    rule = {"column": "time", "maxAge": "36h"}
    passes("fresh enough", run(config(root, freshness=rule), "--scheduled-time", "2026-01-05T12:00:00Z"))
    refused("too old", run(config(root, freshness=rule), "--scheduled-time", "2026-01-06T13:00:00Z"), 65, "stale", "time", "36h", "2026-01-04T23:59:00Z")
    old = run(config(root, freshness={**rule, "level": "warn"}), "--scheduled-time", "2026-03-01T00:00:00Z")
    passes("old data may be a warning", old)
    fresh = run(config(root, freshness={**rule, "level": "warn"}), "--scheduled-time", "2026-01-05T00:00:00Z", out=WORK / "fresh")
    CASES.equal("whose age is in no artifact", old.outputs, fresh.outputs)
    CASES.equal("but in the values", (old.values.get("warnings"), fresh.values.get("warnings")), (1, 0))


def test_what_the_user_got_wrong():
    root = source("wrong")
    refused("an unknown field", run({**config(root), "uniqe": []}), 78, "uniqe", "unique")
    refused("no data", run(config(WORK / "nowhere")), 66, "nowhere")
    refused("a partition that is not there", run({**config(root), "source": {"uri": f"{root}/", "partition": "day=2026-01-09"}}), 66, "day=2026-01-09", "day=2026-01-04")
    for sql, word in (("(select max(id) from read_csv('/etc/passwd')) > 1", "sub-select"), ("now() > time", "now"), ("price >", "parse"), ("nothing > 1", "nothing"), ("sum(price) > 1", "aggregate"),
                      ("1) from read_text('/etc/passwd') where (true", "parse"), ("copy (select 1) to '/tmp/x'", "parse")):
        refused(f"SQL {sql}", run(config(root, checks=[{"name": "c", "sql": sql}])), 78, word)
    refused("an aggregate that reads a file", run(config(root, checks=[{"name": "c", "aggregate": "(select count(*) from read_text('/etc/passwd'))", "min": 1}])), 78, "sub-select")
    refused("a broken pattern", run(config(root, columns=[{"name": "kind", "pattern": "["}])), 78, "missing ]")
    refused("a range on a text", run(config(root, columns=[{"name": "kind", "min": 1}])), 78, "kind", "VARCHAR")
    refused("too little scratch", run(config(root), "--scratch-size", "1Ki"), 78, "scratch")
    broken = source("wrong")
    write(broken / "day=2026-01-04" / "part.parquet", "not parquet at all")
    refused("a damaged file", run({**config(broken), "source": {"uri": f"{broken}/", "format": "parquet"}}), 65, "part.parquet")
    write(broken / "day=2026-01-04" / "part.parquet", "")
    refused("an empty file", run({**config(broken), "source": {"uri": f"{broken}/", "format": "parquet"}}), 65, "part.parquet", "empty")
    CASES.check("nothing is left in the scratch folder", not [p for p in WORK.iterdir() if p.name.startswith("data-validate-")], str([p.name for p in WORK.iterdir()]))


def test_changing_source():
    root = source("changing")
    path = root / "day=2026-01-04" / "part.csv"
    text, stop = path.read_text(), threading.Event()

    def rewrite():
        while not stop.is_set():
            path.write_text(text[: len(text) // 2])
            path.write_text(text)
            time.sleep(0.001)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        time.sleep(0.1)
        refused("a file that changes while it is read", run(config(root)), 75, "changed", "part.csv")
    finally:
        stop.set()
        thread.join()
    passes("passes once it is left alone", run(config(root)))


# --- under the contract ----------------------------------------------------------------------------------


def contract(conf, uid, store, scheduled="2026-01-05T02:00:00Z", attempt="1", **env):
    place = WORK / "contract"
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(conf))
    result = place / "result.json"
    result.unlink(missing_ok=True)
    variables = {"TRAINYARD_RUN": uid, "TRAINYARD_RUN_UID": uid, "TRAINYARD_STEP": "validate", "TRAINYARD_ATTEMPT": attempt, "TRAINYARD_STORE": str(store), "TRAINYARD_CONFIG": str(place / "config.json"),
                 "TRAINYARD_RESULT": str(result), "TRAINYARD_SCRATCH": str(place), "TRAINYARD_SCHEDULED_TIME": scheduled, "TRAINYARD_LOG_FORMAT": "json", **env}
    process = subprocess.run([str(PROGRAM)], capture_output=True, text=True, timeout=120, env={**os.environ, **variables})
    outcome = Outcome(process, place)
    outcome.result = json.loads(result.read_text())
    outcome.values, outcome.outputs = outcome.result.get("values", {}), outcome.result.get("outputs", {})
    return outcome


def test_memo():
    root = source("memo")
    store = f"file://{WORK}/memo/store"
    conf = config(root, freshness={"column": "time", "maxAge": "36h"})
    first = contract(conf, "r1", store)
    passes("a run", first)
    second = contract(conf, "r2", store)
    CASES.equal("the next finds its result", (second.code, second.result.get("cached"), second.outputs), (0, True, first.outputs))
    refused("but looks at the clock again", contract(conf, "r3", store, scheduled="2026-02-01T00:00:00Z"), 65, "stale", "36h")
    path = root / "day=2026-01-04" / "part.csv"
    text = path.read_text()
    time.sleep(0.02)
    path.write_text(text)
    third = contract(conf, "r4", store)
    CASES.equal("a file written anew is read anew, with the same result", (third.code, third.result.get("cached"), third.outputs), (0, None, first.outputs))
    parts = list((WORK / "memo" / "store" / "shared" / "sha256").iterdir())
    CASES.equal("four runs store three parts", len(parts), 3)
    parts[0].chmod(0o644)
    parts[0].unlink()
    fourth = contract(conf, "r5", store)
    CASES.equal("a memo whose part is gone is made good", (fourth.code, fourth.result.get("cached"), fourth.outputs), (0, None, first.outputs))


def test_failure_is_kept():
    root = source("kept", change=newest(put(5, price=-3)))
    store = WORK / "kept" / "store"
    bad = contract(config(root), "r1", f"file://{store}", attempt="2")
    CASES.equal("the result names the failure", (bad.code, bad.result["error"]["class"], bad.result["error"]["reason"]), (65, "user", "validation"))
    kept = store / "runs/r1/validate/g0/logs/a2-report/report.html"
    CASES.check("the report is kept beside the log", kept.exists() and (store / "runs/r1/validate/g0/logs/a2.jsonl").exists())
    CASES.check("and its path is told", str(kept) in bad.log, bad.log[-400:])
    CASES.check("nothing is committed", not (store / "runs/r1/validate/g0/result.json").exists() and not (store / "memo").exists())


def test_sigterm():
    root = WORK / "sigterm" / "table"
    for day in range(1, 61):
        write(root / f"day=2026-{1 + day // 28:02d}-{1 + day % 28:02d}" / "part.csv", csv(rows(1, 3000)))
    conf = WORK / "sigterm.json"
    conf.write_text(json.dumps({"source": {"uri": f"{root}/"}}))
    process = subprocess.Popen([str(PROGRAM), "--config", str(conf), "--output", str(WORK / "sigterm-out")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.25)
    process.send_signal(signal.SIGTERM)
    out, log = process.communicate(timeout=60)
    if process.returncode == 0:
        CASES.skip("SIGTERM", "the step was done before the signal came")
    else:
        CASES.equal("SIGTERM ends it with 75", process.returncode, 75)


def test_s3():
    try:
        from versitygw import Versitygw
        import storetool
        storetool.build_tool()
        server = Versitygw(WORK / "s3" / "data")
    except (ImportError, FileNotFoundError, subprocess.CalledProcessError) as e:
        CASES.skip("S3", str(e))
        return
    root = source("s3-source")
    conf = config(root, drift={"max": 0.3, "columns": ["price", "kind", "y"]})
    local = run(conf)
    (WORK / "s3" / "data" / "lake").mkdir(parents=True, exist_ok=True)
    with server as s3:
        tool = storetool.Tool("s3://lake/clicks", endpoint=s3.endpoint)
        for path in sorted(root.rglob("*.csv")):
            tool("putfile", str(path.relative_to(root)), str(path))
        env = {"AWS_ACCESS_KEY_ID": s3.access, "AWS_SECRET_ACCESS_KEY": s3.secret, "AWS_ENDPOINT_URL": s3.endpoint}
        remote = {**conf, "source": {"uri": "s3://lake/clicks/", "window": 3}}
        far = run(remote, env=env, out=WORK / "s3-out")
        passes("a source in S3", far)
        CASES.equal("gives equal digests", far.outputs, local.outputs)
        description = WORK / "s3" / "store.json"
        description.write_text(json.dumps({"url": "s3://lake/artifacts", "endpoint": s3.endpoint}))
        first = contract(remote, "r1", description, **env)
        CASES.equal("so does a store there", first.outputs, local.outputs)
        CASES.equal("and the memo is found", contract(remote, "r2", description, **env).result.get("cached"), True)


def main():
    if not PROGRAM.exists():
        print(f"{PROGRAM} is not built")
        return 77
    try:
        for name, case in list(globals().items()):
            if name.startswith("test_") and (len(sys.argv) == 1 or any(w in name for w in sys.argv[1:])):
                case()
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    return CASES.finish()


sys.exit(main())
