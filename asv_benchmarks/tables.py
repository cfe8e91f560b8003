"""`layers.TabularPredictor` beside scikit-learn's MLP in a pipeline, on tables that packages ship.

    python asv_benchmarks/tables.py

Each of ten seeds shuffles the rows, 70 % are for training, and both sides get the same. Both have
their defaults, with one hidden layer of 100. Of a regression, the pipeline scales the target too.

The predictor's weight decay was chosen with the first six tables in view. The others were made
afterwards, and nothing was chosen by them: they say what to expect of a table of one's own.
Needs scikit-learn.
"""

import statistics
import warnings
from functools import partial
from time import perf_counter

import numpy as np
from sklearn import datasets
from sklearn.compose import TransformedTargetRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import layers

SEEDS = range(10)


def houses(draw=0):
    """As it were, house prices: five columns matter and five do not."""
    x, y = datasets.make_friedman1(1000, 10, noise=1.0, random_state=draw)
    return x, 200_000 + 25_000 * y


TABLES = {
    "iris": lambda: datasets.load_iris(return_X_y=True),
    "wine": lambda: datasets.load_wine(return_X_y=True),
    "breast cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
    "digits": lambda: datasets.load_digits(return_X_y=True),
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
    "houses": houses,
    "houses, drawn anew": partial(houses, 101),
    "circuit": lambda: datasets.make_friedman2(1000, noise=50.0, random_state=7),
    "phase": lambda: datasets.make_friedman3(1000, noise=0.1, random_state=7),
    "linear": lambda: datasets.make_regression(600, 30, n_informative=10, noise=20, random_state=7),
}


def ours(x, y, x_test, y_test, seed):
    def table(x, y):
        return {f"x{i}": column for i, column in enumerate(x.T)} | {"y": y}

    predictor = layers.TabularPredictor("y", (100,), seed=seed).fit(table(x, y))
    found = predictor.evaluate(table(x_test, y_test))
    return found["accuracy" if predictor.classes else "r2"]


def theirs(x, y, x_test, y_test, seed):
    is_regression = len(np.unique(y)) > 20
    last = MLPRegressor(random_state=seed) if is_regression else MLPClassifier(random_state=seed)
    model = make_pipeline(StandardScaler(), last)
    if is_regression:  # else it learns next to nothing of large numbers
        model = TransformedTargetRegressor(model, transformer=StandardScaler())
    return model.fit(x, y).score(x_test, y_test)


def main():
    warnings.simplefilter("ignore")  # scikit-learn's, that it has not converged
    print("| table | rows | measure | ours | scikit-learn | apart | its time over ours |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, load in TABLES.items():
        x, y = load()
        scores, seconds = {ours: [], theirs: []}, {ours: [], theirs: []}
        for seed in (0, *SEEDS):  # the first one compiles what the cache lacks, and is left out
            order = np.random.default_rng(seed).permutation(len(x))
            train, test = np.split(order, [len(x) * 7 // 10])
            for side in scores:
                start = perf_counter()
                scores[side].append(side(x[train], y[train], x[test], y[test], seed))
                seconds[side].append(perf_counter() - start)
        cells = [f"{statistics.mean(each[1:]):.3f}" for each in scores.values()]
        apart = np.subtract(scores[ours][1:], scores[theirs][1:])
        cells.append(f"{apart.mean():+.3f} ± {apart.std(ddof=1) / len(apart) ** 0.5:.3f}")
        ratio = statistics.median(seconds[theirs][1:]) / statistics.median(seconds[ours][1:])
        measure = "R²" if len(np.unique(y)) > 20 else "accuracy"
        print(f"| {name} | {len(x)} | {measure} | {' | '.join(cells)} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
