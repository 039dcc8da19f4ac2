"""The same job in Polars, DuckDB and pandas with scikit-learn: read 30 daily partitions, validate, write a snapshot, fit features
on the training days, write train (shuffled), validation and held-out rows. Each function returns what the others are compared by.

run as: peers.py PEER SOURCE OUT PARAMETERS.json      prints one JSON line {"seconds", "outputs"}; imports are not timed
"""
import json
import sys
import time
from pathlib import Path

SETS = {"user_segment": ["bargain", "casual", "collector", "family", "gift", "premium"], "device": ["desktop", "phone", "tablet", "tv"]}
REQUIRED = ["session_id", "user_id", "item_id", "category", "user_segment", "device", "country", "position", "time", "clicked"]
VOCABULARIES = {"item": ("item_id", 5), "category": ("category", 5), "segment": ("user_segment", 1), "device": ("device", 1), "country": ("country", 1)}
EDGES = 10  # PSI bins, from the quantiles of the previous partition


def psi(a, b):
    import numpy as np
    a, b = np.maximum(a / a.sum(), 1e-6), np.maximum(b / b.sum(), 1e-6)
    return float(((a - b) * np.log(a / b)).sum())


def run_polars(files, out, p):
    import numpy as np
    import polars as pl
    df = pl.scan_parquet(files).with_columns(pl.lit(0).alias("_")).drop("_").collect(engine="streaming")
    checks = df.select(
        *[pl.col(c).null_count().alias(f"null_{c}") for c in [*REQUIRED, "price"]],
        *[(~pl.col(c).is_in(v)).sum().alias(f"set_{c}") for c, v in SETS.items()],
        (~pl.col("country").str.contains("^[A-Z]{2}$")).sum().alias("pattern"),
        ((pl.col("position") < 1) | (pl.col("position") > 10)).sum().alias("range_position"),
        (pl.col("price") < 0).sum().alias("range_price"),
        (~pl.col("clicked").is_in([0, 1])).sum().alias("binary"),
        pl.col("session_id").n_unique().alias("sessions"),
        pl.struct("session_id", "item_id").n_unique().alias("distinct"),
        pl.col("time").max().alias("newest"),
    ).to_dicts()[0]
    day = df["time"].dt.truncate("1d")
    last, previous = df.filter(day == p["last"]), df.filter(day == p["previous"])
    edges = np.quantile(previous["price"].to_numpy(), np.linspace(0, 1, EDGES + 1)[1:-1])
    drift = psi(np.bincount(np.searchsorted(edges, last["price"].to_numpy()), minlength=EDGES), np.bincount(np.searchsorted(edges, previous["price"].to_numpy()), minlength=EDGES))
    df.write_parquet(out / "snapshot.parquet")

    df = df.sort("session_id", "item_id", "time").unique(["session_id", "item_id"], keep="first", maintain_order=True).filter(pl.col("position").is_between(1, 10))
    df = df.with_columns((1 + pl.col("price")).log().alias("x"), pl.col("time").dt.hour().alias("hour"))
    split = pl.when(pl.col("time") < p["validation_from"]).then(0).when(pl.col("time") < p["test_from"]).then(1).otherwise(2)
    df = df.with_columns(split.cast(pl.Int8).alias("split"))
    train = df.filter(pl.col("split") == 0)
    low, high, median = (train["x"].quantile(q, "linear") for q in (0.001, 0.999, 0.5))
    x = train["x"].fill_null(median).clip(low, high)
    mean, sd = x.mean(), x.std(ddof=0)
    columns = [((pl.col("x").fill_null(median).clip(low, high) - mean) / sd).cast(pl.Float32).alias("price"), pl.col("x").is_null().cast(pl.Float32).alias("price_missing"),
               (pl.col("hour").cast(pl.Int32) + p["first"]["hour"]).alias("hour"), (pl.col("position").cast(pl.Int32) - 1 + p["first"]["position"]).alias("position")]
    for name, (column, minimum) in VOCABULARIES.items():
        counts = train.group_by(column).len().filter(pl.col("len") >= minimum).sort(["len", column], descending=[True, False])
        ids = counts.select(column).with_columns((pl.int_range(pl.len(), dtype=pl.Int32) + p["first"][name]).alias(f"id_{name}"))
        df = df.join(ids, on=column, how="left", maintain_order="left")
        columns.append(pl.col(f"id_{name}").fill_null(1).alias(name))
    shown = df.select(*columns, pl.col("clicked").cast(pl.Float32).alias("label"), "split", pl.struct("session_id", "item_id").hash(seed=17).alias("key"))
    features = shown.filter(pl.col("split") == 0).sort("key")
    features.write_parquet(out / "train.parquet", compression="uncompressed")
    shown.filter(pl.col("split") == 1).write_parquet(out / "validation.parquet", compression="uncompressed")
    df.filter(pl.col("split") > 0).write_parquet(out / "heldout.parquet")
    n = df["split"].value_counts()
    sizes = dict(zip(n["split"].to_list(), n["count"].to_list()))
    histogram = {name: features[name].value_counts().sort(name).rows() for name in [*VOCABULARIES, "hour", "position"]}
    return {"checks": int(sum(v for k, v in checks.items() if k.split("_")[0] in ("null", "set", "pattern", "range", "binary"))), "distinct": checks["distinct"], "sessions": checks["sessions"],
            "psi": drift, "train": sizes[0], "validation": sizes[1], "test": sizes[2], "sd": sd, "histogram": histogram}


