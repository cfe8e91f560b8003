"""Well-known names of other libraries, and what is called so here."""

_OURS = {
    "Linear": "layers.Dense",
    "CrossEntropyLoss": "layers.SoftmaxCrossEntropy",
    "CrossEntropy": "layers.SoftmaxCrossEntropy",
    "SparseCategoricalCrossentropy": "layers.SoftmaxCrossEntropy",
    "CategoricalCrossentropy": "layers.SoftmaxCrossEntropy (CategoricalCrossEntropy after Softmax)",
    "BCEWithLogitsLoss": "layers.SigmoidCrossEntropy",
    "BCELoss": "layers.BinaryCrossEntropy",
    "BinaryCrossentropy": "layers.SigmoidCrossEntropy (BinaryCrossEntropy after Sigmoid)",
    "MSELoss": "layers.MeanSquaredError",
    "MSE": "layers.MeanSquaredError",
    "L1Loss": "layers.MeanAbsoluteError",
    "HuberLoss": "layers.Huber",
    "SmoothL1Loss": "layers.Huber",
    "PoissonNLLLoss": "layers.Poisson",
    "BatchNorm1d": "layers.BatchNorm",
    "BatchNormalization": "layers.BatchNorm",
    "LayerNormalization": "layers.LayerNorm",
    "Normalization": "layers.Standardize",
    "Swish": "layers.SiLU",
    "RMSProp": "layers.RMSprop",
    "ModelCheckpoint": "layers.Checkpoint",
    "CSVLogger": "layers.CSVLog",
    "ReduceLROnPlateau": "layers.ReduceOnPlateau",
    "Model": "layers.Sequential",
    "load_model": "layers.load",
    "train_test_split": "layers.data.split",
    "StandardScaler": "layers.Standardize",
    "MLPClassifier": "layers.sklearn.MLPClassifier",
    "MLPRegressor": "layers.sklearn.MLPRegressor",
}


def ours(name: str) -> str | None:
    """What stands for a name of another library, if anything does."""
    return _OURS.get(name)
