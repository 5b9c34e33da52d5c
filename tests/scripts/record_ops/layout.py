"""Operations that pick and arrange elements, make tensors, and einsum."""
import torch
import torch.nn.functional as F

from recorder import BF16, BOOL, F16, F32, F64, FLOATS, I32, I64, INTS, NAMES, U8, WORDS, case, inf, nan, rand, refused, special, t


# The operations in PyTorch's words.

def at(x, ids, dims):
    """The ids as the index of all dimensions."""
    if any(i.dtype not in (I64, I32) for i in ids):
        raise IndexError("ids are of type i64 or i32")
    places = [None] * x.dim()
    for i, dim in zip(ids, dims or range(len(ids)), strict=True):
        assert places[dim] is None, "a dimension is named twice"
        places[dim] = i
    return places


def index_by(x, *ids, dims=()):
    return x[tuple(slice(None) if i is None else i for i in at(x, ids, dims))]


def index_put(x, value, *ids, dims=(), accumulate=False):
    return torch.ops.aten.index_put(x, at(x, ids, dims), value.to(x.dtype), accumulate)


def scatter(add):
    def run(x, ids, src, dim):
        src = src.to(x.dtype)
        src = src.expand(ids.shape) if src.dim() == 0 else src
        return torch.scatter_add(x, dim, ids, src) if add else torch.scatter(x, dim, ids, src)
    return run


def filled(found, size, fill):
    """What nonzero and masked_select give in a stated size."""
    if found.shape[0] > size or (found.shape[0] < size and fill is None):
        raise RuntimeError("another number of elements")
    rest = torch.full((size - found.shape[0], *found.shape[1:]), fill or 0, dtype=found.dtype)
    return torch.cat([found, rest])


def nonzero(x, size, fill=None):
    result = filled(torch.nonzero(x), size, fill)
    assert torch.equal(result, torch.nonzero_static(x, size=size, fill_value=fill or 0))
    return result


def split(x, size=None, sizes=(), dim=0):
    if (size is None) == (not sizes):
        raise ValueError("one of both")
    return torch.split(x, list(sizes) if size is None else size, dim)


def linspace(start, end, steps, dtype=F32):
    return torch.linspace(start, end, steps, dtype=dtype)


WORDS.update({
    "index_select": lambda x, ids, dim: torch.index_select(x, dim, ids),
    "index_by": index_by, "index_put": index_put, "scatter": scatter(False), "scatter_add": scatter(True),
    "nonzero": nonzero,
    "masked_select": lambda x, mask, size, fill=None: filled(torch.masked_select(x, mask), size, fill),
    "squeeze": lambda x, dim=None: x.squeeze() if dim is None else x.squeeze(dim),
    "expand": lambda x, shape: x.expand(shape),
    "permute": lambda x, dims: x.permute(dims),
    "flatten": lambda x, start=0, end=-1: x.flatten(start, end),
    "split": split,
    "chunk": lambda x, chunks, dim=0: torch.chunk(x, chunks, dim),
    "flip": lambda x, dims: torch.flip(x, dims),
    "roll": lambda x, shifts, dims=(): torch.roll(x, shifts, dims),
    "repeat": lambda x, repeats: x.repeat(repeats),
    "repeat_interleave": lambda x, repeats, dim=None: torch.repeat_interleave(x, repeats, dim),
    "tril": lambda x, diagonal=0: torch.tril(x, diagonal),
    "triu": lambda x, diagonal=0: torch.triu(x, diagonal),
    "diagonal": lambda x, offset=0, dim0=0, dim1=1: torch.diagonal(x, offset, dim0, dim1),
    "full": lambda shape, value, dtype=None: torch.full(shape, value.item(), dtype=dtype or value.dtype),
    "arange": lambda end, start=0, step=1, dtype=I64: torch.arange(start, end, step, dtype=dtype),
    "linspace": linspace,
    "eye": lambda rows, columns=None, dtype=F32: torch.eye(rows, rows if columns is None else columns, dtype=dtype),
    "one_hot": lambda ids, classes: F.one_hot(ids, classes),
    "einsum": lambda *xs, equation: torch.einsum(equation, *xs),
})



