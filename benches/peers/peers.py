"""What a user would run instead: the tasks of benches/peers in plain torch and in nnsight.

    python peers.py torch|nnsight FOLDER THREADS

main.rs starts it and talks to it by lines of JSON on standard input and output:

    ->  {"clean": [ids], "corrupt": [ids], "long": [ids]}
    <-  {"python": "3.13.0", "torch": "2.15.0", …}
    ->  {"run": "d_sweep30_loop"}
    <-  {"cpu_ms": 6277.1, "wall_ms": 4294.5}               CPU time of all threads of this process
    ->  {"run": "d_sweep30_loop", "into": "/tmp/result"}    and writes what came out: f32 or i64, row-major
    <-  {"error": "…"}                                      where it could not be done

The versions of the tasks that are called handopt are what a person who rewrites the loop by hand reaches.
"""
import json, os, platform, sys, time, traceback, warnings

TOOL, FOLDER, THREADS = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false", CUDA_VISIBLE_DEVICES="")
# Workers of OpenMP that spin would be charged to a peer while it waits, and take the cores from whoever shares them.
os.environ.update(OMP_NUM_THREADS=str(THREADS), OMP_WAIT_POLICY="passive")
warnings.filterwarnings("ignore")
# Whatever a library prints goes to standard error, not between the lines of the protocol.
REPLIES = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

torch.set_num_threads(THREADS)
torch.set_grad_enabled(False)
transformers.utils.logging.disable_progress_bar()
model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


def reply(**fields):
    print(json.dumps(fields), file=REPLIES, flush=True)


def ask():
    line = sys.stdin.readline()
    return json.loads(line) if line else None


prompts = {name: torch.tensor([ids]) for name, ids in ask().items()}
clean, corrupt, long = prompts["clean"], prompts["corrupt"], prompts["long"]
config = model.config
LAYERS, HEADS, GROUPS = config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads
SIZE, POSITIONS = config.hidden_size // HEADS, clean.shape[1]
PLACES = [(l, p) for l in range(LAYERS) for p in range(POSITIONS)]
EVERY_HEAD = [(l, h) for l in range(LAYERS) for h in range(HEADS)]
versions = {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}


def first(output):
    return output[0] if isinstance(output, tuple) else output


def columns(head):
    return slice(head * SIZE, (head + 1) * SIZE)


# ---------------------------------------------------------------- torch: hooks, as a careful user writes them

layers, norm, head = model.model.layers, model.model.norm, model.lm_head


def forward(ids, keep=0):
    return model(ids, use_cache=False, logits_to_keep=keep).logits


def with_hooks(hooks, ids, keep=0):
    try:
        return forward(ids, keep)
    finally:
        for hook in hooks:
            hook.remove()


def capture(ids, modules, keep=0):
    """The outputs of modules by their keys, and the logits."""
    found = {}

    def hook(key):
        return lambda _module, _inputs, output: found.__setitem__(key, first(output))
    logits = with_hooks([module.register_forward_hook(hook(key)) for key, module in modules], ids, keep)
    return found, logits


def in_place(edit, of):
    """A hook that edits a value in place; one that returns something would replace it."""
    def hook(_module, inputs, output=None):
        edit(of(inputs, output))
    return hook


def patched(ids, edits, keep=0):
    """The logits after edits, in place, of the outputs of layers: {layer: hidden -> None}."""
    hooks = [layers[l].register_forward_hook(in_place(edit, lambda _inputs, output: first(output))) for l, edit in edits.items()]
    return with_hooks(hooks, ids, keep)


def mixed(ids, edits, keep=0):
    """The logits after edits, in place, of what goes into `o_proj`."""
    hooks = [layers[l].self_attn.o_proj.register_forward_pre_hook(in_place(edit, lambda inputs, _: inputs[0])) for l, edit in edits.items()]
    return with_hooks(hooks, ids, keep)


def mixed_of(ids):
    """What goes into `o_proj`, of all layers."""
    found = {}
    mixed(ids, {l: lambda z, l=l: found.__setitem__(l, z.clone()) for l in range(LAYERS)}, keep=1)
    return found


residuals = list(enumerate(layers))
saved90 = [(key, module) for l, layer in enumerate(layers) for key, module in ((3 * l, layer.self_attn), (3 * l + 1, layer.mlp), (3 * l + 2, layer))]


def by_row(edits):
    """One edit of a layer that makes those of all rows."""
    def edit(hidden):
        for one in edits:
            one(hidden)
    return edit


def torch_sweep30_loop():
    h, _ = capture(clean, residuals)
    return torch.cat([patched(corrupt, {l: lambda t, l=l: t[:, -1].copy_(h[l][:, -1])})[:, -1] for l in range(LAYERS)])


