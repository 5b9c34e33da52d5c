"""Powers and divisions, functions, activations, what goes along dimensions, losses: their words in PyTorch, and cases."""
import torch
import torch.nn.functional as F

from recorder import BF16, BOOL, F16, F32, F64, FLOATS, I32, I64, INTS, NAMES, U8, WORDS, case, in_dims, inf, nan, rand, refused, special, t


# The operations in PyTorch's words.

def prod(x, dims=(), keepdim=False):
    if dims:
        (dim,) = dims  # PyTorch takes one; several are the same, one after the other
        return torch.prod(x, dim, keepdim=keepdim)
    return torch.prod(x).reshape([1] * x.dim() if keepdim else [])


# Functions of one number whose results are floats.
FUNCTIONS = ("reciprocal", "rsqrt", "exp2", "expm1", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "erf")
# Functions of one number that keep its type.
ROUNDINGS = ("floor", "ceil", "round", "trunc", "frac", "sign", "square")
ACTIVATIONS = {
    "relu": F.relu,
    "leaky_relu": lambda x, slope=0.01: F.leaky_relu(x, slope),
    "elu": F.elu,
    "softplus": F.softplus,
    "mish": F.mish,
    "log_sigmoid": F.logsigmoid,
}
DIVISIONS = {"floor_div": torch.floor_divide, "remainder": torch.remainder, "fmod": torch.fmod}

WORDS.update({op: getattr(torch, op) for op in FUNCTIONS + ROUNDINGS + ("isnan", "isinf", "isfinite")})
WORDS.update(ACTIVATIONS)
WORDS.update(DIVISIONS)
WORDS.update({
    "pow": torch.pow, "atan2": torch.atan2, "logaddexp": torch.logaddexp, "xor": torch.logical_xor,
    "clamp": lambda x, min=None, max=None: torch.clamp(x, min, max),
    "log_softmax": lambda x, dim: torch.log_softmax(x, dim),
    "argmin": lambda x, dim=None, keepdim=False: torch.argmin(x, dim, keepdim=keepdim),
    "sort": lambda x, dim=-1, descending=False: tuple(torch.sort(x, dim=dim, descending=descending, stable=True)),
    "cumsum": lambda x, dim: torch.cumsum(x, dim),
    "cumprod": lambda x, dim: torch.cumprod(x, dim),
    "prod": prod,
    "any": in_dims(lambda x, dims, keepdim: torch.any(x, dim=dims, keepdim=keepdim)),
    "all": in_dims(lambda x, dims, keepdim: torch.all(x, dim=dims, keepdim=keepdim)),
    "logsumexp": in_dims(lambda x, dims, keepdim: torch.logsumexp(x, dims, keepdim)),
    "norm": in_dims(lambda x, dims, keepdim, p=2.0: torch.linalg.vector_norm(x, p, dims, keepdim)),
    "var": in_dims(lambda x, dims, keepdim, correction=1: torch.var(x, dims, correction=correction, keepdim=keepdim)),
    "std": in_dims(lambda x, dims, keepdim, correction=1: torch.std(x, dims, correction=correction, keepdim=keepdim)),
    "cosine_similarity": lambda x, y, dim=1, eps=1e-8: F.cosine_similarity(x, y, dim, eps),
    "cross_entropy": lambda x, y, reduction="mean", ignore_index=-100, label_smoothing=0.0:
        F.cross_entropy(x, y, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing),
    "kl_div": lambda x, y, reduction="mean", log_target=False: F.kl_div(x, y, reduction=reduction, log_target=log_target),
})


# Cases.

def shapes(op, *others, **attrs):
    """How operands without dimensions, without elements and of different shapes meet."""
    case(op, t(2.5), t(1.5), **attrs), case(op, rand(2, 0), rand(1), **attrs), case(op, rand(2, 1, 3), rand(1, 4, 1), **attrs)
    case(op, rand(2, 3, 2), rand(3, 1), **attrs), case(op, rand(3, dtype=F16), t(0.5), **attrs), case(op, rand(6, dtype=BF16), t(0.3), **attrs)
    case(op, rand(3), t(0.1, F64), **attrs), case(op, t(0.25), rand(3, dtype=BF16), **attrs), case(op, t(1.5, F16), t(2.5, BF16), **attrs)
    refused(op, rand(2), rand(3), **attrs)