def ids(values, dtype=I64):
    return t(values, dtype)


def indexing():
    for dtype in NAMES:
        x = rand(3, 4, dtype=dtype)
        case("index_select", x, ids([2, 0, 2]), dim=0), case("index_select", x, ids([3, 1], I32), dim=-1)
        case("index_by", x, ids([[-1, 0], [2, 1]]), dims=[1])
        case("index_put", x, rand(2, 4, dtype=dtype), ids([0, -1]))
        case("index_put", x, t([2.7, 0.0], F64), ids([1, 2]), ids([-1, 0], I32))
        case("index_put", x, rand(3, dtype=dtype), ids([1, 1, 1]), ids([2, 2, 0]), accumulate=True)
        case("scatter", x, ids([[0, 3], [1, 0]]), rand(2, 3, dtype=dtype), dim=1)
        case("nonzero", x * (rand(3, 4) > 0), size=12, fill=-1)
        case("masked_select", x, x == x[0], size=12, fill=0.0)
        if dtype != BOOL:
            case("scatter_add", x, ids([[0, 0, 0], [2, 2, 0]]), rand(2, 3, dtype=dtype), dim=1)
    x = rand(2, 3, 4)
    case("index_select", x, ids(1), dim=1), case("index_select", x, ids([]), dim=2), case("index_select", rand(0, 3), ids([2]), dim=1), case("index_select", special(), ids([3, 0, 9, 1]), dim=0)
    case("index_select", rand(3, 0), ids([2, 2, 1]), dim=0)
    refused("index_select", x, ids([3]), dim=1), refused("index_select", x, ids([-1]), dim=1), refused("index_select", x, ids([[0]]), dim=1), refused("index_select", x, ids([0]), dim=3)
    refused("index_select", rand(0), ids([0]), dim=0), refused("index_select", x, t([0.0]), dim=0)

    # Neighbours keep their place; those apart come first.
    a, b, c = ids([1, -1]), ids([2, 0]), ids([[3], [-4], [0]])
    for given in ({"dims": [0, 1]}, {"dims": [1, 2]}, {"dims": [0, 2]}, {"dims": [2, 0]}, {"dims": [-1, 1]}, {}):
        i = [rand(2, dtype=BOOL).long() - 1 for _ in range(2)]
        case("index_by", x, *i, **given), case("index_put", x, t(7.0), *i, **given), case("index_put", x, t(0.25), *i, accumulate=True, **given)
    case("index_by", x, a, b, c), case("index_by", x, c, dims=[2]), case("index_by", x, a, c, dims=[0, 2]), case("index_by", x, c, a, dims=[2, 0]), case("index_by", x, ids(-1)), case("index_by", x, ids(2), ids([0, 1]), dims=[1, 0])
    case("index_by", rand(2, 2, 2, 3), a, a, dims=[1, 2]), case("index_by", rand(2, 2, 2, 3), a, a, dims=[1, 3]), case("index_by", rand(2, 2, 2, 3), a, a, ids([[0]]), dims=[0, 2, 1])
    case("index_by", x, ids([])), case("index_by", x, torch.zeros(2, 0, dtype=I64), dims=[1]), case("index_by", rand(0, 3), ids([0, -1]), dims=[1]), case("index_by", rand(2, 0, 3), ids([]), dims=[1])
    case("index_by", special(), ids([[1, -1, 0]])), case("index_by", rand(5), ids(3, I32)), case("index_by", rand(3, 1), ids([1]), ids([0, 0, 0]))
    refused("index_by", x, ids([2])), refused("index_by", x, ids([-3])), refused("index_by", x, ids([0]), ids([4]), dims=[0, 2]), refused("index_by", x, ids([0, 1]), ids([0, 1, 1]))
    refused("index_by", x, ids([0]), ids([0]), ids([0]), ids([0])), refused("index_by", x, t([0.0])), refused("index_by", x, ids([0]), dims=[3]), refused("index_by", t(1.0), ids([0])), refused("index_by", rand(0), ids([0]))

    case("index_put", x, rand(2, 4), a, b), case("index_put", x, rand(1, 4), a, b)
    case("index_put", x, rand(2, 2, 4), b, dims=[1]), case("index_put", x, rand(4), b, dims=[1]), case("index_put", x, rand(2, 1, 1), b, dims=[1]), case("index_put", x, rand(3, 2, 3), a, c, dims=[0, 2])
    case("index_put", x, rand(3, 1, 1), a, c, dims=[0, 2]), case("index_put", x, t(nan), ids([])), case("index_put", x, rand(2, 0, 4), ids([]), dims=[1]), case("index_put", rand(3), t([inf, nan]), ids([0, -1]), accumulate=True)
    case("index_put", rand(3), t([1.0, 2.0, 3.0]), ids([1, 1, 1])), case("index_put", t([255, 7], U8), t([1, 300], I64), ids([0, 1]), accumulate=True), case("index_put", rand(2, 0), t(1.0), ids([1]))
    case("index_put", rand(3, dtype=BF16), rand(40, dtype=BF16), torch.arange(40) % 3, accumulate=True), case("index_put", rand(3, dtype=F16), rand(40, dtype=F16), torch.arange(40) % 3, accumulate=True)
    case("index_put", x, rand(4), ids(1), ids(-1)), case("index_put", rand(4), t(2), ids(-2, I32))
    refused("index_put", x, rand(3), a, b), refused("index_put", x, rand(3, 2, 4), b, dims=[1]), refused("index_put", x, t(1.0), ids([2])), refused("index_put", x, t(1.0), ids([-5]), dims=[2]), refused("index_put", x, t(1.0), t([0.5]))

    for op in ("scatter", "scatter_add"):
        case(op, x, ids([[[1, 0, 1, 1]], [[0, 0, 0, 0]]]), rand(2, 1, 4), dim=0), case(op, x, ids([[[1, 2], [0, 0]]]), rand(2, 3, 4), dim=1), case(op, x, ids([[[0, 3, 1], [1, 1, 2]]]), t(9.0), dim=-1)
        case(op, x, ids([[[2, 2, 2, 0]], [[1, 1, 1, 1]]]), t(1, I64), dim=-2), case(op, rand(3), ids([1, 1, 1]), t([1.0, 2.0, 3.0]), dim=0), case(op, rand(3, 2), torch.zeros(0, 2, dtype=I64), rand(0, 2), dim=0)
        case(op, rand(2, 2), torch.zeros(5, 2, dtype=I64), rand(5, 2), dim=0), case(op, t(1.5), ids(0), t(2.5), dim=0), case(op, special(), torch.arange(10).flip(0), special(), dim=0), case(op, rand(0, 2), torch.zeros(0, 1, dtype=I64), rand(0, 1), dim=1)
        case(op, rand(4, 2, dtype=F16), torch.zeros(30, 2, dtype=I64), rand(30, 2, dtype=F16), dim=0)
        refused(op, rand(3), ids([3]), rand(1), dim=0), refused(op, rand(3), ids([-1]), rand(1), dim=0), refused(op, rand(2, 2), torch.zeros(2, 3, dtype=I64), rand(2, 3), dim=0)
        refused(op, rand(3), ids([0, 1]), rand(1), dim=0), refused(op, rand(2, 2), ids([0]), rand(1), dim=0), refused(op, rand(3), t([0.0]), rand(1), dim=0)
    case("scatter_add", t([255, 1], U8), ids([0, 0, 1]), t([1, 2, 3], U8), dim=0), case("scatter_add", t([2**63 - 1], I64), ids([0]), t([1], I64), dim=0)

    case("nonzero", t([[0.0, 1.0], [-0.0, nan]]), size=2), case("nonzero", t([0, 3, 0, 5], I64), size=3, fill=0), case("nonzero", t(1.0), size=1), case("nonzero", t(0.0), size=0), case("nonzero", rand(0, 3), size=0), case("nonzero", rand(0, 3), size=2, fill=7)
    case("nonzero", torch.ones(2, 2, 2, dtype=BOOL), size=8), case("nonzero", torch.zeros(3), size=0), case("nonzero", special() == special(), size=9)
    refused("nonzero", t([1.0, 1.0]), size=1, fill=0), refused("nonzero", t([1.0, 0.0]), size=2), refused("nonzero", t([1.0]), size=-1)
    mask = t([True, False, True], BOOL)
    case("masked_select", rand(3), mask, size=2), case("masked_select", rand(2, 3), mask, size=4), case("masked_select", rand(3), t([[True], [False]], BOOL), size=3), case("masked_select", t(2.0), mask, size=3, fill=-1.5), case("masked_select", rand(3), t(True, BOOL), size=3)
    case("masked_select", special(), special() == special(), size=10, fill=-2.5), case("masked_select", rand(0), rand(0, dtype=BOOL), size=0), case("masked_select", rand(2, 0), t(True, BOOL), size=1, fill=3.0), case("masked_select", t([1, 2], I64), t([False, True], BOOL), size=2, fill=-7.0)
    refused("masked_select", rand(3), mask, size=1, fill=0.0), refused("masked_select", rand(3), mask, size=3), refused("masked_select", rand(2), mask, size=2), refused("masked_select", rand(3), rand(3), size=2)


