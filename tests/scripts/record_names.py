"""Records how others name the insides of models: what modules of Hugging Face transformers take and return, and which of
TransformerLens' hooks holds the same value as which of ours.

    python record_names.py ../data/names.json       # torch, transformers 4.51.3, transformer_lens 2.16.1; no network

Models are tiny, their weights random (norms and biases, too), so that two hooks are equal only if they are the same value.
`modules`: for each module that is called, `output` is "tensor", a list for a tuple, a map for an object; `input` is where
what we call `.input` stands: the place among positional arguments, or a keyword. `hooks`: for each hook of TransformerLens,
our hooks that hold the same (relative difference up to 1e-4), and those that hold it in another shape. Layers are `#`.
"""

import json
import re
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from transformers.models.gpt2 import modeling_gpt2
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained import weight_conversions as convert

assert transformers.__version__ == "4.51.3", transformers.__version__
WIDE = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, vocab_size=50, max_position_embeddings=32)
GROUPED = dict(WIDE, num_key_value_heads=2, head_dim=6, rope_theta=10000.0)
ROTARY = dict(positional_embedding_type="rotary", final_rms=True, normalization_type="RMS", gated_mlp=True, act_fn="silu",
              n_key_value_heads=2, rotary_dim=6, rotary_base=10000, eps=1e-6)
MODELS = {
    "llama": (LlamaConfig(**GROUPED), modeling_llama, dict(ROTARY), "convert_llama_weights"),
    "mistral": (MistralConfig(**GROUPED, sliding_window=None), modeling_mistral, dict(ROTARY), "convert_mistral_weights"),
    "qwen2": (Qwen2Config(**{k: v for k, v in GROUPED.items() if k != "head_dim"}), modeling_qwen2, dict(ROTARY), "convert_qwen2_weights"),
    "qwen3": (Qwen3Config(**GROUPED), modeling_qwen3, dict(ROTARY, use_qk_norm=True), "convert_qwen3_weights"),
    "gpt2": (GPT2Config(n_embd=24, n_layer=3, n_head=4, n_inner=40, vocab_size=50, n_positions=32), modeling_gpt2,
             dict(normalization_type="LN", act_fn="gelu_new", eps=1e-5), "convert_gpt2_weights"),
    "gpt_neox": (GPTNeoXConfig(**WIDE, rotary_pct=0.34), modeling_gpt_neox,
                 dict(normalization_type="LN", act_fn="gelu", eps=1e-5, parallel_attn_mlp=True, positional_embedding_type="rotary",
                      rotary_dim=2, rotary_adjacent_pairs=False), "convert_neox_weights"),
}
TOKENS = torch.tensor([[3, 14, 15, 9, 26], [5, 35, 8, 9, 7]])


def hashed(name):
    return re.sub(r"\.\d+\.", ".#.", name) if ".1." in name else name


def kind(value):
    if isinstance(value, torch.Tensor):
        return "tensor"
    if hasattr(value, "to_tuple"):
        return {name: kind(part) for name, part in value.items()}
    if isinstance(value, tuple) and all(isinstance(part, torch.Tensor) for part in value) and len(value) == 2 and value[0].ndim == 4:
        return "cache"
    if isinstance(value, (tuple, list)):
        return [kind(part) for part in value]
    return "none" if value is None else "cache"


def structures(model):
    """What modules take and return in a plain forward pass."""
    found = {}

    def see(name):
        def hook(module, args, kwargs, output):
            first = next((name for name in ("hidden_states", "input_ids") if isinstance(kwargs.get(name), torch.Tensor)), None)
            place = 0 if args and isinstance(args[0], torch.Tensor) else first
            found[hashed(name)] = {"output": kind(output), "input": place}
        return hook

    only = [(name, module) for name, module in model.named_modules() if not re.search(r"\.[02](\.|$)", name)]
    handles = [module.register_forward_hook(see(name), with_kwargs=True) for name, module in only]
    model(input_ids=TOKENS, attention_mask=torch.ones_like(TOKENS))
    for handle in handles:
        handle.remove()
    return {re.sub(r"\.1$", ".#", name): value for name, value in found.items()}