def run_duckdb(files, out, p):
    import duckdb
    import numpy as np
    db = duckdb.connect()
    db.execute("SET preserve_insertion_order = false")
    listed = "[" + ", ".join(f"'{f}'" for f in files) + "]"
    db.execute(f"CREATE TABLE t AS SELECT * FROM read_parquet({listed})")
    row = db.execute(
        "SELECT " + " + ".join(f"count(*) FILTER ({c} IS NULL)" for c in [*REQUIRED, "price"]) + " + " +
        " + ".join(f"count(*) FILTER ({c} NOT IN ({', '.join(repr(v) for v in values)}))" for c, values in SETS.items()) +
        " + count(*) FILTER (NOT regexp_full_match(country, '[A-Z]{2}')) + count(*) FILTER (position < 1 OR position > 10) + count(*) FILTER (price < 0)"
        " + count(*) FILTER (clicked NOT IN (0, 1)), count(DISTINCT session_id), max(time) FROM t").fetchone()
    distinct = db.execute("SELECT count(*) FROM (SELECT DISTINCT session_id, item_id FROM t)").fetchone()[0]
    last = db.execute("SELECT price FROM t WHERE CAST(time AS DATE) = ?", [p["last"].date()]).fetchnumpy()["price"]
    previous = db.execute("SELECT price FROM t WHERE CAST(time AS DATE) = ?", [p["previous"].date()]).fetchnumpy()["price"]
    edges = np.quantile(previous, np.linspace(0, 1, EDGES + 1)[1:-1])
    drift = psi(np.bincount(np.searchsorted(edges, last), minlength=EDGES), np.bincount(np.searchsorted(edges, previous), minlength=EDGES))
    db.execute(f"COPY t TO '{out}/snapshot.parquet' (FORMAT parquet)")

    db.execute("CREATE TABLE d AS SELECT DISTINCT ON (session_id, item_id) *, ln(1 + price) AS x, extract(hour FROM time) AS hour, "
               "CASE WHEN time < ? THEN 0 WHEN time < ? THEN 1 ELSE 2 END AS split FROM t WHERE position BETWEEN 1 AND 10 ORDER BY session_id, item_id, time",
               [p["validation_from"], p["test_from"]])
    low, high, median = db.execute("SELECT quantile_cont(x, [0.001, 0.999, 0.5]) FROM d WHERE split = 0").fetchone()[0]
    clipped = f"least(greatest(coalesce(x, {median!r}), {low!r}), {high!r})"
    mean, sd = db.execute(f"SELECT avg({clipped}), stddev_pop({clipped}) FROM d WHERE split = 0").fetchone()
    selects, joins = [], []
    for name, (column, minimum) in VOCABULARIES.items():
        db.execute(f"CREATE TABLE v_{name} AS SELECT {column} AS value, CAST(row_number() OVER (ORDER BY count(*) DESC, {column}) - 1 + {p['first'][name]} AS INTEGER) AS id "
                   f"FROM d WHERE split = 0 GROUP BY {column} HAVING count(*) >= {minimum}")
        joins.append(f"LEFT JOIN v_{name} ON d.{column} = v_{name}.value")
        selects.append(f"coalesce(v_{name}.id, 1) AS {name}")
    db.execute(f"CREATE VIEW f AS SELECT CAST(({clipped} - {mean!r}) / {sd!r} AS FLOAT) AS price, CAST(x IS NULL AS FLOAT) AS price_missing, CAST(hour + {p['first']['hour']} AS INTEGER) AS hour, "
               f"CAST(position - 1 + {p['first']['position']} AS INTEGER) AS position, {', '.join(selects)}, CAST(clicked AS FLOAT) AS label, split, session_id, item_id FROM d {' '.join(joins)}")
    columns = "price, price_missing, hour, position, item, category, segment, device, country, label"
    db.execute(f"COPY (SELECT {columns} FROM f WHERE split = 0 ORDER BY hash(session_id, item_id)) TO '{out}/train.parquet' (FORMAT parquet, COMPRESSION uncompressed)")
    db.execute(f"COPY (SELECT {columns} FROM f WHERE split = 1) TO '{out}/validation.parquet' (FORMAT parquet, COMPRESSION uncompressed)")
    db.execute(f"COPY (SELECT * FROM d WHERE split > 0) TO '{out}/heldout.parquet' (FORMAT parquet)")
    sizes = dict(db.execute("SELECT split, count(*) FROM d GROUP BY split").fetchall())
    histogram = {name: db.execute(f"SELECT {name}, count(*) FROM '{out}/train.parquet' GROUP BY 1 ORDER BY 1").fetchall() for name in [*VOCABULARIES, "hour", "position"]}
    return {"checks": row[0], "distinct": distinct, "sessions": row[1], "psi": drift, "train": sizes[0], "validation": sizes[1], "test": sizes[2], "sd": sd, "histogram": histogram}


