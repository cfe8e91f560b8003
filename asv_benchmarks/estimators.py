"""`layers.sklearn` beside scikit-learn's perceptrons: score and time of `fit`, as a table.

    python asv_benchmarks/estimators.py            # five data sets, five seeds: some minutes
    python asv_benchmarks/estimators.py --seeds 1

Both have scikit-learn's defaults, in a pipeline after a `StandardScaler`, with 400 epochs at most.
Each seed splits the data anew, a quarter to score on; the two take turns. Ours compiles before. A
score is accuracy, or R² of a regression.
"""

import argparse
import math
import statistics
import time
import warnings

import numpy as np
from sklearn import neural_network as theirs
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layers import sklearn as ours

DATA = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
    "diabetes (R²)": load_diabetes,
}


def one(kind, seed, data):
    """Score and seconds of one fit."""
    x, x_test, y, y_test = data
    estimator = make_pipeline(StandardScaler(), kind(random_state=seed, max_iter=400))
    began = time.perf_counter()
    estimator.fit(x, y)
    seconds = time.perf_counter() - began
    return estimator.score(x_test, y_test), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    warnings.simplefilter("ignore")
    print("| data | rows × columns | score | scikit-learn's | apart | `fit` | theirs | faster |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    gains = []
    for name, load in DATA.items():
        x, y = load(return_X_y=True)
        regression = name.startswith("diabetes")
        kinds = [m.MLPRegressor if regression else m.MLPClassifier for m in (ours, theirs)]
        kinds[0](max_iter=1).fit(x, y)  # compiles
        found = {kind: [] for kind in kinds}
        for seed in seeds:
            data = train_test_split(x, y, test_size=0.25, random_state=seed)
            for kind in kinds[:: 1 - 2 * (seed % 2)]:
                found[kind].append(one(kind, seed, data))
        (score, seconds), (their_score, their_seconds) = (
            np.transpose(found[kind]) for kind in kinds
        )
        apart = score - their_score
        error = apart.std(ddof=1) / math.sqrt(len(seeds)) if len(seeds) > 1 else math.nan
        gain = statistics.median(their_seconds / seconds)
        gains.append(gain)
        print(
            f"| {name} | {x.shape[0]:,} × {x.shape[1]} | {score.mean():.3f} | "
            f"{their_score.mean():.3f} | {apart.mean():+.3f} ± {error:.3f} | "
            f"{statistics.median(seconds):.2f} s | {statistics.median(their_seconds):.2f} s | "
            f"{gain:.1f} |"
        )
    print(f"\nGeometric mean: {statistics.geometric_mean(gains):.1f} times as fast.")


if __name__ == "__main__":
    main()
