"""Records what the Python package `gguf` makes of GGUF files, for the tests of frontend/models/gguf.

    python3 -m venv venv && venv/bin/pip install gguf numpy safetensors && venv/bin/python tests/scripts/record_gguf.py

writes to tests/data:
  gguf_blocks.safetensors   NAME.blocks, random blocks of each element format, and NAME.values, the f32 that
                            `gguf.dequantize` gives; sizes, [formats, 3]: id, elements of a block, bytes of a block
  gguf_names.json           {architecture: {name in a Hugging Face checkpoint: name in a GGUF file}} by `gguf.TensorNameMap`,
                            for all tensors of two layers
"""

import json
import pathlib

import gguf
import numpy as np
from safetensors.numpy import save_file

DATA = pathlib.Path(__file__).parent.parent / "data"
Q = gguf.GGMLQuantizationType
FORMATS = [Q.F32, Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q2_K, Q.Q3_K, Q.Q4_K, Q.Q5_K, Q.Q6_K]
# Where the f16 scales of a block are.
SCALES = {
    Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0],
    Q.Q2_K: [80, 82], Q.Q3_K: [108], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208],
}
BLOCKS = 6


def blocks_of(form, rng):
    elements, size = gguf.GGML_QUANT_SIZES[form]
    if elements == 1:
        values = (rng.standard_normal(64) * 10.0 ** rng.integers(-6, 4, 64)).astype(np.float32)
        # Zeros of both signs, the smallest subnormal of f16 and one of bf16, the largest of f16.
        values[:6] = [0.0, -0.0, 2.0**-24, -(2.0**-130), 65504.0, -65504.0]
        return gguf.quantize(values, form).view(np.uint8)
    blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
    for at in SCALES[form]:
        # Finite scales of both signs; zero and a subnormal among them.
        scales = (rng.standard_normal(BLOCKS) * 10.0 ** rng.integers(-4, 2, BLOCKS)).astype(np.float16)
        scales[:3] = [0.0, 6e-8, -0.0]
        blocks[:, at : at + 2] = scales[rng.permutation(BLOCKS)].view(np.uint8).reshape(BLOCKS, 2)
    return blocks.reshape(-1)


def main():
    rng, tensors = np.random.default_rng(7), {}
    for form in FORMATS:
        blocks = blocks_of(form, rng)
        tensors[f"{form.name}.blocks"] = blocks
        tensors[f"{form.name}.values"] = np.ascontiguousarray(gguf.dequantize(blocks, form)).reshape(-1)
        assert np.isfinite(tensors[f"{form.name}.values"]).all(), form
    tensors["sizes"] = np.array([[form, *size] for form, size in gguf.GGML_QUANT_SIZES.items()], dtype=np.int64)
    save_file(tensors, DATA / "gguf_blocks.safetensors", metadata={"made_by": f"gguf {version()}"})
    (DATA / "gguf_names.json").write_text(json.dumps(names(), indent=1) + "\n")


def names():
    """The names of the tensors that each architecture's checkpoint has in transformers."""
    norms = ["input_layernorm.weight", "post_attention_layernorm.weight"]
    projections = [f"self_attn.{x}_proj.weight" for x in "qkvo"] + [f"mlp.{x}_proj.weight" for x in ["gate", "up", "down"]]
    llama = {"all": ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"], "layer": ("model.layers", norms + projections)}
    biases = [f"self_attn.{x}_proj.bias" for x in "qkv"]
    qk_norms = ["self_attn.q_norm.weight", "self_attn.k_norm.weight"]
    both = lambda names: [f"{name}.{part}" for name in names for part in ["weight", "bias"]]
    checkpoints = {
        "llama": llama,
        "qwen2": {**llama, "layer": ("model.layers", norms + projections + biases)},
        "qwen3": {**llama, "layer": ("model.layers", norms + projections + qk_norms)},
        "gpt2": {
            "all": ["transformer.wte.weight", "transformer.wpe.weight", *both(["transformer.ln_f"]), "lm_head.weight"],
            "layer": ("transformer.h", both(["ln_1", "ln_2", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"])),
        },
        "gptneox": {
            "all": ["gpt_neox.embed_in.weight", *both(["gpt_neox.final_layer_norm"]), "embed_out.weight"],
            "layer": (
                "gpt_neox.layers",
                both(
                    ["input_layernorm", "post_attention_layernorm", "attention.query_key_value", "attention.dense"]
                    + ["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]
                ),
            ),
        },
    }
    architectures = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    found = {}
    for name, parts in checkpoints.items():
        table = gguf.get_tensor_name_map(architectures[name], 2)
        prefix, layer = parts["layer"]
        every = parts["all"] + [f"{prefix}.{at}.{tensor}" for at in range(2) for tensor in layer]
        found[name] = {tensor: table.get_name(tensor, try_suffixes=(".weight", ".bias")) for tensor in every}
        assert None not in found[name].values(), found[name]
    return found


def version():
    from importlib.metadata import version

    return version("gguf")


main()
