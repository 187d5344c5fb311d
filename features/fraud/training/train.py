"""Trains the fraud model from a dataset that Headwater wrote, and writes it with its manifest.

From the repository's root, with the packages of requirements.txt:

    node services/demo/write-history.ts --payments payments.ndjson --labels labels.ndjson
    npx headwater backtest --service fraud --events payments.ndjson --out dataset.parquet
    python features/fraud/training/train.py --dataset dataset.parquet --events payments.ndjson \
        --labels labels.ndjson --plan-hash HASH --version 1 --trained-at 2025-03-18T00:00:00Z \
        --out features/fraud/model/fraud

HASH is what `npx headwater plan` prints. The dataset (Parquet or CSV) has the event id as its first column and then
one column per feature, named `group.feature` or `derived.name`, rows in order of event time, as `headwater backtest`
writes it; the events' own fields join it as `request.field`. The labels are NDJSON with the same id under its name,
`fraud`, and optionally `warmUp`: such rows look back on too little history and are left out. Only numbers and booleans
become inputs; text columns are skipped.

The last quarter of the rows, in order of time, is kept for the metrics. Same data, same seed, same file.
"""

import argparse
import hashlib
import json
import pathlib
import sys

import numpy as np
import onnxruntime
import pandas as pd
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

MAX_DISTINCT_AS_BINS = 12
MIN_DECILE_EDGES = 5
MAX_MODEL_BYTES = 1_000_000
TEST_SHARE = 0.25
SCORE_OUTPUT = "probabilities"


def fail(message):
    sys.exit(f"train.py: {message}")


def read_table(path):
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix in (".ndjson", ".jsonl"):
        return pd.read_json(path, lines=True, dtype=False)
    if path.suffix == ".csv":
        return pd.read_csv(path, na_values=["\\N"])
    fail(f"{path}: expected a file that ends in .parquet, .csv, .ndjson or .jsonl")


def number_column(column):
    """The column as float64 with NaN for missing, or None for text and anything else."""
    present = column.dropna()
    if len(present) == 0:
        return None
    if pd.api.types.is_bool_dtype(present) or present.map(lambda value: isinstance(value, (bool, np.bool_))).all():
        return column.map(lambda value: np.nan if pd.isna(value) else float(bool(value))).to_numpy(np.float64)
    if present.dtype == object or pd.api.types.is_string_dtype(present):
        lowered = present.astype(str).str.lower()
        if lowered.isin(["true", "false"]).all():
            return column.map(lambda v: np.nan if pd.isna(v) else float(str(v).lower() == "true")).to_numpy(np.float64)
        try:
            return pd.to_numeric(column).to_numpy(np.float64)
        except (ValueError, TypeError):
            return None
    if pd.api.types.is_numeric_dtype(present):
        return column.to_numpy(np.float64, na_value=np.nan)
    return None


def default_for(values):
    """What stands in for a missing value: -1 says so where no value is negative, else the median."""
    present = values[~np.isnan(values)]
    return -1.0 if present.min() >= 0 else float(np.median(present))


def reference_edges(values):
    """Inner edges of the bins: every distinct value where there are few, else deciles, else also the upper tail."""
    distinct = np.unique(values)
    if len(distinct) <= MAX_DISTINCT_AS_BINS:
        return [float(edge) for edge in distinct]
    shares = np.arange(1, 10) / 10
    edges = np.unique(np.quantile(values, shares, method="higher"))
    if len(edges) < MIN_DECILE_EDGES:
        tail = np.quantile(values, [0.95, 0.975, 0.99], method="higher")
        edges = np.unique(np.concatenate([edges, tail]))
    return [float(edge) for edge in edges]


def histogram(feature, values):
    present = values[~np.isnan(values)]
    edges = reference_edges(present)
    counts = np.bincount(np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1)
    return {
        "feature": feature,
        "edges": edges,
        "counts": [int(count) for count in counts],
        "missing": int(len(values) - len(present)),
    }


def load(options):
    table = read_table(options.dataset)
    labels = read_table(options.labels)
    key = table.columns[0]
    if key not in labels.columns or "fraud" not in labels.columns:
        fail(f"--labels {options.labels}: needs the columns {key} and fraud, has {', '.join(labels.columns)}")
    if labels[key].duplicated().any() or table[key].duplicated().any():
        fail(f"the column {key} holds an id twice")
    labels = labels.set_index(key)
    unknown = ~table[key].isin(labels.index)
    if unknown.any():
        fail(f"{int(unknown.sum())} of {len(table)} rows of {options.dataset} have no label")
    truth = labels.loc[table[key]]
    if options.events is not None:
        events = read_table(options.events).set_index(key)
        if events.index.duplicated().any() or not table[key].isin(events.index).all():
            fail(f"--events {options.events}: must hold each {key} of the dataset, once")
        requests = events.loc[table[key]].add_prefix("request.").reset_index(drop=True)
        table = pd.concat([table.reset_index(drop=True), requests], axis=1)
    if "warmUp" in truth.columns:
        keep = ~truth["warmUp"].to_numpy(bool)
        table, truth = table[keep].reset_index(drop=True), truth[keep]
    excluded = set(options.exclude.split(",")) if options.exclude else set()
    columns = {}
    for name in table.columns[1:]:
        values = None if name in excluded else number_column(table[name])
        if values is None:
            print(f"skipped {name}: {'excluded' if name in excluded else 'not a number'}")
        elif len(np.unique(values[~np.isnan(values)])) < 2:
            print(f"skipped {name}: always the same")
        else:
            columns[name] = values
    if not columns:
        fail(f"{options.dataset} has no column of numbers")
    return columns, truth["fraud"].to_numpy(bool).astype(int)


