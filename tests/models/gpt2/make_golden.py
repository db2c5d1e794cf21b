"""Makes this folder's files: a small random GPT-2 of the reference library, and its logits.

Run in an environment of its own with ``pip install torch==2.13.0 transformers==5.23.0``; nothing else needs those.

    python tests/models/gpt2/make_golden.py
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import GPT2Config, GPT2LMHeadModel

HERE = Path(__file__).parent


def main() -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=37, n_positions=12, n_embd=24, n_layer=3, n_head=4)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for tensor in model.parameters():  # biases start at 0 and scales at 1, which would hide a mix-up
            tensor.add_(0.2 * torch.randn_like(tensor))
        tokens = torch.randint(0, config.vocab_size, (3, config.n_positions))
        logits = model(tokens).logits
    model.save_pretrained(HERE)
    (HERE / "generation_config.json").unlink(missing_ok=True)
    save_file({"tokens": tokens.numpy().astype(np.int32), "logits": logits.numpy()}, HERE / "golden.safetensors")


if __name__ == "__main__":
    main()
