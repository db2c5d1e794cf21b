"""Worker of ``client_axis.py``: the same round as a loop over clients in PyTorch, timed on request."""

import json
import sys
import time

import torch
from torch import nn
from workloads import BATCH, WORKLOADS

torch.manual_seed(0)
torch.set_num_threads(int(sys.argv[1]))

MODULES = {
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10),
    ),
    "mlp": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)
    ),
    "logistic": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
}  # fmt: skip


def make_round(name):
    """One FedAvg round: every client starts from the global weights, runs its steps, and is averaged."""
    clients, steps = WORKLOADS[name].clients, WORKLOADS[name].steps
    model = MODULES[name]()
    weights = [p.detach().clone() for p in model.parameters()]
    images = torch.rand(clients, steps * BATCH, 1, 28, 28)  # normalised already: the loop only slices
    labels = torch.randint(0, 10, (clients, steps * BATCH))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss_fn = nn.CrossEntropyLoss()

    def run():
        totals = [torch.zeros_like(w) for w in weights]
        for c in range(clients):
            with torch.no_grad():
                torch._foreach_copy_(list(model.parameters()), weights)
            order = torch.randperm(steps * BATCH)
            for s in range(steps):
                rows = order[s * BATCH : (s + 1) * BATCH]
                optimizer.zero_grad(set_to_none=True)
                loss_fn(model(images[c][rows]), labels[c][rows]).backward()
                optimizer.step()
            with torch.no_grad():
                torch._foreach_add_(totals, [p.detach() for p in model.parameters()], alpha=1 / clients)
        return totals

    return run


def main():
    """Serve requests: ``{"workload"}`` times one round."""
    ready = {}
    for line in sys.stdin:
        name = json.loads(line)["workload"]
        if name not in ready:
            ready[name] = make_round(name)
            ready[name]()
        began = time.perf_counter()
        for _ in range(WORKLOADS[name].rounds):
            ready[name]()
        print(json.dumps({"seconds": time.perf_counter() - began, "version": torch.__version__}), flush=True)


if __name__ == "__main__":
    main()
