"""PyTorch, eager and compiled."""

import importlib
from collections.abc import Iterator
from typing import Any

from layers.bench.cases import LEARNING_RATE
from layers.bench.libraries.base import Looping

torch: Any = importlib.import_module("torch")


class Torch(Looping):
    """Eager: ``nn.Sequential``, ``CrossEntropyLoss`` and ``optim.SGD``."""

    @classmethod
    def start(cls, threads: int) -> dict[str, str]:
        """Set PyTorch's number of threads."""
        torch.set_num_threads(threads)
        return {"torch": torch.__version__}

    def build(self) -> None:
        """Tensors share the arrays' memory."""
        stack: list[Any] = []
        for n_in, n_out in zip(self.case.widths, self.case.widths[1:], strict=False):
            stack += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*stack[:-1])
        self.criterion = torch.nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE)
        self.inputs, self.labels = torch.from_numpy(self.x), torch.from_numpy(self.y)
        self.batches = self.sliced(self.inputs, self.labels)

    def reset(self) -> None:
        """Copy the initial weights; PyTorch stores them transposed."""
        with torch.no_grad():
            for layer, (w, b) in zip(self.model[::2], self.weights, strict=True):
                layer.weight.copy_(torch.from_numpy(w.T.copy()))
                layer.bias.copy_(torch.from_numpy(b))

    def loss(self, x: Any, y: Any) -> Any:
        """Forward and loss."""
        return self.criterion(self.model(x), y)

    def step(self, x: Any, y: Any) -> Any:
        """Forward, loss, backward, SGD."""
        self.optimizer.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def shuffled(self) -> Iterator[tuple[Any, Any]]:
        """``randperm`` and ``index_select``, faster than a DataLoader."""
        for rows in torch.randperm(self.case.rows).split(self.case.batch):
            yield self.inputs.index_select(0, rows), self.labels.index_select(0, rows)

    def scores(self, x: Any) -> Any:
        """Forward."""
        return self.model(x)

    def predict(self, times: int) -> float:
        """Forward and argmax, without gradients."""
        x = self.inputs[:1]
        with torch.inference_mode():
            for _ in range(times):
                classes = self.scores(x).argmax(dim=1)
        return float(classes[0])


class TorchCompile(Torch):
    """``torch.compile`` of forward, loss and so backward; requires a C++ compiler."""

    def build(self) -> None:
        """Compile, which happens in the first step."""
        super().build()
        self._loss = torch.compile(super().loss)
        self._scores = torch.compile(self.model)

    def loss(self, x: Any, y: Any) -> Any:
        """Compiled forward and loss."""
        return self._loss(x, y)

    def scores(self, x: Any) -> Any:
        """Compiled forward."""
        return self._scores(x)