def arrangement():
    for dtype in NAMES:
        x = rand(2, 3, dtype=dtype)
        case("squeeze", x[None]), case("expand", x[:, None], shape=[2, 4, -1]), case("permute", x[None], dims=[2, 0, 1]), case("flatten", x)
        case("split", x, size=2, dim=1), case("chunk", x, chunks=2, dim=-1), case("flip", x, dims=[1]), case("roll", x, shifts=[1], dims=[1]), case("repeat", x, repeats=[1, 2])
        case("repeat_interleave", x, repeats=2, dim=0), case("tril", rand(3, 3, dtype=dtype)), case("triu", rand(3, 3, dtype=dtype)), case("diagonal", x)
    x = rand(2, 1, 3, 1)
    case("squeeze", x), case("squeeze", x, dim=1), case("squeeze", x, dim=-1), case("squeeze", x, dim=0), case("squeeze", t(1.0)), case("squeeze", t([[[2.0]]])), case("squeeze", rand(1, 0, 1)), case("squeeze", rand(0), dim=0), case("squeeze", rand(1), dim=0)
    refused("squeeze", x, dim=4), refused("squeeze", x, dim=-5)

    x = rand(3, 1)
    case("expand", x, shape=[3, 4]), case("expand", x, shape=[2, 3, 4]), case("expand", x, shape=[-1, -1]), case("expand", x, shape=[2, -1, 2]), case("expand", t(2.0), shape=[2, 2]), case("expand", t(2.0), shape=[]), case("expand", rand(1), shape=[0])
    case("expand", rand(0, 1), shape=[0, 3]), case("expand", rand(1, 0), shape=[4, 0]), case("expand", rand(2), shape=[0, 2])
    refused("expand", x, shape=[4, 4]), refused("expand", x, shape=[3]), refused("expand", x, shape=[-1, 3, 1]), refused("expand", rand(2), shape=[0]), refused("expand", x, shape=[3, -2])

    x = rand(2, 3, 4)
    for dims in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 1, 0], [-1, 0, 1], [1, -1, 0]):
        case("permute", x, dims=dims)
    case("permute", rand(1, 3, 1), dims=[2, 1, 0]), case("permute", t(1.0), dims=[]), case("permute", rand(0, 2), dims=[1, 0])
    refused("permute", x, dims=[0, 1]), refused("permute", x, dims=[0, 1, 1]), refused("permute", x, dims=[0, 1, 3]), refused("permute", x, dims=[0, 1, -2])
    for start, end in ((0, -1), (1, -1), (0, 1), (1, 1), (-2, 2), (0, 2)):
        case("flatten", x, start=start, end=end)
    case("flatten", t(1.0)), case("flatten", t(1.0), start=-1, end=0), case("flatten", rand(0, 3)), case("flatten", rand(2, 0, 3), start=1)
    refused("flatten", x, start=2, end=1), refused("flatten", x, end=3)

    x = rand(5, 4)
    case("split", x, size=2), case("split", x, size=5), case("split", x, size=9), case("split", x, size=1, dim=-1), case("split", x, sizes=[1, 3], dim=1), case("split", x, sizes=[0, 5, 0]), case("split", x, sizes=[2, 1, 2]), case("split", rand(0, 2), size=3), case("split", rand(0), size=0)
    case("split", rand(0), sizes=[0, 0])
    refused("split", x, size=0), refused("split", x, size=-1), refused("split", x, sizes=[2, 2]), refused("split", x, sizes=[6, -1]), refused("split", t(1.0), size=1), refused("split", x, size=1, dim=2), refused("split", x), refused("split", x, size=2, sizes=[5])
    for chunks in (1, 2, 3, 4, 5, 6, 7):
        case("chunk", rand(6), chunks=chunks)
    case("chunk", rand(5), chunks=4), case("chunk", rand(0, 2), chunks=3), case("chunk", rand(2, 0), chunks=2), case("chunk", x, chunks=3, dim=1)
    refused("chunk", x, chunks=0), refused("chunk", x, chunks=-1), refused("chunk", t(1.0), chunks=1)

    x = rand(2, 3, 2)
    for dims in ([], [0], [-1], [0, 2], [1, 0, -1]):
        case("flip", x, dims=dims)
    case("flip", t(1.0), dims=[]), case("flip", rand(0, 2), dims=[0]), case("flip", rand(2, 0), dims=[0]), case("flip", special(), dims=[0])
    refused("flip", x, dims=[3]), refused("flip", x, dims=[0, 0]), refused("flip", x, dims=[2, -1])
    for shifts, dims in (([1], []), ([-2], []), ([100], []), ([1], [1]), ([-1], [-2]), ([4], [2]), ([1, 2], [0, 1]), ([1, 1], [1, 1]), ([0], [0])):
        case("roll", x, shifts=shifts, dims=dims)
    case("roll", t(1.0), shifts=[3]), case("roll", rand(0, 2), shifts=[1], dims=[0]), case("roll", rand(2, 0), shifts=[1]), case("roll", rand(7), shifts=[2**40], dims=[0])
    refused("roll", x, shifts=[1, 2]), refused("roll", x, shifts=[1], dims=[0, 1]), refused("roll", x, shifts=[1], dims=[3]), refused("roll", x, shifts=[], dims=[])

    x = rand(2, 3)
    for repeats in ([2, 2], [1, 1], [3, 1], [2, 1, 2], [0, 2], [2, 0], [1, 1, 1, 2]):
        case("repeat", x, repeats=repeats)
    case("repeat", t(1.0), repeats=[]), case("repeat", t(1.0), repeats=[3]), case("repeat", rand(0, 2), repeats=[2, 2])
    refused("repeat", x, repeats=[2]), refused("repeat", x, repeats=[2, -1])
    for dim in (None, 0, 1, -1):
        case("repeat_interleave", x, repeats=3, dim=dim), case("repeat_interleave", x, repeats=1, dim=dim)
    case("repeat_interleave", x, repeats=0), case("repeat_interleave", x, repeats=0, dim=1), case("repeat_interleave", t(1.0), repeats=2), case("repeat_interleave", rand(0, 2), repeats=2, dim=0), case("repeat_interleave", rand(2, 2, 2), repeats=2, dim=1)
    refused("repeat_interleave", x, repeats=-1), refused("repeat_interleave", x, repeats=2, dim=2)

    for op in ("tril", "triu"):
        for diagonal in (-9, -2, -1, 0, 1, 2, 9):
            case(op, rand(3, 4), diagonal=diagonal), case(op, rand(2, 3, 2), diagonal=diagonal)
        case(op, t([[nan, inf], [-inf, nan]])), case(op, rand(0, 3)), case(op, rand(3, 0)), case(op, rand(2, 0, 2))
        refused(op, rand(3)), refused(op, t(1.0))
    for offset in (-9, -2, -1, 0, 1, 2, 9):
        case("diagonal", rand(3, 4), offset=offset), case("diagonal", rand(2, 3, 2), offset=offset, dim0=1, dim1=2)
    x = rand(2, 3, 4)
    case("diagonal", x), case("diagonal", x, dim0=-1, dim1=0), case("diagonal", x, offset=1, dim0=2, dim1=1), case("diagonal", rand(0, 3)), case("diagonal", rand(2, 2, 0))
    refused("diagonal", x, dim0=1, dim1=-2), refused("diagonal", rand(3)), refused("diagonal", x, dim0=0, dim1=3)