def metrics_of(truth, score):
    metrics = {
        "auc": roc_auc_score(truth, score),
        "averagePrecision": average_precision_score(truth, score),
        "fraudShare": truth.mean(),
    }
    for threshold in (0.3, 0.5, 0.8):
        flagged = score >= threshold
        suffix = str(threshold).replace("0.", "at0")
        metrics[f"precision_{suffix}"] = precision_score(truth, flagged, zero_division=0)
        metrics[f"recall_{suffix}"] = recall_score(truth, flagged)
        metrics[f"flaggedShare_{suffix}"] = flagged.mean()
    return {name: round(float(value), 6) for name, value in metrics.items()}


def convert(model, rows):
    """The model as ONNX: one float input [N, width], one label and one [N, 2] probabilities output."""
    onnx_model = to_onnx(
        model,
        rows[:1],
        options={id(model): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    content = onnx_model.SerializeToString()
    if len(content) >= MAX_MODEL_BYTES:
        fail(f"the model has {len(content)} bytes; fewer --trees or --leaves make it smaller than {MAX_MODEL_BYTES}")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run([SCORE_OUTPUT], {session.get_inputs()[0].name: rows})[0][:, 1]
    difference = float(np.abs(found - model.predict_proba(rows)[:, 1]).max())
    if difference > 1e-4:
        fail(f"the converted model answers differently from the trained one, by up to {difference}")
    return content, found.astype(np.float64), difference


def main():
    parser = argparse.ArgumentParser(description="Train the fraud model.")
    parser.add_argument("--dataset", type=pathlib.Path, required=True)
    parser.add_argument("--events", type=pathlib.Path, help="the events themselves, for inputs named request.field")
    parser.add_argument("--labels", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the folder that holds the versions")
    parser.add_argument("--version", required=True)
    parser.add_argument("--name", default="fraud")
    parser.add_argument("--plan-hash", required=True, help="as `headwater plan` prints it")
    parser.add_argument("--trained-at", required=True, help="ISO 8601, written into the manifest")
    parser.add_argument("--exclude", default="request.occurredAt,request.utcOffsetMinutes", help="columns, by comma")
    parser.add_argument("--trees", type=int, default=120)
    parser.add_argument("--leaves", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    columns, truth = load(options)
    defaults = {name: default_for(values) for name, values in columns.items()}
    filled = [np.where(np.isnan(values), defaults[name], values) for name, values in columns.items()]
    rows = np.column_stack(filled).astype(np.float32)
    cut = int(len(rows) * (1 - TEST_SHARE))
    if truth[:cut].sum() < 20 or truth[cut:].sum() < 20:
        fail(f"too little fraud to learn from: {truth[:cut].sum()} and {truth[cut:].sum()} rows, 20 at least in each part")
    model = HistGradientBoostingClassifier(
        max_iter=options.trees,
        max_leaf_nodes=options.leaves,
        learning_rate=0.08,
        min_samples_leaf=40,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=options.seed,
    )
    model.fit(rows[:cut], truth[:cut])
    content, score, difference = convert(model, rows[cut:])
    metrics = metrics_of(truth[cut:], score)

    reference = [histogram(name, values) for name, values in columns.items()]
    reference.append(histogram("score", score))
    manifest = {
        "name": options.name,
        "version": options.version,
        "inputs": [{"name": name, "default": defaults[name]} for name in columns],
        "scoreOutput": SCORE_OUTPUT,
        "planHash": options.plan_hash,
        "trainedAt": options.trained_at,
        "rows": len(rows),
        "metrics": metrics,
        "reference": reference,
        "checksums": {"model.onnx": hashlib.sha256(content).hexdigest()},
    }
    folder = options.out / options.version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    print(f"{len(rows)} rows, {len(columns)} inputs, {len(content)} bytes, ONNX within {difference:.1e} of the trained model")
    for name, value in metrics.items():
        print(f"{name:24} {value}")
    print(f"written to {folder}")


if __name__ == "__main__":
    main()