def torch_sweep30_batched():
    h, _ = capture(clean, residuals, keep=1)
    return patched(corrupt.repeat(LAYERS, 1), {l: lambda t, l=l: t[l, -1].copy_(h[l][0, -1]) for l in range(LAYERS)}, keep=1)[:, -1]


def torch_sweep240_loop():
    h, _ = capture(clean, residuals)
    return torch.cat([patched(corrupt, {l: lambda t, l=l, p=p: t[:, p].copy_(h[l][:, p])})[:, -1] for l, p in PLACES])


def torch_sweep240_batched():
    h, _ = capture(clean, residuals, keep=1)
    edits = {}
    for row, (l, p) in enumerate(PLACES):
        edits.setdefault(l, []).append(lambda t, row=row, l=l, p=p: t[row, p].copy_(h[l][0, p]))
    return patched(corrupt.repeat(len(PLACES), 1), {l: by_row(of) for l, of in edits.items()}, keep=1)[:, -1]


def heads_loop(positions):
    """Head by head: the head's columns of what goes into `o_proj` are those of the clean run."""
    z = mixed_of(clean)

    def edit(l, h):
        return lambda t: t[:, positions, columns(h)].copy_(z[l][:, positions, columns(h)])
    return torch.cat([mixed(corrupt, {l: edit(l, h)}, keep=1)[:, -1] for l, h in EVERY_HEAD])


def heads_batched(positions):
    z = mixed_of(clean)
    edits = {}
    for row, (l, h) in enumerate(EVERY_HEAD):
        edits.setdefault(l, []).append(lambda t, row=row, l=l, h=h: t[row, positions, columns(h)].copy_(z[l][0, positions, columns(h)]))
    return mixed(corrupt.repeat(len(EVERY_HEAD), 1), {l: by_row(of) for l, of in edits.items()}, keep=1)[:, -1]


# By hand: rows join the batch at the layer where they begin to differ, and only what can change is computed.

def rope(length):
    return model.model.rotary_emb(torch.zeros(1, length, 1), torch.arange(length)[None])


def run_layer(l, rows, angles):
    return first(layers[l](rows, attention_mask=None, position_embeddings=angles, past_key_values=None, use_cache=False))


def joined(rows, new):
    return new if rows is None else torch.cat([rows, new])


def torch_sweep240_handopt_prefix():
    angles, hc, hx = rope(POSITIONS), capture(clean, residuals)[0], capture(corrupt, residuals)[0]
    rows = None
    for l in range(LAYERS):
        rows = None if rows is None else run_layer(l, rows, angles)
        new = hx[l].repeat(POSITIONS, 1, 1)
        for p in range(POSITIONS):
            new[p, p] = hc[l][0, p]
        rows = joined(rows, new)
    return head(norm(rows[:, -1]))


def last_token(l, rows, keys, values, angles):
    """A layer for the last token of rows whose earlier tokens are those of one run."""
    layer, n = layers[l], rows.shape[0]
    attention = layer.self_attn
    x = layer.input_layernorm(rows)
    q = attention.q_proj(x).view(n, 1, HEADS, SIZE).transpose(1, 2)
    k = attention.k_proj(x).view(n, 1, GROUPS, SIZE).transpose(1, 2)
    v = attention.v_proj(x).view(n, 1, GROUPS, SIZE).transpose(1, 2)
    q, k = apply_rotary_pos_emb(q, k, *angles)
    k = torch.cat([keys[:, :, :-1].expand(n, -1, -1, -1), k], 2)
    v = torch.cat([values[:, :, :-1].expand(n, -1, -1, -1), v], 2)
    o = torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).reshape(n, 1, HEADS * SIZE)
    rows = rows + attention.o_proj(o)
    return rows + layer.mlp(layer.post_attention_layernorm(rows))


def torch_sweep30_handopt_causal():
    angles = tuple(part[:, -1:] for part in rope(POSITIONS))
    hc = capture(clean, residuals)[0]
    past = model(corrupt, use_cache=True, logits_to_keep=1).past_key_values
    rows = None
    for l in range(LAYERS):
        rows = None if rows is None else last_token(l, rows, past.layers[l].keys, past.layers[l].values, angles)
        rows = joined(rows, hc[l][:, -1:])
    return head(norm(rows[:, -1]))


def heads_joining(l, z, clean_z, residual):
    """The rows of a layer's heads, from what goes into `o_proj` and the residual before attention, to the layer's output."""
    layer, new = layers[l], z.repeat(HEADS, 1, 1)
    for h in range(HEADS):
        new[h, :, columns(h)] = clean_z[0, :, columns(h)]
    new = residual + layer.self_attn.o_proj(new)
    return new + layer.mlp(layer.post_attention_layernorm(new))


