"""Many classes: which digit a picture of 8 × 8 pixels shows."""

import numpy as np

import layers

x, y = layers.datasets.load_digits()
x, y, x_test, y_test = layers.data.split(x, y, test_fraction=0.2)

model = layers.Sequential(
    [layers.Dense(64, 128), layers.ReLU(), layers.Dropout(0.2), layers.Dense(128, 10)],
    metrics=[layers.TopK(2)],
    seed=0,
)

history = model.fit(x, y, epochs=100, validation_fraction=0.1, patience=10)
best = history.best("val_loss")
print(f"{history.epochs} epochs, epoch {best['epoch']} kept: accuracy {best['val_accuracy']:.3f}")

measured = model.evaluate(x_test, y_test)
print(
    f"on test rows: accuracy {measured['accuracy']:.3f}, "
    f"among the best two {measured['top_2_accuracy']:.3f}"
)

model.save("digits.npz")
model = layers.load("digits.npz")
predicted = model.predict(x_test)
for row in np.flatnonzero(predicted != y_test):
    probability = model.predict_proba(x_test[row : row + 1]).max()
    print(f"row {row}: a {y_test[row]}, taken for a {predicted[row]} with {probability:.0%}")