def creation():
    for dtype in NAMES:
        case("full", shape=[2, 2], value=t(1.0, dtype)), case("full", shape=[3], value=t(2.5), dtype=dtype), case("eye", rows=3, dtype=dtype)
        if dtype != BOOL:
            case("arange", end=5, dtype=dtype), case("arange", start=2, end=9, step=3, dtype=dtype)
        if dtype in FLOATS:
            case("arange", start=0.5, end=-1.25, step=-0.25, dtype=dtype), case("arange", start=0, end=1, step=0.1, dtype=dtype), case("linspace", start=-1.5, end=4.0, steps=12, dtype=dtype), case("linspace", start=3.0, end=-3.0, steps=7, dtype=dtype)
            case("linspace", start=0.1, end=0.2, steps=1, dtype=dtype), case("linspace", start=0.0, end=1e3, steps=30, dtype=dtype), case("full", shape=[2], value=t(nan, dtype))
    case("full", shape=[], value=t(7)), case("full", shape=[0, 3], value=t(7)), case("full", shape=[2], value=t(-inf)), case("full", shape=[1, 1, 2], value=t(0.1, F64)), case("full", shape=[2], value=t(2**62 + 1, I64))
    refused("full", shape=[-1], value=t(1.0))
    case("arange", end=0), case("arange", start=3, end=3), case("arange", start=5, end=-5, step=-2), case("arange", end=1), case("arange", start=-2, end=2), case("arange", start=2.0**40, end=2.0**40 + 3), case("arange", end=10, step=4)
    refused("arange", end=-1), refused("arange", end=5, step=-1), refused("arange", end=5, step=0), refused("arange", start=1, end=0, step=0.5, dtype=F32)
    case("linspace", start=0.0, end=5.0, steps=6), case("linspace", start=1.0, end=1.0, steps=3), case("linspace", start=0.0, end=1.0, steps=0), case("linspace", start=0.0, end=1.0, steps=2), refused("linspace", start=0.0, end=1.0, steps=-1)
    case("eye", rows=2, columns=4), case("eye", rows=4, columns=2), case("eye", rows=0), case("eye", rows=3, columns=0), case("eye", rows=1), case("eye", rows=0, columns=2), case("eye", rows=3, columns=3, dtype=I64), case("eye", rows=2, columns=3, dtype=BOOL)
    refused("eye", rows=-1), refused("eye", rows=2, columns=-1)
    for values in ([0, 2, 1], [[1, 1], [0, 2]], [[[2]]], 1, [], [0], [2, 2, 2, 2], [[0], [1]]):
        case("one_hot", ids(values), classes=3)
    case("one_hot", ids([0, 0]), classes=1), case("one_hot", ids(4), classes=5), case("one_hot", torch.zeros(2, 0, dtype=I64), classes=2), case("one_hot", ids([[9]]), classes=10)
    refused("one_hot", ids([3]), classes=3), refused("one_hot", ids([-1]), classes=3), refused("one_hot", t([1.0]), classes=3), refused("one_hot", ids([0]), classes=0)


