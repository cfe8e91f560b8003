"""Several labels: which digits occur in a strip of three handwritten ones."""

import numpy as np

import layers


def strips(images, digits, count, seed):
    """Three pictures side by side, (count, 8 * 24), and which digits they show, (count, 10)."""
    chosen = np.random.default_rng(seed).integers(len(images), size=(count, 3))
    x = images.reshape(-1, 8, 8)[chosen].transpose(0, 2, 1, 3).reshape(count, 192)
    y = np.zeros((count, 10), bool)
    np.put_along_axis(y, digits[chosen], True, axis=1)
    return x, y


images, digits, test_images, test_digits = layers.data.split(*layers.datasets.load_digits())
x, y = strips(images, digits, 5000, seed=0)
x_test, y_test = strips(test_images, test_digits, 1000, seed=1)

model = layers.Sequential(
    [layers.Dense(192, 256), layers.ReLU(), layers.Dense(256, 10)],
    loss=layers.SigmoidCrossEntropy(),
    metrics=[layers.F1()],
    seed=0,
)

history = model.fit(x, y, epochs=100, validation_fraction=0.1, patience=5)
best = history.best("val_loss")
print(f"{history.epochs} epochs, epoch {best['epoch']} kept: F1 {best['val_f1']:.3f}")

measured = model.evaluate(x_test, y_test)
print(f"on test rows: F1 {measured['f1']:.3f}")

model.save("strips.npz")
model = layers.load("strips.npz")
predicted = model.predict(x_test)
print(f"all ten labels right: {np.all(predicted == y_test, axis=1).mean():.0%} of the strips")
for found, true in zip(predicted[:5], y_test, strict=False):
    print(f"found {np.flatnonzero(found)}, shown {np.flatnonzero(true)}")
