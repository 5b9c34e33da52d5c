"""Records what transformers makes of the models in tests/data/tiny-*, for tests/cli.rs and frontend/models/gguf.

    python3 tests/scripts/record_folders.py

needs torch and transformers (4.51), and writes tests/data/tiny.json: for each folder the token ids of a prompt, and the logits
of its last token in f32; and by what Llama 3.1 8B divides each of its rotary frequencies.
"""

import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

DATA = pathlib.Path(__file__).parent.parent / "data"
PROMPT = "The Eiffel Tower is in the city of"


def main():
    recorded = {"prompt": PROMPT}
    for folder in ["tiny-llama", "tiny-gpt2"]:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(DATA / folder / "tokenizer.json"))
        model = AutoModelForCausalLM.from_pretrained(DATA / folder, torch_dtype=torch.float32).eval()
        ids = tokenizer(PROMPT, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = model(ids).logits[0, -1]
        # repr gives the shortest decimals that read back as the same f64, and every f32 is one.
        recorded[folder] = {"ids": ids[0].tolist(), "logits": logits.tolist()}
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = LlamaConfig(
        hidden_size=4096, num_attention_heads=32, rope_theta=500000.0, max_position_embeddings=131072,
        rope_scaling={**scaling, "original_max_position_embeddings": 8192},
    )
    plain, scaled = (ROPE_INIT_FUNCTIONS[kind](config, "cpu")[0] for kind in ["default", "llama3"])
    recorded["llama3_factors"] = (plain / scaled).tolist()
    (DATA / "tiny.json").write_text(json.dumps(recorded) + "\n")


main()
