"""Regression: how far diabetes has gone on a year later, from ten measurements."""

from sklearn.datasets import load_diabetes

import layers

x, y = load_diabetes(return_X_y=True, scaled=False)
x, y, x_test, y_test = layers.data.split(x, y, test_fraction=0.2)

mean, deviation = y.mean(), y.std()

model = layers.Sequential(
    [layers.Standardize(10), layers.Dense(10, 16), layers.Tanh(), layers.Dense(16, 1)],
    loss=layers.MeanSquaredError(),
    metrics=[layers.R2()],
    seed=0,
)
model.layers[0].adapt(x)

history = model.fit(x, (y - mean) / deviation, epochs=200, validation_fraction=0.1, patience=10)
best = history.best("val_loss")
print(f"{history.epochs} epochs, epoch {best['epoch']} kept: R² {best['val_r2']:.2f}")

measured = model.evaluate(x_test, (y_test - mean) / deviation)
print(f"on test rows: R² {measured['r2']:.2f}")

model.save("diabetes.npz")
model = layers.load("diabetes.npz")
predicted = mean + deviation * model.predict(x_test)[:, 0]
for number, true in zip(predicted[:5], y_test, strict=False):
    print(f"predicted {number:.0f}, was {true:.0f}")