def einsum():
    for dtype in FLOATS + INTS:
        case("einsum", rand(3, 4, dtype=dtype), rand(4, 2, dtype=dtype), equation="ij,jk->ik")
        case("einsum", rand(2, 3, 4, dtype=dtype), equation="abc->cab")
    for equation, *shapes in (
        ("ij,jk", [2, 3], [3, 4]), ("ij,jk->ki", [2, 3], [3, 4]), ("i,i->", [4], [4]), ("i,j->ij", [2], [3]), ("ij->", [2, 3]), ("ij->j", [2, 3]), ("ii", [3, 3]), ("ii->i", [3, 3]), ("iji->j", [2, 3, 2]),
        ("bij,bjk->bik", [2, 3, 4], [2, 4, 2]), ("bqhd,bkhd->bhqk", [2, 3, 2, 4], [2, 5, 2, 4]), ("bhqk,bkhd->bqhd", [1, 2, 3, 3], [1, 3, 2, 4]), ("...ij,...jk->...ik", [2, 1, 3, 2], [4, 2, 3]), ("...i,...i->...", [2, 3], [3]),
        ("...i->i...", [2, 3, 4]), ("i...->...", [3, 2]), ("...->", [2, 3]), ("ij,ij->ij", [2, 3], [2, 3]), ("ij,kl->ijkl", [2, 2], [2, 3]), ("ij,j,jk->ik", [2, 3], [3], [3, 2]), ("a,ab,bc,c->", [2], [2, 3], [3, 2], [2]), ("ij,kj->", [2, 3], [2, 3]),
        ("i,i,i->i", [3], [3], [3]), (",i->i", [], [3]), (",", [], []), ("", []), ("ij,jk->ik", [2, 1], [3, 4]), ("ij,ij->i", [2, 3], [1, 3]), ("ij,ij->ij", [1, 3], [2, 1]), ("ii,i->i", [3, 3], [3]), ("bd,ad->ba", [2, 90], [3, 90]), ("Ba,aB->Ba", [2, 3], [3, 2]),
        (" i j , j k -> i k ", [2, 2], [2, 2]), ("ij,jk->ik", [0, 3], [3, 2]), ("ij,jk->ik", [2, 0], [0, 3]), ("i...,i...->i...", [2, 3, 1], [2, 4]), ("ba", [2, 3]), ("ij->i", [2, 1]), ("abcd,cdef->abef", [2, 1, 2, 3], [2, 3, 1, 2]),
    ):
        case("einsum", *(rand(*shape) for shape in shapes), equation=equation)
    case("einsum", t([nan, 1.0, inf]), t([1.0, 2.0, 0.5]), equation="i,i->i"), case("einsum", t([[2**62, 3]], I64), t([[4], [5]], I64), equation="ij,jk->ik"), case("einsum", rand(2, 3, dtype=I64), equation="ij->i")
    case("einsum", rand(2, 40, dtype=BF16), rand(40, dtype=BF16), equation="ij,j->i"), case("einsum", rand(2, 40, dtype=F16), rand(40, dtype=F16), equation="ij,j->i")
    refused("einsum", rand(2, 3), equation="i"), refused("einsum", rand(2, 3), equation="ij,jk"), refused("einsum", rand(2), rand(3), equation="i,i->"), refused("einsum", rand(2, 3), equation="ii->i"), refused("einsum", rand(2, 3), equation="ij->k"), refused("einsum", rand(2, 3), equation="ij->ii")
    refused("einsum", rand(2, 3), equation="i.j"), refused("einsum", rand(2, 3), equation="......"), refused("einsum", rand(2, 3), rand(3, 2, dtype=F64), equation="ij,jk->ik"), refused("einsum", rand(2, 3), equation="i1->i")


def record():
    indexing()
    arrangement()
    creation()
    einsum()