def torch_heads_handopt_prefix():
    angles, zc, zx = rope(POSITIONS), mixed_of(clean), mixed_of(corrupt)
    hx = {-1: model.model.embed_tokens(corrupt), **capture(corrupt, residuals, keep=1)[0]}
    rows = None
    for l in range(LAYERS):
        rows = None if rows is None else run_layer(l, rows, angles)
        rows = joined(rows, heads_joining(l, zx[l], zc[l], hx[l - 1]))
    return head(norm(rows[:, -1]))


def torch_heads_last_handopt_causal():
    angles = tuple(part[:, -1:] for part in rope(POSITIONS))
    zc, zx = mixed_of(clean), mixed_of(corrupt)
    hx = {-1: model.model.embed_tokens(corrupt), **capture(corrupt, residuals, keep=1)[0]}
    past = model(corrupt, use_cache=True, logits_to_keep=1).past_key_values
    rows = None
    for l in range(LAYERS):
        rows = None if rows is None else last_token(l, rows, past.layers[l].keys, past.layers[l].values, angles)
        rows = joined(rows, heads_joining(l, zx[l][:, -1:], zc[l][:, -1:], hx[l - 1][:, -1:]))
    return head(norm(rows[:, -1]))


def states(ids):
    """The residuals after each layer."""
    found, _ = capture(ids, residuals, keep=1)
    return [found[l] for l in range(LAYERS)]


def torch_lens_all(ids):
    return torch.cat([head(norm(h)).argmax(-1) for h in states(ids)])


def torch_lens_last(ids):
    return head(norm(torch.stack([h[:, -1] for h in states(ids)]))).argmax(-1)


def lens_lead(ids, last):
    """How far the first of the logits leads the second, as a part of the row's length: what tells whether arg-max is decided."""
    def lead(h):
        logits = head(norm(h))
        best = logits.topk(2, -1).values
        return (best[..., 0] - best[..., 1]) / logits.norm(dim=-1)
    return torch.cat([lead(h[:, -1:] if last else h) for h in states(ids)])


def torch_save90(ids):
    found, _ = capture(ids, saved90)
    return [found[key] for key in range(len(saved90))]


def torch_layer3(ids):
    return capture(ids, [(3, layers[3])])[0][3]


class Enough(Exception):
    pass


def torch_layer3_stop(ids):
    found = []

    def hook(_module, _inputs, output):
        found.append(first(output))
        raise Enough
    handle = layers[3].register_forward_hook(hook)
    try:
        model(ids, use_cache=False)
    except Enough:
        return found[0]
    finally:
        handle.remove()


ALL, LAST = slice(None), slice(-1, None)
TORCH = {
    "d_sweep30_loop": torch_sweep30_loop,
    "d_sweep30_batched": torch_sweep30_batched,
    "d_sweep30_handopt_causal": torch_sweep30_handopt_causal,
    "e_sweep240_loop": torch_sweep240_loop,
    "e_sweep240_batched": torch_sweep240_batched,
    "e_sweep240_handopt_prefix": torch_sweep240_handopt_prefix,
    "heads_loop": lambda: heads_loop(ALL),
    "heads_batched": lambda: heads_batched(ALL),
    "heads_handopt_prefix": torch_heads_handopt_prefix,
    "heads_last_loop": lambda: heads_loop(LAST),
    "heads_last_batched": lambda: heads_batched(LAST),
    "heads_last_handopt_causal": torch_heads_last_handopt_causal,
    "f_lens_last_s8": lambda: torch_lens_last(clean),
    "f_lens_last_s128": lambda: torch_lens_last(long),
    "f_lens_all_s8": lambda: torch_lens_all(clean),
    "f_lens_all_s128": lambda: torch_lens_all(long),
    "f_lens_last_s8_lead": lambda: lens_lead(clean, True),
    "f_lens_last_s128_lead": lambda: lens_lead(long, True),
    "f_lens_all_s8_lead": lambda: lens_lead(clean, False),
    "f_lens_all_s128_lead": lambda: lens_lead(long, False),
    "h_save90_s8": lambda: torch_save90(clean),
    "h_save90_s128": lambda: torch_save90(long),
    "j_layer3_s8": lambda: torch_layer3(clean),
    "j_layer3_s128": lambda: torch_layer3(long),
    "j_layer3_stop_s8": lambda: torch_layer3_stop(clean),
    "j_layer3_stop_s128": lambda: torch_layer3_stop(long),
}