def arithmetic():
    for op in (*DIVISIONS, "pow", "atan2", "logaddexp", "xor"):
        def divisor(x):
            return x.where(x != 0, torch.full_like(x, 3)) if op in DIVISIONS and x.dtype not in FLOATS else x
        for dtype in NAMES:
            a, b = rand(2, 3, dtype=dtype), divisor(rand(3, dtype=dtype))
            if dtype == BOOL and op in ("pow", *DIVISIONS) or dtype not in FLOATS and op == "logaddexp":
                refused(op, a, b)
            else:
                case(op, a, b)
            if dtype in FLOATS:
                x = special(dtype)
                case(op, x, x.roll(3)), case(op, x[:, None], x.roll(1)[:4])
        for a, b in ((F16, BF16), (I64, BF16), (U8, I32), (F32, F64), (I32, F16), (BOOL, U8), (BOOL, F32)):
            if op != "logaddexp" or F16 in (a, b) or b in FLOATS:
                case(op, rand(3, dtype=a), divisor(rand(2, 1, dtype=b)))
        shapes(op)
        if op != "logaddexp":
            case(op, rand(4, dtype=I32), t(3)), case(op, t(7), divisor(rand(3, dtype=I32))), case(op, t(2.5), divisor(rand(3, dtype=I64)))
    for op in DIVISIONS:
        a, b = t([7, -7, 7, -7, 6, -6, 0, 1]), t([3, 3, -3, -3, 3, 3, -5, -5])
        for dtype in FLOATS + [I64, I32]:
            case(op, a.to(dtype), b.to(dtype)), case(op, (a * 0.7).to(dtype), t(-2, dtype))
        case(op, t([250, 9, 0], U8), t([7, 200, 3], U8)), case(op, rand(40) * 30, rand(40)), case(op, t([2**62 + 1, -2**63], I64), t([10, 7], I64))
        case(op, torch.zeros(0, dtype=I64), t([0], I64)), case(op, t([1e30, -1e30, 0.3]), t([0.1, 0.1, 0.1]))
        refused(op, t([1, 2], I64), t([1, 0], I64)), refused(op, t([1], U8), t(0, U8)), refused(op, rand(2, dtype=BOOL), rand(2, dtype=BOOL))
    case("pow", rand(20).abs(), rand(20) * 3), case("pow", rand(20), t(2.0)), case("pow", rand(9), t(3)), case("pow", t([4.0, 0.0, -inf, -0.0]), t(0.5))
    case("pow", t([2, 1, -1, 0, -2], I64), t(-1, I64)), case("pow", t([-1, -1, -3], I32), t([-2, -3, 3], I32)), case("pow", t([3, 10, -7], I64), t([40, 25, 63], I64))
    case("pow", t([250, 3, 2], U8), t([3, 9, 8], U8)), case("pow", t(2), t([0, 1, 10], I64)), case("pow", t([2, 3], I64), t(0.5)), case("pow", t([0, 0], I64), t([0, 5], I64))
    case("atan2", rand(20), rand(20)), case("logaddexp", rand(20) * 40, rand(20) * 40)
    case("logaddexp", t([inf, -inf, inf, 1.0, nan]), t([inf, -inf, -inf, -inf, inf]))


