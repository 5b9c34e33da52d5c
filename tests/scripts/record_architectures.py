"""Records what Hugging Face transformers computes on small random models of each architecture: tests/data/architectures/,
replayed by tests/architectures.rs.

    python tests/scripts/record_architectures.py [tests/data/architectures]

Needs torch (CPU), transformers and safetensors; recorded with torch 2.6.0 and transformers 4.51.3, in float32, with eager
attention. A file has, for one model:
- metadata `config` (its config.json) and `ids` (the token ids of its prompts, a list of lists);
- `weights/NAME`: the checkpoint, under its own names, tied weights once;
- `PROMPT/HOOK`: for each prompt, run alone, the output of every module that fires (the first one, where it is a tuple), the
  inputs of some, and `….pattern` of every attention, without the dimension of the batch.

activations.safetensors has `x` and what each function of ACT2FN makes of it; rotary.safetensors the inverse frequencies of
models of the usual sizes, then the factor of cosines and sines, under the names of `configs` in its metadata.
"""
import json
import logging
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, CONFIG_MAPPING
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

logging.disable(logging.WARNING)
torch.set_num_threads(1)

PROMPTS = [[3, 1, 41, 29, 26, 5, 35], [9, 40]]
LLAMA = dict(vocab_size=43, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64)
NEOX = dict(vocab_size=43, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64)
GPT2 = dict(vocab_size=43, n_positions=32, n_embd=12, n_layer=2, n_head=2)
# A window from some layer on, as flash attention and transformers 4.52 have it: see `masks_by_layer`.
MODELS = {
    "llama": ("llama", dict(LLAMA, head_dim=6, tie_word_embeddings=True)),
    "llama-biases": ("llama", dict(LLAMA, num_key_value_heads=4, attention_bias=True, mlp_bias=True, hidden_act="gelu", rms_norm_eps=1e-3,
                                   rope_scaling={"type": "linear", "factor": 2.5})),
    "llama-llama3": ("llama", dict(LLAMA, num_key_value_heads=1, head_dim=8, rope_theta=500.0, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32})),
    "llama-dynamic": ("llama", dict(LLAMA, max_position_embeddings=7, rope_scaling={"rope_type": "dynamic", "factor": 2.0})),
    "mistral": ("mistral", dict(LLAMA, sliding_window=3, rope_theta=100.0)),
    "mistral-longrope": ("mistral", dict(LLAMA, sliding_window=None, head_dim=8, original_max_position_embeddings=16, rope_scaling={
        "rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0, 3.0], "long_factor": [2.0, 4.0, 8.0, 16.0]})),
    "qwen2": ("qwen2", dict(LLAMA, tie_word_embeddings=True, sliding_window=4, use_sliding_window=False, rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 2.0})),
    "qwen2-window": ("qwen2", dict(LLAMA, sliding_window=3, use_sliding_window=True, max_window_layers=1, rope_theta=50.0)),
    "qwen3": ("qwen3", dict(LLAMA, num_attention_heads=2, num_key_value_heads=1, head_dim=12, rope_theta=100.0, sliding_window=None, rope_scaling={
        "rope_type": "yarn", "factor": 2.0, "attention_factor": 1.5})),
    "qwen3-window": ("qwen3", dict(LLAMA, head_dim=8, attention_bias=True, tie_word_embeddings=True, sliding_window=2, use_sliding_window=True,
                                   max_window_layers=0)),
    "gpt2": ("gpt2", GPT2),
    "gpt2-options": ("gpt2", dict(GPT2, n_inner=20, activation_function="relu", scale_attn_weights=False,
                                  scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False, layer_norm_epsilon=1e-2)),
    "gpt_neox": ("gpt_neox", dict(NEOX, rotary_pct=0.25, rotary_emb_base=100)),
    "gpt_neox-sequential": ("gpt_neox", dict(NEOX, rotary_pct=1.0, use_parallel_residual=False, attention_bias=False, hidden_act="gelu_new",
                                             tie_word_embeddings=True, rope_scaling={"rope_type": "linear", "factor": 4.0})),
}


ROTARY = {
    "llama-3.1-70b": ("llama", dict(hidden_size=8192, num_attention_heads=64, rope_theta=500000.0, max_position_embeddings=131072, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})),
    "llama-3.2-1b": ("llama", dict(hidden_size=2048, num_attention_heads=32, rope_theta=500000.0, max_position_embeddings=131072, rope_scaling={
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})),
    "llama-linear": ("llama", dict(rope_scaling={"type": "linear", "factor": 3.0})),
    "mistral": ("mistral", dict(hidden_size=4096, num_attention_heads=32, rope_theta=1000000.0)),
    "mistral-longrope": ("mistral", dict(hidden_size=256, num_attention_heads=8, max_position_embeddings=4096, rope_scaling={
        "rope_type": "longrope", "factor": 32.0, "short_factor": [1 + i / 7 for i in range(16)], "long_factor": [2.0 + i for i in range(16)]})),
    "qwen2.5-yarn": ("qwen2", dict(hidden_size=3584, num_attention_heads=28, num_key_value_heads=4, rope_theta=1000000.0, max_position_embeddings=32768, rope_scaling={
        "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768})),
    "qwen3-yarn": ("qwen3", dict(rope_theta=1000000.0, max_position_embeddings=131072, rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768})),
    "qwen3-yarn-mscale": ("qwen3", dict(rope_scaling={"rope_type": "yarn", "factor": 40.0, "mscale": 1.2, "mscale_all_dim": 0.8, "beta_slow": 2.0})),
    "pythia": ("gpt_neox", dict(hidden_size=2048, num_attention_heads=8)),
}


def masks_by_layer(model, config):
    """Gives each layer of a Qwen the mask that its fields mean. Eager attention of transformers 4.51 has one mask for all
    layers, with a window whenever `sliding_window` is not null; the layers themselves say which of them have one."""
    if config.model_type not in ("qwen2", "qwen3"):
        return

    def replace(module, args, kwargs):
        window = config.sliding_window if config.use_sliding_window and module.layer_idx >= config.max_window_layers else None
        length = kwargs["hidden_states"].shape[1]
        distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        hidden = (distance < 0) | (distance >= (window or length))
        kwargs["attention_mask"] = torch.zeros(1, 1, length, length).masked_fill(hidden, torch.finfo(torch.float32).min)
        return args, kwargs

    for layer in model.model.layers:
        layer.self_attn.register_forward_pre_hook(replace, with_kwargs=True)


def build(kind, fields):
    config = CONFIG_MAPPING[kind](**fields)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                scale = 0.5 if "embed_tokens" in name or "wte" in name or "embed_in" in name else 1.5 / weight.shape[-1] ** 0.5
                weight.normal_(0, scale)
            else:
                weight.normal_(0.0 if name.endswith("bias") else 1.0, 0.3)
    masks_by_layer(model, config)
    return config, model


def record(model, ids):
    values, handles = {}, []

    def keep(name, value):
        value = getattr(value, "last_hidden_state", value)
        while isinstance(value, tuple):
            value = value[0]
        # A copy: what lies behind it may be changed later.
        values[name] = value[0].detach().clone().contiguous()

    def watch(path):
        def hook(module, args, kwargs, result):
            keep(f"{path}.output", result)
            given = args[0] if args else kwargs.get("hidden_states")
            if path.rpartition(".")[2] in ("o_proj", "down_proj", "c_proj", "dense", "wpe", "q_norm", "mlp", "attn", "self_attn", "attention"):
                keep(f"{path}.input", given)
        return hook

    for path, module in model.named_modules():
        # The root returns what its head does; rotary embeddings give cosines and sines, which are no hooks; and GPT-2's
        # `attn_dropout` is called by eager attention only, with what is the pattern.
        if path and path.rpartition(".")[2] not in ("rotary_emb", "attn_dropout"):
            handles.append(module.register_forward_hook(watch(path), with_kwargs=True))
    with torch.no_grad():
        result = model(torch.tensor([ids]), output_attentions=True, use_cache=False)
    [handle.remove() for handle in handles]
    root = next(iter(dict(model.named_children())))
    attention = {"model": "layers.{}.self_attn", "transformer": "h.{}.attn", "gpt_neox": "layers.{}.attention"}[root]
    for layer, pattern in enumerate(result.attentions):
        values[f"{root}.{attention.format(layer)}.pattern"] = pattern[0].detach().clone().contiguous()
    head = [name for name, _ in model.named_children()][-1]
    assert torch.equal(values[f"{head}.output"], result.logits[0])
    return values


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/architectures")
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, (kind, fields)) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        config, model = build(kind, fields)
        tied = set(model._tied_weights_keys or []) if config.tie_word_embeddings else set()
        tensors = {f"weights/{key}": value.detach().clone().contiguous() for key, value in model.named_parameters() if key not in tied}
        for at, ids in enumerate(PROMPTS):
            tensors |= {f"{at}/{hook}": value for hook, value in record(model, ids).items()}
        path = folder / f"{name}.safetensors"
        save_file(tensors, path, {"config": json.dumps(config.to_diff_dict(), sort_keys=True), "ids": json.dumps(PROMPTS)})
        print(f"{path}: {len(tensors)} tensors, {path.stat().st_size // 1024} KiB")
    x = torch.cat([torch.linspace(-12, 12, 41), torch.tensor([0.0, 1e-4, -0.3, 0.7])])
    names = [name for name in ACT2FN if name != "prelu"]
    save_file({"x": x} | {f"y/{name}": ACT2FN[name](x.clone()).contiguous() for name in names}, folder / "activations.safetensors")

    ropes, configs = {}, {}
    for name, (kind, fields) in ROTARY.items():
        config = CONFIG_MAPPING[kind](**fields)
        rope_type = (config.rope_scaling or {}).get("rope_type", "default") if hasattr(config, "rope_scaling") else "default"
        frequencies, factor = ROPE_INIT_FUNCTIONS[rope_type](config, None)
        ropes[name] = torch.cat([frequencies, torch.tensor([float(factor)])])
        configs[name] = config.to_diff_dict()
    save_file(ropes, folder / "rotary.safetensors", {"configs": json.dumps(configs, sort_keys=True)})


main()
