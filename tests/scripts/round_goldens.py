"""How far SmolLM2 is from the reference answers where every operation rounds its result to half precision.

    python round_goldens.py FOLDER GOLDENS

FOLDER is SmolLM2 in the cache (`irc model info smollm2` says where), GOLDENS a file of reference answers. Needs numpy. The
tolerances of tests/goldens.rs for f16 and bf16 are two to seven times what this prints.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np

PROMPTS = ["eiffel", "buckingham", "unicode", "long"]


def safetensors(path):
    data = np.memmap(path, mode="r", dtype=np.uint8)
    size = struct.unpack("<Q", bytes(data[:8]))[0]
    header = json.loads(bytes(data[8 : 8 + size]))
    header.pop("__metadata__", None)

    def tensor(entry):
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        return np.frombuffer(data[start:end], dtype={"F32": "<f4", "I64": "<i8"}[entry["dtype"]]).reshape(entry["shape"])

    return {name: tensor(entry) for name, entry in header.items()}


def f32(x):
    return x


def f16(x):
    return x.astype(np.float16).astype(np.float32)


def bf16(x):
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + ((bits >> 16) & 1) + 0x7FFF) & np.uint32(0xFFFF0000)).view(np.float32)


def forward(weights, config, ids, rounded):
    """What the hooks of the answers show; sums are taken in f32, results are rounded."""
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    width, length = config["hidden_size"] // heads, len(ids)
    shown = {}

    def weight(name):
        return rounded(weights[name])

    def norm(x, name):
        mean = (x * x).mean(-1, keepdims=True, dtype=np.float32)
        return rounded(rounded(x / np.sqrt(mean + config["rms_norm_eps"])) * weight(name))

    angles = np.outer(np.arange(length), 1 / config.get("rope_theta", 1e4) ** (np.arange(0, width, 2) / width))
    angles = np.concatenate([angles, angles], -1)
    cos, sin = (rounded(part(angles).astype(np.float32)) for part in (np.cos, np.sin))

    def rotated(x):
        half = np.concatenate([-x[..., width // 2 :], x[..., : width // 2]], -1)
        return rounded(rounded(x * cos) + rounded(half * sin))

    def softmax(x):
        x = np.exp(x - x.max(-1, keepdims=True))
        return rounded(x / x.sum(-1, keepdims=True))

    x = weight("model.embed_tokens.weight")[ids]
    past = np.tril(np.ones((length, length), bool))
    for at in range(config["num_hidden_layers"]):
        layer = f"model.layers.{at}."
        h = norm(x, layer + "input_layernorm.weight")

        def split(name, count):
            out = rounded(h @ weight(f"{layer}self_attn.{name}_proj.weight.T"))
            return out.reshape(length, count, width).transpose(1, 0, 2)

        q = rotated(split("q", heads))
        k, v = (np.repeat(part, heads // groups, 0) for part in (rotated(split("k", groups)), split("v", groups)))
        scores = rounded(q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(width)))
        z = rounded(softmax(np.where(past, scores, -np.inf)) @ v).transpose(1, 0, 2).reshape(length, -1)
        attention = rounded(z @ weight(layer + "self_attn.o_proj.weight.T"))
        x = rounded(x + attention)
        h = norm(x, layer + "post_attention_layernorm.weight")
        gate, up = (rounded(h @ weight(f"{layer}mlp.{name}_proj.weight.T")) for name in ("gate", "up"))
        act = rounded(gate * rounded(1 / (1 + np.exp(-gate))))
        mlp = rounded(rounded(act * up) @ weight(layer + "mlp.down_proj.weight.T"))
        x = rounded(x + mlp)
        shown |= {
            layer + "self_attn.o_proj.input": z,
            layer + "self_attn.output": attention,
            layer + "mlp.output": mlp,
            layer + "output": x,
        }

    def logits(x):
        return rounded(norm(x, "model.norm.weight") @ weight("lm_head.weight.T"))

    shown["model.norm.output"] = norm(x, "model.norm.weight")
    shown["argmax"] = logits(x).argmax(-1)
    shown["lm_head.output[-1]"] = logits(x)[-1:]
    lens = [logits(shown[f"model.layers.{at}.output"]).argmax(-1) for at in range(config["num_hidden_layers"])]
    shown["logit_lens_top1"] = np.stack(lens)
    return shown


def log_softmax(x):
    x = x.astype(np.float64) - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def main(folder, goldens):
    weights, config = safetensors(folder / "weights.data"), json.loads((folder / "config.json").read_text())
    answers = safetensors(goldens)
    for rounded in (f32, f16, bf16):
        worst, median, kl, differ, integers, compared = 0.0, 0.0, 0.0, 0, 0, 0
        for prompt in PROMPTS:
            shown = forward(weights, config, answers[f"{prompt}/input_ids"].reshape(-1), rounded)
            for name, got in shown.items():
                want = answers.get(f"{prompt}/{name}")
                if want is None:
                    continue
                compared += 1
                if want.dtype == np.int64:
                    differ, integers = differ + int((got.reshape(-1) != want.reshape(-1)).sum()), integers + want.size
                    continue
                want = want.reshape(got.shape).astype(np.float64)
                distance = np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)
                worst, median = max(worst, distance.max()), max(median, np.median(distance))
                if name.startswith("lm_head"):
                    p, q = log_softmax(want), log_softmax(got)
                    kl = max(kl, (np.exp(p) * (p - q)).sum(-1).max())
        print(
            f"{rounded.__name__}: {compared} answers; L2 of the worst position {worst:.1e}, of the worst median position {median:.1e}; "
            f"KL {kl:.1e}; {differ} of {integers} integers differ"
        )


main(Path(sys.argv[1]), Path(sys.argv[2]))