def functions():
    for op in FUNCTIONS:
        spread = (lambda x: torch.tanh(x)) if op in ("asin", "acos") else (lambda x: x.abs()) if op in ("rsqrt", "log1p", "log2", "log10") else (lambda x: x * 4)
        for dtype in NAMES:
            x = rand(2, 3, dtype=dtype)
            case(op, spread(x).to(dtype) if dtype in FLOATS else x)
            if dtype in FLOATS:
                case(op, special(dtype))
        case(op, t(0.75)), case(op, rand(0, 3)), case(op, spread(rand(30))), case(op, rand(9) * 1e-4), case(op, rand(9) * 30)
    for op in ROUNDINGS + ("isnan", "isinf", "isfinite"):
        for dtype in NAMES:
            x = rand(2, 3, dtype=dtype)
            if dtype == BOOL and op in ("floor", "ceil", "round", "trunc") or dtype not in FLOATS and op == "frac":
                refused(op, x)
            else:
                case(op, x * 3 if dtype in FLOATS else x)
            if dtype in FLOATS:
                case(op, special(dtype)), case(op, t([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997, 8388609.0, -7.999], dtype))
        case(op, t(-2.5)), case(op, rand(0, 3)), case(op, rand(20) * 9)
    case("square", t([2**40, -5], I64)), case("square", t([70000, -5], I32)), case("square", t([20, 3], U8))

    for dtype in NAMES:
        case("clamp", rand(6, dtype=dtype) if dtype == BOOL else rand(6, dtype=dtype) * 2, min=0 if dtype == U8 else -1, max=2)
        case("clamp", rand(6, dtype=dtype), min=0.5)
        if dtype in FLOATS:
            case("clamp", special(dtype), min=-1.3, max=0.1), case("clamp", special(dtype), max=inf), case("clamp", rand(6, dtype=dtype), min=2.0, max=-1.0)
    case("clamp", t(3.0), max=1.0), case("clamp", rand(2, 0), min=0.0), case("clamp", t([-2**63, 2**53 + 1], I64), min=-5), case("clamp", rand(4, dtype=I32), max=inf)
    case("clamp", t([1.0, -inf, nan]), min=-inf), case("clamp", t([3, 250], U8), min=5, max=2)
    refused("clamp", rand(3)), refused("clamp", rand(3, dtype=U8), max=300), refused("clamp", rand(3, dtype=F16), max=1e5)


def activations():
    variants = {"leaky_relu": [{"slope": 0.3}, {"slope": -1.0}], "elu": [{"alpha": 0.5}, {"alpha": -2.0}], "softplus": [{"beta": 2.5, "threshold": 1.0}, {"beta": -0.5}]}
    for op in ACTIVATIONS:
        for dtype in NAMES:
            x = rand(2, 3, dtype=dtype)
            if dtype == BOOL or dtype in INTS and op != "relu":
                refused(op, x)
            else:
                case(op, x)
            if dtype in FLOATS:
                case(op, special(dtype))
        case(op, t(-0.75)), case(op, rand(0, 3)), case(op, rand(30) * 6), case(op, rand(9) * 1e-4), case(op, rand(9) * 40)
        for attrs in variants.get(op, ()):
            case(op, rand(12) * 3, **attrs), case(op, special(), **attrs), case(op, rand(5, dtype=BF16), **attrs), case(op, rand(5, dtype=F16), **attrs)


EXTREMES = t([[1.0, nan, 3.0], [-inf, inf, 0.5], [-inf, -inf, -inf], [inf, 2.0, inf]])


def reductions():
    x = rand(2, 2, 3)
    for op in ("any", "all", "logsumexp", "norm", "var", "std", "prod"):
        of_floats = op in ("norm", "var", "std")
        for dtype in NAMES:
            y = rand(3, 4, dtype=dtype)
            refused(op, y) if of_floats and dtype not in FLOATS else case(op, y, dims=[0])
            if dtype in FLOATS:
                case(op, EXTREMES.to(dtype), dims=[1]), case(op, EXTREMES.to(dtype), dims=[0], keepdim=True), case(op, rand(20, dtype=dtype) + 3)
        for dims in ([], [0], [-1]) if op == "prod" else ([], [0], [1], [-1], [0, 1], [0, 2], [-1, 0], [0, 1, 2]):
            case(op, x, dims=dims), case(op, x[:, :, :2].to(F16), dims=dims, keepdim=True)
        case(op, t(2.5)), case(op, t(2.5), dims=[-1], keepdim=True), case(op, rand(2, 0, 3), dims=[0]), case(op, rand(2, 0), dims=[1]), case(op, rand(0))
        refused(op, x, dims=[3])
        if op != "prod":
            case(op, rand(2, 1, 3, 1, 2), dims=[1, 4]), refused(op, x, dims=[1, -2])
    for op in ("any", "all"):
        case(op, t([[0.0, -0.0], [nan, 0.0], [nan, 1.0]]), dims=[1]), case(op, t([[0, 3], [2, 255]], U8), dims=[1]), case(op, torch.zeros(5)), case(op, torch.ones(5))
    case("logsumexp", t([[1000.0, 1000.5], [-1000.0, -1001.0]]), dims=[1]), case("logsumexp", t([1, 2, 3], I64), dims=[0])
    case("prod", t([2**40, 2**40, 3], I64)), case("prod", t([200, 100], U8)), case("prod", t([2**31 - 1, 2], I32)), case("prod", torch.ones(9, dtype=BOOL))
    for p in (0.0, 1.0, 2.0, 3.0, 0.5, inf, -inf, -1.0, -2.5):
        case("norm", x, p=p, dims=[1]), case("norm", x, p=p, dims=[0, -1], keepdim=True), case("norm", EXTREMES, p=p, dims=[1]), case("norm", t([[0.0, 3.0, -4.0]]), p=p)
        case("norm", rand(7, dtype=BF16), p=p), case("norm", rand(7, dtype=F16), p=p), case("norm", rand(7, dtype=F64), p=p), case("norm", t(-2.0), p=p)
        empty = refused if p < 0 or p == inf else case
        empty("norm", rand(2, 0), p=p, dims=[1]), case("norm", rand(2, 0), p=p, dims=[0])
    for op in ("var", "std"):
        for correction in (0, 1, 2, 3, 7, -1):
            case(op, x, correction=correction, dims=[-1]), case(op, rand(3, 5, dtype=F64), correction=correction)
        case(op, t([3.0])), case(op, t([1e4, 1e4 + 1, 1e4 + 2])), case(op, rand(90) * 5 + 2), case(op, torch.full((7,), 0.1)), case(op, t([6e4, -6e4], F16), correction=0)


