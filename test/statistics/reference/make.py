"""Writes values.json beside this file: what SciPy and NumPy answer for the statistics under test.

Run with numpy 2.4.6 and scipy 1.17.1. The PSI here is written out from its definition with NumPy.
"""

import json
import pathlib

import numpy as np
from scipy import special, stats
from scipy.spatial.distance import jensenshannon

random = np.random.default_rng(20240611)


def psi(reference, current):
    used = (reference + current) > 0
    p = current[used] + 0.5
    q = reference[used] + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((p - q) * np.log(p / q)))


def pair(reference, current):
    reference, current = np.asarray(reference, float), np.asarray(current, float)
    n, m = current.sum(), reference.sum()
    bins = int(((reference + current) > 0).sum())
    value = psi(reference, current)
    statistic = value / (1 / n + 1 / m)
    missing = stats.chi2_contingency(
        [[current[-1], n - current[-1]], [reference[-1], m - reference[-1]]], correction=False
    )
    return {
        "reference": [int(x) for x in reference],
        "current": [int(x) for x in current],
        "psi": value,
        "psiPValue": float(stats.chi2.sf(statistic, bins - 1)),
        "psi99": float((1 / n + 1 / m) * stats.chi2.ppf(0.99, bins - 1)),
        "js": float(jensenshannon(current / n, reference / m, base=2)),
        "js95": float(np.sqrt((1 / n + 1 / m) * stats.chi2.ppf(0.95, bins - 1) / (8 * np.log(2)))),
        "jsMean": float(np.sqrt((1 / n + 1 / m) / (8 * np.log(2))) * stats.chi.mean(bins - 1)),
        "missingPValue": float(missing.pvalue),
    }


values = {
    "logGamma": [[x, float(special.gammaln(x))] for x in (0.1, 0.5, 1.0, 1.5, 4.5, 10.0, 123.4)],
    "upperGamma": [
        [a, x, float(special.gammaincc(a, x))]
        for a in (0.5, 1.0, 4.5, 10.0, 30.0)
        for x in (0.01, 0.7, 3.0, 9.0, 25.0, 60.0)
    ],
    "chiSquareQuantile": [
        [p, k, float(stats.chi2.ppf(p, k))] for p in (0.01, 0.5, 0.95, 0.99, 0.999) for k in (1, 2, 5, 9, 20)
    ],
    "normalTwoSided": [[z, float(2 * stats.norm.sf(z))] for z in (0.0, 0.5, 1.96, 3.3, 6.0)],
    "pairs": [
        pair([100] * 10 + [10], [100] * 10 + [10]),
        pair([1000] * 10 + [50], random.multinomial(700, [0.0995] * 10 + [0.005])),
        pair([1000] * 10 + [50], random.multinomial(700, np.linspace(1, 2, 11) / np.linspace(1, 2, 11).sum())),
        pair([0, 9000, 1000, 300], [0, 400, 100, 90]),
        pair([500, 0, 500, 1], [0, 500, 0, 400]),
    ],
}
ps = [0.001, 0.8, 0.04, 0.03, 0.0002, 0.5, 0.04]
values["benjaminiHochberg"] = [ps, [float(x) for x in stats.false_discovery_control(ps, method="bh")]]

edges = [-1.5, 0.0, 0.1, 2.0, 1e6]
samples = [-2.0, -1.5, -1e-9, 0.0, 0.05, 0.1, 1.999, 2.0, 1e6, 1e300]
values["binOf"] = {"edges": edges, "samples": samples, "bins": [int(x) for x in np.digitize(samples, edges)]}

here = pathlib.Path(__file__).parent
(here / "values.json").write_text(json.dumps(values, indent=2) + "\n")