def run_pandas(files, out, p):
    import numpy as np
    import pandas as pd
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler
    df = pd.read_parquet(files)
    checks = int(df[[*REQUIRED, "price"]].isna().sum().sum() + sum((~df[c].isin(v)).sum() for c, v in SETS.items()) + (~df["country"].str.fullmatch("[A-Z]{2}")).sum()
                 + ((df["position"] < 1) | (df["position"] > 10)).sum() + (df["price"] < 0).sum() + (~df["clicked"].isin([0, 1])).sum())
    distinct, sessions = int((~df.duplicated(["session_id", "item_id"])).sum()), df["session_id"].nunique()
    day = df["time"].dt.normalize()
    last, previous = df.loc[day == p["last"], "price"].to_numpy(), df.loc[day == p["previous"], "price"].to_numpy()
    edges = np.quantile(previous, np.linspace(0, 1, EDGES + 1)[1:-1])
    drift = psi(np.bincount(np.searchsorted(edges, last), minlength=EDGES), np.bincount(np.searchsorted(edges, previous), minlength=EDGES))
    df.to_parquet(out / "snapshot.parquet")

    df = df.sort_values(["session_id", "item_id", "time"], kind="stable").drop_duplicates(["session_id", "item_id"])
    df = df[df["position"].between(1, 10)]
    split = np.where(df["time"] < p["validation_from"], 0, np.where(df["time"] < p["test_from"], 1, 2))
    x = np.log1p(df[["price"]].to_numpy())
    imputer = SimpleImputer(strategy="median").fit(x[split == 0])
    filled = imputer.transform(x)
    low, high = np.quantile(filled[split == 0], [0.001, 0.999])
    filled = filled.clip(low, high)
    scaler = StandardScaler().fit(filled[split == 0])
    features = pd.DataFrame({"price": scaler.transform(filled)[:, 0].astype(np.float32), "price_missing": np.isnan(x[:, 0]).astype(np.float32),
                             "hour": (df["time"].dt.hour + p["first"]["hour"]).to_numpy(np.int32), "position": (df["position"] - 1 + p["first"]["position"]).to_numpy(np.int32)})
    for name, (column, minimum) in VOCABULARIES.items():
        counts = df.loc[split == 0, column].value_counts().rename_axis("value").reset_index(name="n")
        counts = counts[counts["n"] >= minimum].sort_values(["n", "value"], ascending=[False, True])
        ids = pd.Series(np.arange(len(counts), dtype=np.int32) + p["first"][name], index=counts["value"])
        features[name] = df[column].map(ids).fillna(1).to_numpy(np.int32)
    features["label"] = df["clicked"].to_numpy(np.float32)
    train = features[split == 0].sample(frac=1, random_state=17)
    train.to_parquet(out / "train.parquet", compression=None)
    features[split == 1].to_parquet(out / "validation.parquet", compression=None)
    df[split > 0].to_parquet(out / "heldout.parquet")
    histogram = {name: [(int(k), int(v)) for k, v in train[name].value_counts().sort_index().items()] for name in [*VOCABULARIES, "hour", "position"]}
    return {"checks": checks, "distinct": distinct, "sessions": int(sessions), "psi": drift, "train": int((split == 0).sum()), "validation": int((split == 1).sum()),
            "test": int((split == 2).sum()), "sd": float(scaler.scale_[0]), "histogram": histogram}


def main():
    import datetime
    peer, source, out, parameters = sys.argv[1:]
    p = json.loads(Path(parameters).read_text())
    for key in ("last", "previous", "validation_from", "test_from"):
        p[key] = datetime.datetime.fromisoformat(p[key])
    files = sorted(str(f) for f in Path(source).glob("day=*/*.parquet"))[-30:]
    function = {"polars": run_polars, "duckdb": run_duckdb, "pandas": run_pandas}[peer]
    if peer == "polars":
        import polars  # noqa: F401
    elif peer == "duckdb":
        import duckdb  # noqa: F401
    else:
        import pandas, sklearn.impute, sklearn.preprocessing  # noqa: F401,E401
    Path(out).mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    outputs = function(files, Path(out), p)
    print(json.dumps({"seconds": time.monotonic() - begin, "outputs": outputs}))


if __name__ == "__main__":
    main()
