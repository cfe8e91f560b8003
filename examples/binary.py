"""Two classes: whether a tumour is malignant, from thirty measurements of its cells."""

from sklearn.datasets import load_breast_cancer

import layers

x, y = load_breast_cancer(return_X_y=True)
malignant = y == 0
x, y, x_test, y_test = layers.data.split(x, malignant, test_fraction=0.2)

model = layers.Sequential(
    [layers.Standardize(30), layers.Dense(30, 32), layers.ReLU(), layers.Dense(32, 1)],
    loss=layers.SigmoidCrossEntropy(),
    metrics=[layers.F1()],
    seed=0,
)
model.layers[0].adapt(x)

history = model.fit(x, y, epochs=200, class_weight="balanced", validation_fraction=0.1, patience=10)
best = history.best("val_loss")
print(f"{history.epochs} epochs, epoch {best['epoch']} kept: F1 {best['val_f1']:.3f}")

measured = model.evaluate(x_test, y_test)
print(f"on test rows: accuracy {measured['accuracy']:.3f}, F1 {measured['f1']:.3f}")

model.save("cancer.npz")
model = layers.load("cancer.npz")
for probability, true in zip(model.predict_proba(x_test[:5])[:, 0], y_test, strict=False):
    print(f"malignant with {probability:.1%}, was {'malignant' if true else 'benign'}")
