"""Operands, and how cases are written down."""
import json
import sys

import torch

F64, F32, F16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16
I64, I32, U8, BOOL = torch.int64, torch.int32, torch.uint8, torch.bool
NAMES = {F64: "f64", F32: "f32", F16: "f16", BF16: "bf16", I64: "i64", I32: "i32", U8: "u8", BOOL: "bool"}
FLOATS, INTS = [F64, F32, F16, BF16], [I64, I32, U8]
NUMBERS = FLOATS + INTS
nan, inf = float("nan"), float("inf")


# Operands.

def t(values, dtype=F32):
    return torch.tensor(values, dtype=dtype)


def rand(*shape, dtype=F32):
    """Numbers around zero: normal for floats, -9 to 9 for integers (0 to 9 for u8), coins for bools."""
    if dtype == BOOL:
        return torch.rand(shape) < 0.5
    if dtype in INTS:
        return torch.randint(0 if dtype == U8 else -9, 10, shape).to(dtype)
    return torch.randn(shape).to(dtype)


def special(dtype=F32):
    """What goes wrong first."""
    return t([nan, inf, -inf, 0.0, -0.0, 1.0, -1.5, 3e-8, 65504.0, 0.1], dtype)


def in_dims(function):
    """`function` of all dimensions where none are given; a tensor without dimensions has one."""
    def run(x, dims=(), keepdim=False, **attrs):
        if x.dim() == 0:
            return function(x.reshape(1), [0], False, **attrs)
        return function(x, list(dims) or list(range(x.dim())), keepdim, **attrs)
    return run


# The operations in PyTorch's words, by name.
WORDS = {}
# The cases of each operation for the file that is written next.
CASES = {}


def text(value):
    if isinstance(value, (tuple, list)):
        return [text(part) for part in value]
    value = value.detach().contiguous()
    flat = value.flatten().view(torch.int16).numpy() if value.dtype in (F16, BF16) else value.flatten().numpy()
    return f"{NAMES[value.dtype]} {'x'.join(map(str, value.shape))} {flat.tobytes().hex()}"


def attr(value):
    if isinstance(value, torch.Tensor):
        return text(value)
    if isinstance(value, float) and not abs(value) < inf:
        return str(value)  # JSON has no word for it
    return NAMES[value] if isinstance(value, torch.dtype) else value


def record(op, operands, attrs, result):
    CASES.setdefault(op, []).append([{name: attr(value) for name, value in attrs.items()}, text(operands), result])


def case(op, *operands, **attrs):
    record(op, operands, attrs, text(WORDS[op](*operands, **attrs)))


def refused(op, *operands, **attrs):
    try:
        WORDS[op](*operands, **attrs)
    except (RuntimeError, IndexError, TypeError, ValueError):
        return record(op, operands, attrs, None)
    raise AssertionError(f"PyTorch accepts {op} {operands} {attrs}")


def write(path):
    """Writes the cases recorded since the last file."""
    groups = [f'"{op}":[\n' + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]" for op, cases in sorted(CASES.items(), key=lambda item: list(WORDS).index(item[0]))]
    with open(path, "w") as file:
        file.write("{" + ",\n".join(groups) + "}\n")
    print(f"{path}: {sum(map(len, CASES.values()))} cases of {len(CASES)} operations, {sum(map(len, groups)) // 1024} KiB", file=sys.stderr)
    CASES.clear()
