"""Keywords and names of other libraries are errors that say what they are called here."""

import copy
import inspect
import operator
import pickle
import re

import numpy as np
import pytest

import layers
from layers import data, names_elsewhere, schedules

X = np.zeros((4, 3), "f4")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.Adam(lr=1), "Adam: lr is not among its arguments, expected learning_rate"),
        (
            lambda: layers.Dense(3, 2, activation="relu"),
            r"Dense: activation is not .*, expected a layer of its own behind it, such as layers.R",
        ),
        (lambda: layers.Dense(3, 2, use_bias=False), "Dense: use_bias is not .*, expected bias"),
        (lambda: layers.Dropout(p=0.5), "Dropout: p is not among its arguments, expected rate"),
        (lambda: layers.LeakyReLU(negative_slope=1), "LeakyReLU: negative_slope .* expected slope"),
        (
            lambda: layers.EarlyStopping(restore_best_weights=True),
            "EarlyStopping: restore_best_weights .* expected none: the best parameters always",
        ),
        (lambda: layers.ReLU(inplace=True), r"ReLU\(\) takes no arguments"),
        (
            lambda: layers.AdamW(lr=1),
            "AdamW: lr is not .*, expected learning_rate",
        ),
        (lambda: layers.Sequential([], metric=[]), "Sequential: metric is .*, expected metrics"),
        (lambda: layers.BatchNorm(3, eps=1), "BatchNorm: eps is not .*, expected epsilon"),
        (lambda: schedules.Cosine(0.1, step=3), "Cosine: step is not .*, expected steps"),
        (lambda: layers.Huber(detla=1), "Huber: detla is not .*, expected delta"),
        (lambda: data.split(X, X, test_size=0.1), "split: test_size .*, expected test_fraction"),
        (lambda: layers.profile(None, X, X, batch=1), "profile: batch is .*, expected batch_size"),
        (lambda: layers.find_learning_rate(None, X, step=1), "find_learning_rate: step .* steps"),
    ],
)
def test_a_misspelt_keyword(call, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        call()


def test_signatures_copies_and_classes_of_users_stay():
    assert [*inspect.signature(layers.Dropout).parameters] == ["rate", "seed"]
    assert not inspect.signature(layers.ReLU).parameters
    for each in (layers.Dense(3, 2, l2=0.1), layers.Adam(learning_rate=0.1), layers.ReLU()):
        assert repr(pickle.loads(pickle.dumps(each))) == repr(copy.deepcopy(each)) == repr(each)

    class Mine(layers.ReLU):
        def __init__(self, *, power):
            self.power = power

    assert Mine(power=2).power == 2
    with pytest.raises(TypeError, match="unexpected keyword argument 'powr'"):
        Mine(powr=2)


def test_names_of_other_libraries():
    with pytest.raises(AttributeError, match=r"no attribute 'Linear', expected layers\.Dense$"):
        layers.Linear  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'Nothing'$"):
        layers.Nothing  # noqa: B018
    for name, meant in names_elsewhere._OURS.items():
        assert not hasattr(layers, name)
        for words in re.findall(r"layers\.[\w.]+", meant):
            if "sklearn" not in words:
                assert operator.attrgetter(words.removeprefix("layers."))(layers)