def along_a_dimension():
    for op in ("log_softmax", "cumsum", "cumprod", "sort"):
        of_floats = op == "log_softmax"
        for dtype in NAMES:
            y = rand(3, 4, dtype=dtype)
            refused(op, y, dim=0) if of_floats and dtype not in FLOATS else case(op, y, dim=-1)
            if dtype in FLOATS:
                case(op, EXTREMES.to(dtype), dim=1), case(op, EXTREMES.to(dtype), dim=0), case(op, special(dtype), dim=0)
        for dim in (0, 1, 2, -2, -3):
            case(op, rand(2, 3, 4), dim=dim)
        case(op, rand(90) * 5, dim=0), case(op, t(3.0), dim=0), case(op, t(3.0), dim=-1), case(op, rand(2, 0), dim=1), case(op, rand(0, 2), dim=1), case(op, rand(0), dim=0)
        refused(op, rand(3), dim=1)
    case("log_softmax", t([[1000.0, -1000.0], [1e-8, 0.0]]), dim=1), case("cumsum", t([2**63 - 1, 1], I64), dim=0), case("cumsum", t([200, 100, 255], U8), dim=0)
    case("cumprod", t([2**40, 2**40, 3], I64), dim=0), case("cumsum", torch.ones(300, dtype=BF16), dim=0), case("cumsum", torch.full((200,), 0.1), dim=0)
    case("cumprod", t([6e4, 2.0, 0.1], F16), dim=0), case("cumsum", torch.ones(9, dtype=BOOL), dim=0)
    for descending in (False, True):
        for dtype in NAMES:
            case("sort", rand(2, 7, dtype=dtype), descending=descending)
        case("sort", t([1.0, nan, inf, -inf, nan, 0.0, -0.0]), descending=descending), case("sort", t([3, 1, 3, 1, 2, 3], I64), descending=descending)
        case("sort", rand(4, 3, 2), dim=0, descending=descending), case("sort", rand(50), descending=descending), case("sort", t(1.0), descending=descending)

    for dtype in NAMES:
        if dtype == BOOL:
            refused("argmin", rand(3, dtype=dtype))
        else:
            case("argmin", rand(3, 4, dtype=dtype), dim=1), case("argmin", rand(3, 4, dtype=dtype), dim=0)
    y = rand(2, 2, 3)
    case("argmin", y), case("argmin", y, keepdim=True), case("argmin", y, dim=-2, keepdim=True), case("argmin", t(3.0)), case("argmin", t(3.0), dim=0, keepdim=True)
    case("argmin", t([1.0, -3.0, -3.0])), case("argmin", t([1.0, nan, -inf, nan])), case("argmin", t([inf, inf])), case("argmin", rand(0, 3), dim=1)
    refused("argmin", rand(0)), refused("argmin", rand(2, 0), dim=1), refused("argmin", y, dim=3)