def contrast():
    """What tells the clean prompt from the other at layer 10, at the last position: [1, 1, hidden]."""
    last = [capture(ids, [(10, layers[10])], keep=1)[0][10][:, -1:] for ids in (clean, corrupt)]
    return last[0] - last[1]


GREEDY = dict(max_new_tokens=50, do_sample=False, eos_token_id=None, pad_token_id=0)


def steered(**more):
    vector = contrast()
    hook = layers[10].register_forward_hook(in_place(lambda hidden: hidden.add_(vector), lambda _inputs, output: first(output)))
    try:
        return model.generate(clean, attention_mask=torch.ones_like(clean), **GREEDY, **more)
    finally:
        hook.remove()


def steered_lead():
    logits = torch.cat(steered(output_logits=True, return_dict_in_generate=True).logits)
    best = logits.topk(2, -1).values
    return (best[:, 0] - best[:, 1]) / logits.norm(dim=-1)


TORCH["k_steered50"] = lambda: steered()[:, POSITIONS:]
TORCH["k_steered50_lead"] = steered_lead


# ---------------------------------------------------------------- nnsight: as its documentation has it

def nnsight_tasks():
    import nnsight
    versions["nnsight"] = nnsight.__version__
    lm = nnsight.LanguageModel(model, tokenizer=AutoTokenizer.from_pretrained(FOLDER))
    L = lm.model.layers

    def sweep30_session():
        with lm.session():
            outs = nnsight.save([])
            with lm.trace(clean):
                hs = [L[l].output[:, -1] for l in range(LAYERS)]
            for l in range(LAYERS):
                with lm.trace(corrupt):
                    L[l].output[:, -1] = hs[l]
                    outs.append(lm.lm_head.output[:, -1])
        return torch.cat(list(outs))

    def sweep30_invokes():
        with lm.trace(clean):
            hs = nnsight.save([L[l].output[:, -1] for l in range(LAYERS)])
        with lm.trace() as tracer:
            outs = nnsight.save([])
            for l in range(LAYERS):
                with tracer.invoke(corrupt):
                    L[l].output[:, -1] = hs[l]
                    outs.append(lm.lm_head.output[:, -1])
        return torch.cat(list(outs))

    def lens(ids, last):
        with lm.trace(ids, logits_to_keep=1):
            tops = nnsight.save([])
            for l in range(LAYERS):
                h = L[l].output[:, -1:] if last else L[l].output
                tops.append(lm.lm_head(lm.model.norm(h)).argmax(-1))
        return torch.cat(list(tops))

    def save90(ids):
        with lm.trace(ids):
            out = []
            for l in range(LAYERS):
                out.append(L[l].self_attn.output[0])
                out.append(L[l].mlp.output)
                out.append(L[l].output)
            out = nnsight.save(out)
        return list(out)

    def layer3(ids, stop):
        with lm.trace(ids) as tracer:
            h = L[3].output.save()
            if stop:
                tracer.stop()
        return h

    def steered50():
        with lm.session():
            with lm.trace(clean):
                a = L[10].output[:, -1:]
            with lm.trace(corrupt):
                b = L[10].output[:, -1:]
            with lm.generate(clean, **GREEDY) as tracer:
                for _ in tracer.iter[:50]:
                    L[10].output[:] = L[10].output + (a - b)
                out = tracer.result.save()
        return out[:, POSITIONS:]

    return {
        "k_steered50": steered50,
        "d_sweep30_session": sweep30_session,
        "d_sweep30_invokes": sweep30_invokes,
        "f_lens_last_s8": lambda: lens(clean, True),
        "f_lens_last_s128": lambda: lens(long, True),
        "f_lens_all_s8": lambda: lens(clean, False),
        "f_lens_all_s128": lambda: lens(long, False),
        "h_save90_s8": lambda: save90(clean),
        "h_save90_s128": lambda: save90(long),
        "j_layer3_stop_s8": lambda: layer3(clean, True),
        "j_layer3_stop_s128": lambda: layer3(long, True),
    }


def write(result, path):
    parts = result if isinstance(result, list) else [result]
    with open(path, "wb") as file:
        for part in parts:
            file.write(part.contiguous().numpy().tobytes())


def run(task, into):
    start, cpu = time.perf_counter(), time.process_time()
    result = task()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - start
    if into:
        write(result, into)
    reply(cpu_ms=cpu * 1e3, wall_ms=wall * 1e3)


tasks = TORCH if TOOL == "torch" else nnsight_tasks()
reply(**versions)
while (line := ask()) is not None:
    try:
        run(tasks[line["run"]], line.get("into"))
    except Exception as error:
        traceback.print_exc()
        reply(error=f"{type(error).__name__}: {error}")