def our_values(model, modeling):
    """Our hooks: `.input` and `.output` of modules, and what attention has inside."""
    values, current = {}, []

    def first(part):
        part = part[0] if isinstance(part, tuple) else part
        return part if isinstance(part, torch.Tensor) else getattr(part, "last_hidden_state", getattr(part, "logits", None))

    def before(name):
        def hook(module, args, kwargs):
            current.append(name)
            value = args[0] if args else kwargs.get("hidden_states", kwargs.get("input_ids"))
            if isinstance(value, torch.Tensor):
                values[f"{name}.input"] = value.detach().clone()
        return hook

    def after(name):
        def hook(module, args, kwargs, output):
            current.pop()
            if first(output) is not None:
                values[f"{name}.output"] = first(output).detach().clone()
        return hook

    original = modeling.eager_attention_forward

    def attention(module, query, key, value, mask, *args, **kwargs):
        z, pattern = original(module, query, key, value, mask, *args, **kwargs)
        groups = query.shape[1] // key.shape[1]
        scores = query @ key.repeat_interleave(groups, 1).transpose(2, 3) * query.shape[-1] ** -0.5
        inside = dict(q=query.transpose(1, 2), k=key.transpose(1, 2), v=value.transpose(1, 2), scores=scores, pattern=pattern, z=z)
        values.update({f"{current[-1]}.{leaf}": part.detach().clone() for leaf, part in inside.items()})
        return z, pattern

    # One row of positions serves all rows of a batch there; here each row has its own.
    def row_by_row(value):
        return value.expand(len(TOKENS), *value.shape[1:]) if value.ndim == 3 and len(value) == 1 else value

    named = [(name, module) for name, module in model.named_modules() if name]
    handles = [module.register_forward_pre_hook(before(name), with_kwargs=True) for name, module in named]
    handles += [module.register_forward_hook(after(name), with_kwargs=True) for name, module in named]
    modeling.eager_attention_forward = attention
    model(input_ids=TOKENS, attention_mask=torch.ones_like(TOKENS))
    modeling.eager_attention_forward = original
    for handle in handles:
        handle.remove()
    return {name: row_by_row(value) for name, value in values.items()}


def lens(config, model, options, conversion):
    """TransformerLens' values of the same weights, as `from_pretrained_no_processing` would load them."""
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    cfg = HookedTransformerConfig(
        n_layers=3, d_model=24, n_ctx=32, d_head=head, n_heads=heads, d_mlp=40, d_vocab=50, device="cpu",
        original_architecture=type(model).__name__, use_attn_result=True, use_split_qkv_input=False, use_hook_tokens=True, **options)
    other = HookedTransformer(cfg)
    other.load_and_process_state_dict(
        getattr(convert, conversion)(model, cfg), fold_ln=False, center_writing_weights=False, center_unembed=False,
        fold_value_biases=False, refactor_factored_attn_matrices=False)
    logits, cache = other.run_with_cache(TOKENS, prepend_bos=False)
    return logits, cache


def same(a, b):
    a, b = a.double(), b.double()
    return bool(torch.isfinite(a).all() and (a - b).norm() <= 1e-4 * b.norm())


def main(path):
    record = {}
    for name, (config, modeling, options, conversion) in MODELS.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval().requires_grad_(False)
        for weight in model.parameters():
            weight.normal_(0.0, 0.3).add_(1.0 if weight.ndim == 1 and weight.shape[0] in (6, 24) else 0.0)
        modules = structures(model)
        model.config._attn_implementation = "eager"
        ours = our_values(model, modeling)
        logits, cache = lens(config, model, options, conversion)
        assert same(logits, ours["lm_head.output" if name != "gpt_neox" else "embed_out.output"]), f"{name}: the logits differ"
        hooks = {}
        for hook in cache:
            if hook.startswith("blocks.") and not hook.startswith("blocks.1."):
                continue
            value = cache[hook]
            equal = [other for other, mine in ours.items() if mine.shape == value.shape and same(value, mine)]
            flat = [other for other, mine in ours.items() if mine.shape != value.shape and mine.numel() == value.numel()
                    and same(value.reshape(-1), mine.reshape(-1))]
            hooks[hook.replace("blocks.1.", "blocks.#.")] = {"same": equal, "reshaped": flat}
        record[name] = {"modules": modules, "hooks": hooks}
        print(name, len(modules), "modules,", len(hooks), "hooks")
    with open(path, "w") as file:
        lines = lambda part: ",\n".join(f"   {json.dumps(name)}: {json.dumps(value)}" for name, value in part.items())
        parts = lambda entry: ",\n".join(f'  "{part}": {{\n{lines(entry[part])}\n  }}' for part in ("modules", "hooks"))
        file.write("{\n" + ",\n".join(f' "{name}": {{\n{parts(entry)}\n }}' for name, entry in record.items()) + "\n}\n")


main(sys.argv[1])
