"""Brings the tiny models of nnsight's recordings and the values that its client saved into one form:
tests/data/nnsight/NAME.safetensors, read by tests/architectures.rs.

    python tests/scripts/record_nnsight.py RECORDINGS [tests/data/nnsight]

RECORDINGS has `models/tiny/tiny-gpt2` and `models/tiny/tiny-llama` (Hugging Face folders) and `expected/PROGRAM.local.npz` (what
nnsight 0.4 with transformers 4.51.3 saved when it ran the program). A file has one model: its `config` in the metadata,
`weights/NAME`, and for each program `PROGRAM/prompt`, the token ids of its prompt, and `PROGRAM/VALUE`, a value that it saved.
"""
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

PROGRAMS = {
    "tiny-gpt2": {"01_save_hidden": "The Eiffel Tower is in the city of",
                  "04_attn_mlp_outputs": "When John and Mary went to the shops, John gave a drink to"},
    "tiny-llama": {"05_inputs": "hello world", "10_logit_lens": "The Eiffel Tower is in the city of"},
}


def main():
    recordings = pathlib.Path(sys.argv[1])
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "tests/data/nnsight")
    folder.mkdir(parents=True, exist_ok=True)
    for name, programs in PROGRAMS.items():
        model = recordings / "models/tiny" / name
        tensors = {f"weights/{key}": value for key, value in load_file(model / "model.safetensors").items()}
        tokenizer = AutoTokenizer.from_pretrained(model)
        for program, prompt in programs.items():
            tensors[f"{program}/prompt"] = torch.tensor(tokenizer(prompt)["input_ids"])
            with np.load(recordings / "expected" / f"{program}.local.npz") as saved:
                tensors |= {f"{program}/{key}": torch.from_numpy(saved[key]) for key in saved}
        # One program saved the token ids that the client gave to the model.
        assert "05_inputs" not in programs or torch.equal(tensors["05_inputs/ids"][0], tensors["05_inputs/prompt"])
        path = folder / f"{name}.safetensors"
        save_file(tensors, path, {"config": (model / "config.json").read_text()})
        print(f"{path}: {path.stat().st_size // 1024} KiB")


main()