def losses():
    for dtype in NAMES:
        x, y = rand(2, 5, dtype=dtype), rand(2, 5, dtype=dtype)
        if dtype in FLOATS:
            case("cosine_similarity", x, y), case("cosine_similarity", x, y, dim=0), case("cosine_similarity", special(dtype), torch.ones(10, dtype=dtype), dim=-1)
        else:
            refused("cosine_similarity", x, y)
    case("cosine_similarity", rand(3, 4), rand(4), dim=-1), case("cosine_similarity", rand(2, 1, 4), rand(3, 4), dim=-1), case("cosine_similarity", rand(3, 1), rand(3, 4))
    case("cosine_similarity", rand(3, 4), torch.zeros(4)), case("cosine_similarity", rand(3, 4) * 1e-3, rand(3, 4), eps=0.1), case("cosine_similarity", rand(2, 0), rand(2, 0))
    case("cosine_similarity", rand(0, 3), rand(0, 3)), case("cosine_similarity", rand(2, 3, 4), rand(2, 3, 4), dim=-2)
    case("cosine_similarity", rand(3, 4, dtype=I64), rand(4, dtype=F64)), refused("cosine_similarity", rand(2, 3), rand(2, 4)), refused("cosine_similarity", rand(2, 3), rand(2, 3), dim=2)

    classes = t([0, 3, 2, 3], I64)
    for reduction in ("none", "mean", "sum"):
        for dtype in FLOATS:
            case("cross_entropy", rand(4, 5, dtype=dtype) * 3, classes, reduction=reduction)
            case("cross_entropy", rand(4, 5, dtype=dtype), classes, reduction=reduction, ignore_index=3, label_smoothing=0.2)
        case("cross_entropy", rand(2, 3, 4), t([[0, 1, 2, 0], [2, -100, 1, 0]], I64), reduction=reduction), case("cross_entropy", rand(7), t(6, I64), reduction=reduction)
        case("cross_entropy", rand(2, 3, 2, 2), torch.randint(0, 3, (2, 2, 2)), reduction=reduction, label_smoothing=1.0), case("cross_entropy", rand(7), t(-100, I64), reduction=reduction)
        case("cross_entropy", t([[nan, 1.0], [inf, 1.0], [-inf, 0.0], [-inf, -inf]]), t([0, 1, 0, 1], I64), reduction=reduction)
        case("cross_entropy", rand(0, 3), torch.zeros(0, dtype=I64), reduction=reduction), case("cross_entropy", t([[1000.0, 0.0], [0.0, 1e-3]]), t([1, 0], I64), reduction=reduction)
    refused("cross_entropy", rand(4, 3), classes), refused("cross_entropy", rand(4, 5), -classes), refused("cross_entropy", rand(4, 5), classes[:3]), refused("cross_entropy", rand(4, 5), classes.float())
    refused("cross_entropy", rand(4, 5), classes, reduction="batchmean"), refused("cross_entropy", rand(4, 5), classes, label_smoothing=1.5)
    refused("cross_entropy", rand(4, 5, dtype=I64), classes), refused("cross_entropy", rand(2, 3, 4), classes[:2]), refused("cross_entropy", t(1.0), t(0, I64))

    for reduction in ("none", "mean", "sum", "batchmean"):
        for log_target in (False, True):
            for dtype in FLOATS:
                logs = torch.log_softmax(rand(3, 4), -1)
                target = torch.log_softmax(rand(3, 4), -1) if log_target else torch.softmax(rand(3, 4), -1)
                case("kl_div", logs.to(dtype), target.to(dtype), reduction=reduction, log_target=log_target)
            case("kl_div", t([0.0, -inf, -1.0, nan, -inf]), t([0.0, 0.0, -0.5, 0.5, 0.5]), reduction=reduction, log_target=log_target)
        case("kl_div", rand(3, 4), rand(4).abs(), reduction=reduction), case("kl_div", t(-1.0), t(0.5), reduction=reduction), case("kl_div", rand(0, 2), rand(0, 2), reduction=reduction)
        case("kl_div", rand(2, dtype=F16), rand(2).abs(), reduction=reduction)
    refused("kl_div", rand(2, dtype=I64), rand(2, dtype=I64)), refused("kl_div", rand(2), rand(3))


def record():
    arithmetic()
    functions()
    activations()
    reductions()
    along_a_dimension()
    losses()
