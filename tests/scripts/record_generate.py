"""What transformers' `generate` makes of the tiny models, step by step: tests/data/generate/NAME.safetensors, read by tests/generate.rs.

    python tests/scripts/record_generate.py [tests/data] (transformers 4.51.3)

Greedy, with keys and values kept, no end of text. `PROGRAM/ids` is the prompt, `PROGRAM/tokens` the new tokens, and `PROGRAM/HOOK/k` what a
PyTorch hook saw of a module in step k: in and out of the head as the model's class calls it. Programs: `plain`; `scaled`, the output of layer
1 times 0.5 in every step; `once`, 3 added to it in step 2 alone; `first`, 3 added in step 0 at the second position; `penalty`, with a repetition penalty
of 1.3; `min`, where token E would end it (`min/eos`, the third token of `plain`), but not before 5 tokens; `ends`, where it does.

`filters.safetensors` has logits [rows, tokens] that are the model's, and for each setting of the logits processors (in the metadata) the
probabilities of what they leave, `SETTING`.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.generation import logits_process as lp

STEPS = 8
PROMPT = [5, 17, 200, 42, 9, 300]
LAYER = {"tiny-llama": "model.layers.{}", "tiny-gpt2": "transformer.h.{}"}
HEAD = {"tiny-llama": "lm_head", "tiny-gpt2": "lm_head"}


def first(value):
    return value[0] if isinstance(value, tuple) else value


def run(model, name, change=None, **options):
    """The new tokens, and what each hook saw in each step."""
    seen, step = {}, [-1]
    modules = dict(model.named_modules())
    watched = [LAYER[name].format(0), LAYER[name].format(1), HEAD[name]]
    handles = [model.register_forward_pre_hook(lambda *_: step.__setitem__(0, step[0] + 1))]

    def change_hook(module, args, output):
        changed = change(first(output).clone(), step[0])
        return (changed,) + output[1:] if isinstance(output, tuple) else changed

    if change is not None:
        handles.append(modules[LAYER[name].format(1)].register_forward_hook(change_hook))
    for path in watched:
        def watch(module, args, output, path=path):
            seen[f"{path}.input/{step[0]}"] = args[0].clone()
            seen[f"{path}.output/{step[0]}"] = first(output).clone()
        handles.append(modules[path].register_forward_hook(watch))
    ids = torch.tensor([PROMPT])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, use_cache=True, pad_token_id=0,
                         **{"max_new_tokens": STEPS, "eos_token_id": None} | options)
    for handle in handles:
        handle.remove()
    return {"ids": ids, "tokens": out[:, len(PROMPT):].clone(), **seen}


def scaled(h, step):
    return h * 0.5


def once(h, step):
    return h + 3 if step == 2 else h


def prompt_only(h, step):
    if step == 0:
        h[:, 1] += 3
    return h


def record(folder):
    for name in LAYER:
        model = AutoModelForCausalLM.from_pretrained(folder / name, attn_implementation="eager", torch_dtype=torch.float32).eval()
        with torch.no_grad():
            programs = {"plain": run(model, name), "scaled": run(model, name, scaled), "once": run(model, name, once),
                        "first": run(model, name, prompt_only), "penalty": run(model, name, repetition_penalty=1.3)}
            eos = int(programs["plain"]["tokens"][0, 2])
            programs["ends"] = run(model, name, eos_token_id=eos)
            programs["min"] = run(model, name, eos_token_id=eos, min_new_tokens=5)
            programs["min"]["eos"] = torch.tensor([eos])
        kept = {"ends": ["ids", "tokens"], "min": ["ids", "tokens", "eos"], "penalty": ["ids", "tokens"]}
        tensors = {f"{program}/{key}": value.contiguous().clone() for program, values in programs.items()
                   for key, value in values.items() if key in kept.get(program, [key])}
        (folder / "generate").mkdir(exist_ok=True)
        save_file(tensors, folder / "generate" / f"{name}.safetensors")
        print(name, {program: values["tokens"].tolist() for program, values in programs.items()})
        if name == "tiny-llama":
            logits = torch.cat([programs["plain"][f"lm_head.output/{k}"][:, -1] for k in range(6)])
            filters(logits, folder / "generate" / "filters.safetensors")


SETTINGS = [
    {"temperature": 0.7}, {"temperature": 2.0, "top_k": 5}, {"top_k": 50}, {"top_p": 0.8}, {"temperature": 1.3, "top_p": 0.95},
    {"min_p": 0.1}, {"temperature": 1.5, "top_k": 40, "top_p": 0.9, "min_p": 0.05}, {"top_p": 0.3}, {"top_k": 1}, {"temperature": 4.0, "min_p": 0.5},
]


def filters(logits, path):
    # Probabilities of a tiny random model are nearly flat; those of a trained one are not.
    logits = logits * torch.linspace(0.2, 2.0, len(logits))[:, None]
    tensors, ids = {"logits": logits}, torch.zeros(len(logits), 1, dtype=torch.long)
    for at, setting in enumerate(SETTINGS):
        processors = lp.LogitsProcessorList()
        if "temperature" in setting:
            processors.append(lp.TemperatureLogitsWarper(setting["temperature"]))
        if "top_k" in setting:
            processors.append(lp.TopKLogitsWarper(setting["top_k"]))
        if "top_p" in setting:
            processors.append(lp.TopPLogitsWarper(setting["top_p"]))
        if "min_p" in setting:
            processors.append(lp.MinPLogitsWarper(setting["min_p"]))
        tensors[str(at)] = torch.softmax(processors(ids, logits.clone()), dim=-1)
        print(setting, (tensors[str(at)] > 0).sum(-1).tolist())
    save_file(tensors, path, {"settings": json.dumps(SETTINGS)})


if __name__ == "__main__":
    torch.manual_seed(0)
    record(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data"))
