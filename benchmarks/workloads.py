"""The three workloads of the client-axis benchmark; imported by both sides, so it imports nothing."""

from typing import NamedTuple

BATCH = 20


class Workload(NamedTuple):
    """Clients in a round and local steps of each; batches of 20 images of 28×28, plain SGD at 0.01.

    ``rounds`` are timed together, so that a time is never a few milliseconds; ``None`` as a width is all clients.
    """

    clients: int
    steps: int
    rounds: int
    widths: tuple


WORKLOADS = {
    "cnn": Workload(8, 5, 1, (1, 4, None)),  # conv 5×5×32, pool, conv 5×5×64, pool, dense 512, dense 10
    "mlp": Workload(100, 10, 2, (1, 10, None)),  # 784-200-200-10
    "logistic": Workload(100, 10, 10, (1, 10, None)),  # 784-10
}
