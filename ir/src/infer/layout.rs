//! Types of operations that pick and arrange elements, and of those that make tensors from nothing.

use super::{axis, broadcast, count, index_dtype, normalise_axis, undecided, with_range, wrong_dtype};
use crate::{
    attr::{Float, Literal},
    code::Code,
    diagnostic::Diagnostic,
    op::Op,
    types::{DType, Dim, Shape, TensorType, Type, elements},
};

/// The most pieces that a tensor is split into: each is a value of its own.
const PIECES: i64 = 1 << 16;

pub(super) fn index_select(op: &Op, x: &TensorType, ids: &TensorType, dim: i64) -> Result<TensorType, Diagnostic> {
    let at = axis(x, dim)?;
    index_dtype(op, ids)?;
    let mut ty = x.clone();
    ty.shape[at] = match ids.shape.as_slice() {
        [] => Dim::known(1),
        [size] => size.clone(),
        _ => {
            return Err(Diagnostic::error(Code::E1003, format!("`index_select` picks by a vector of ids, but gets {ids}"))
                .help(format!("`index_by(x, ids) {{dims: [{dim}]}}` picks by ids of any shape")));
        }
    };
    Ok(ty)
}

/// The dimensions that `index_by` and `index_put` pick from, for so many tensors of ids; nothing if they do not fit.
pub(crate) fn indexed_axes(dims: &[i64], ids: usize, rank: usize) -> Option<Vec<usize>> {
    let axes: Vec<usize> = match dims {
        [] => (0..ids).collect(),
        dims => dims.iter().map(|&dim| normalise_axis(dim, rank)).collect::<Option<_>>()?,
    };
    let distinct = axes.iter().enumerate().all(|(at, axis)| *axis < rank && !axes[..at].contains(axis));
    (distinct && axes.len() == ids).then_some(axes)
}

/// Where the dimensions of the ids stand in the result of `index_by`: in the place of the indexed ones, if those are
/// neighbours, and first otherwise.
pub(crate) fn place_of_ids(axes: &[usize]) -> usize {
    let first = axes.iter().copied().min().unwrap_or(0);
    let last = axes.iter().copied().max().unwrap_or(0);
    if last - first < axes.len() { first } else { 0 }
}

/// The part of `x` that ids pick.
pub(super) fn index_by(op: &Op, x: &TensorType, ids: &[&TensorType], dims: &[i64]) -> Result<TensorType, Diagnostic> {
    dims.iter().try_for_each(|&dim| axis(x, dim).map(drop))?;
    ids.iter().try_for_each(|ids| index_dtype(op, ids))?;
    let Some(axes) = indexed_axes(dims, ids.len(), x.rank()) else {
        let name = op.kind().name();
        let ids = count(ids.len(), "tensor");
        let message = match dims {
            [] => format!("`{name}` by {ids} of ids needs as many dimensions, but {x} has {}", x.rank()),
            _ if dims.len() > x.rank() => format!("{dims:?} names more dimensions than {x} has"),
            _ => format!("`{name}` gets {ids} of ids for the dimensions {dims:?} of {x}"),
        };
        return Err(Diagnostic::error(Code::E1004, message).note("`dims` names a dimension for each tensor of ids, each one once"));
    };
    let picked = ids.iter().try_fold(Shape::new(), |shape, ids| broadcast(&shape, &ids.shape)).map_err(|()| {
        let types: Vec<String> = ids.iter().map(|ids| ids.to_string()).collect();
        Diagnostic::error(Code::E1003, format!("`{}` cannot combine the ids {}", op.kind().name(), types.join(", ")))
            .note("ids are broadcast together: aligned at the last dimension, sizes must be equal, or one of them 1")
    })?;
    let mut shape: Shape = x.shape.iter().enumerate().filter(|(at, _)| !axes.contains(at)).map(|(_, size)| size.clone()).collect();
    shape.insert_many(place_of_ids(&axes), picked);
    Ok(TensorType { dtype: x.dtype, shape })
}

pub(super) fn index_put(op: &Op, x: &TensorType, value: &TensorType, ids: &[&TensorType], dims: &[i64]) -> Result<TensorType, Diagnostic> {
    let part = index_by(op, x, ids, dims)?;
    match broadcast(&part.shape, &value.shape) {
        Ok(shape) if shape == part.shape => Ok(x.clone()),
        _ => Err(Diagnostic::error(Code::E1003, format!("{value} does not fit the part {part} that it is to replace"))
            .note("the value is broadcast to the part: aligned at the last dimension, each of its sizes must be 1 or equal")),
    }
}

pub(super) fn scatter(op: &Op, x: &TensorType, ids: &TensorType, src: &TensorType, dim: i64) -> Result<TensorType, Diagnostic> {
    let at = axis(x, dim)?;
    index_dtype(op, ids)?;
    let larger = |a: &Dim, b: &Dim| matches!((a.as_known(), b.as_known()), (Some(a), Some(b)) if a > b);
    let too_large = |i: usize| (i != at && larger(&ids.shape[i], &x.shape[i])) || (src.rank() > 0 && larger(&ids.shape[i], &src.shape[i]));
    let ranks_fit = ids.rank() == x.rank() && (src.rank() == 0 || src.rank() == ids.rank());
    if !ranks_fit || (0..ids.rank()).any(too_large) {
        return Err(Diagnostic::error(Code::E1003, format!("`{}` cannot put {src} into {x} by {ids}", op.kind().name()))
            .note("the ids have as many dimensions as the tensor and the source; they are nowhere larger than the source, nor than the tensor except along `dim`"));
    }
    Ok(x.clone())
}

/// A size that an attribute states.
fn stated(op: &Op, name: &str, size: i64) -> Result<Dim, Diagnostic> {
    if size < 0 {
        return Err(Diagnostic::error(Code::E1008, format!("`{name}` of `{}` is 0 or more, not {size}", op.kind().name())));
    }
    Ok(Dim::known(size))
}

pub(super) fn nonzero(op: &Op, x: &TensorType, size: i64) -> Result<TensorType, Diagnostic> {
    Ok(TensorType::new(DType::I64, [stated(op, "size", size)?, Dim::from(x.rank())]))
}

pub(super) fn masked_select(op: &Op, x: &TensorType, mask: &TensorType, size: i64, fill: Option<Float>) -> Result<TensorType, Diagnostic> {
    if mask.dtype != DType::Bool {
        return Err(wrong_dtype(op, mask.dtype, "a bool mask").help("compare first: `masked_select(x, gt(x, 0))`"));
    }
    broadcast(&x.shape, &mask.shape).map_err(|()| super::no_broadcast(op, &[x, mask]))?;
    if let Some(fill) = fill.filter(|fill| !holds(x.dtype, fill.get())) {
        return Err(Diagnostic::error(Code::E1008, format!("{:?} is no value of {}", fill, x.dtype)));
    }
    Ok(TensorType::new(x.dtype, [stated(op, "size", size)?]))
}

/// Whether a number can be an element of a type, but for its precision.
fn holds(dtype: DType, value: f64) -> bool {
    let whole = |low: f64, high: f64| value.fract() == 0.0 && (low..=high).contains(&value);
    match dtype {
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 => true,
        DType::I64 => whole(-(2f64.powi(63)), 2f64.powi(63) - 1024.0),
        DType::I32 => whole(f64::from(i32::MIN), f64::from(i32::MAX)),
        DType::U8 => whole(0.0, 255.0),
        DType::Bool => whole(0.0, 1.0),
    }
}

/// A size that must be a number.
fn known(size: &Dim, what: &str) -> Result<i64, Diagnostic> {
    size.as_known().ok_or_else(|| undecided(size, what.to_owned()))
}

pub(super) fn squeeze(x: &TensorType, dim: Option<i64>) -> Result<TensorType, Diagnostic> {
    let only = dim.map(|dim| axis(x, dim)).transpose()?;
    let mut ty = TensorType::new(x.dtype, []);
    for (at, size) in x.shape.iter().enumerate() {
        let meant = only.is_none_or(|only| only == at);
        if meant && size.as_known().is_none() && !size.at_least(2) {
            return Err(undecided(size, "whether there is a dimension to squeeze".to_owned()));
        }
        if !meant || size.as_known() != Some(1) {
            ty.shape.push(size.clone());
        }
    }
    Ok(ty)
}

pub(super) fn expand(x: &TensorType, shape: &[Dim]) -> Result<TensorType, Diagnostic> {
    let listed = || format!("[{}]", shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "));
    super::check_sizes(x, shape, &listed)?;
    let mismatch = |why: &str| {
        Diagnostic::error(Code::E1003, format!("{x} cannot be expanded to {}: {why}", listed()))
            .note("shapes are aligned at the last dimension; only sizes of 1 grow, and -1 keeps a size")
    };
    let Some(new) = shape.len().checked_sub(x.rank()) else { return Err(mismatch("it has more dimensions")) };
    let mut ty = TensorType::new(x.dtype, []);
    for (at, size) in shape.iter().enumerate() {
        let keep = size.as_known() == Some(-1);
        ty.shape.push(match at.checked_sub(new).map(|at| &x.shape[at]) {
            None if keep => return Err(mismatch("a new dimension has no size to keep")),
            None => size.clone(),
            Some(old) if keep || old == size => old.clone(),
            Some(old) if old.as_known() == Some(1) => size.clone(),
            Some(old) => return Err(mismatch(&format!("{old} does not become {size}"))),
        });
    }
    Ok(ty)
}

/// All dimensions in another order, if they are that.
pub(crate) fn permuted(dims: &[i64], rank: usize) -> Option<Vec<usize>> {
    let axes = dims.iter().map(|&dim| normalise_axis(dim, rank)).collect::<Option<Vec<_>>>()?;
    let distinct = axes.iter().enumerate().all(|(at, axis)| !axes[..at].contains(axis));
    (distinct && axes.len() == rank).then_some(axes)
}

pub(super) fn permute(x: &TensorType, dims: &[i64]) -> Result<TensorType, Diagnostic> {
    dims.iter().try_for_each(|&dim| axis(x, dim).map(drop))?;
    let axes = permuted(dims, x.rank()).ok_or_else(|| {
        Diagnostic::error(Code::E1004, format!("{dims:?} is not an order of the {} of {x}", count(x.rank(), "dimension")))
            .note("`permute` names every dimension once")
            .help("`transpose(x) {dim0: …, dim1: …}` swaps two")
    })?;
    Ok(TensorType::new(x.dtype, axes.into_iter().map(|at| x.shape[at].clone())))
}

/// The dimensions from `start` to `end`, both included.
pub(crate) fn flattened(start: i64, end: i64, rank: usize) -> Option<(usize, usize)> {
    let (start, end) = (normalise_axis(start, rank.max(1))?, normalise_axis(end, rank.max(1))?);
    (start <= end).then_some((start, end))
}

pub(super) fn flatten(x: &TensorType, start: i64, end: i64) -> Result<TensorType, Diagnostic> {
    let Some((first, last)) = flattened(start, end, x.rank()) else {
        let error = Diagnostic::error(Code::E1004, format!("`flatten` cannot join the dimensions {start} to {end} of {x}"));
        return Err(with_range(error, x.rank()));
    };
    let (before, rest) = x.shape.split_at(first.min(x.rank()));
    let (inside, after) = rest.split_at((last + 1 - first).min(rest.len()));
    Ok(TensorType::new(x.dtype, before.iter().cloned().chain([elements(inside)]).chain(after.iter().cloned())))
}

/// The sizes of the pieces of `split`, of a dimension of this size.
pub(crate) fn split_sizes(total: i64, size: Option<i64>, sizes: &[i64]) -> Result<Vec<i64>, String> {
    match size {
        Some(_) if !sizes.is_empty() => Err("either `size` or `sizes` is given, not both".to_owned()),
        None if sizes.is_empty() => Err("`size`, of one piece, or `sizes`, of all, is needed".to_owned()),
        None if sizes.iter().any(|size| *size < 0) => Err("sizes are 0 or more".to_owned()),
        None if sizes.iter().try_fold(0i64, |sum, size| sum.checked_add(*size)) != Some(total) => {
            Err(format!("the sizes {sizes:?} do not add up to {total}"))
        }
        None => Ok(sizes.to_vec()),
        Some(size) if size < 0 || (size == 0 && total > 0) => Err(format!("pieces of {size} do not make up {total}")),
        Some(size) => pieces(total, size, 1),
    }
}

/// The sizes of the pieces of `chunk`.
pub(crate) fn chunk_sizes(total: i64, chunks: i64) -> Result<Vec<i64>, String> {
    match chunks {
        ..1 => Err(format!("there is at least one chunk, not {chunks}")),
        _ if total == 0 => pieces(0, 0, chunks),
        _ => pieces(total, (total - 1) / chunks + 1, 1),
    }
}

/// Pieces of one size, the last one what is left; `least` empty ones of nothing.
fn pieces(total: i64, size: i64, least: i64) -> Result<Vec<i64>, String> {
    let count = if total == 0 { least } else { (total - 1) / size + 1 };
    if count > PIECES {
        return Err(format!("{count} pieces are more than the {PIECES} that are allowed"));
    }
    Ok((0..count).map(|at| size.min(total - at * size)).collect())
}

pub(super) fn split(x: &TensorType, size: Option<i64>, sizes: &[i64], dim: i64) -> Result<Type, Diagnostic> {
    let at = axis(x, dim)?;
    let total = known(&x.shape[at], "the number of pieces")?;
    let sizes = split_sizes(total, size, sizes)
        .map_err(|why| Diagnostic::error(Code::E1008, format!("`split` cannot cut dimension {dim} of {x}: {why}")))?;
    Ok(parts(x, at, &sizes))
}

pub(super) fn chunk(x: &TensorType, chunks: i64, dim: i64) -> Result<Type, Diagnostic> {
    let at = axis(x, dim)?;
    let total = known(&x.shape[at], "the number of chunks")?;
    let sizes = chunk_sizes(total, chunks)
        .map_err(|why| Diagnostic::error(Code::E1008, format!("`chunk` cannot cut dimension {dim} of {x}: {why}")))?;
    Ok(parts(x, at, &sizes))
}

fn parts(x: &TensorType, at: usize, sizes: &[i64]) -> Type {
    let part = |size: &i64| {
        let mut part = x.clone();
        part.shape[at] = Dim::known(*size);
        Type::Tensor(part)
    };
    Type::Tuple(sizes.iter().map(part).collect())
}

pub(super) fn flip(x: &TensorType, dims: &[i64]) -> Result<TensorType, Diagnostic> {
    let axes = dims.iter().map(|&dim| axis(x, dim)).collect::<Result<Vec<_>, _>>()?;
    if axes.iter().enumerate().any(|(at, axis)| axes[..at].contains(axis)) {
        return Err(Diagnostic::error(Code::E1004, format!("{dims:?} names a dimension of {x} twice")));
    }
    Ok(x.clone())
}

pub(super) fn roll(x: &TensorType, shifts: &[i64], dims: &[i64]) -> Result<TensorType, Diagnostic> {
    dims.iter().try_for_each(|&dim| axis(x, dim).map(drop))?;
    let fits = if dims.is_empty() { shifts.len() == 1 } else { shifts.len() == dims.len() };
    if !fits {
        return Err(Diagnostic::error(Code::E1008, format!("`roll` needs a shift for each dimension, but gets {shifts:?} for {dims:?}"))
            .help("without `dims` the flat tensor rolls by one shift"));
    }
    Ok(x.clone())
}

pub(super) fn repeat(x: &TensorType, repeats: &[i64]) -> Result<TensorType, Diagnostic> {
    let Some(new) = repeats.len().checked_sub(x.rank()) else {
        return Err(Diagnostic::error(Code::E1008, format!("`repeat` needs a number for each dimension of {x}, but gets {repeats:?}")));
    };
    if let Some(wrong) = repeats.iter().find(|&&repeat| repeat < 0) {
        return Err(Diagnostic::error(Code::E1008, format!("nothing is repeated {wrong} times")));
    }
    let old = (0..new).map(|_| Dim::known(1)).chain(x.shape.iter().cloned());
    Ok(TensorType::new(x.dtype, old.zip(repeats).map(|(size, &repeat)| size * Dim::known(repeat))))
}

pub(super) fn repeat_interleave(x: &TensorType, repeats: i64, dim: Option<i64>) -> Result<TensorType, Diagnostic> {
    if repeats < 0 {
        return Err(Diagnostic::error(Code::E1008, format!("nothing is repeated {repeats} times")));
    }
    let Some(dim) = dim else { return Ok(TensorType::new(x.dtype, [elements(&x.shape) * Dim::known(repeats)])) };
    let (mut ty, at) = (x.clone(), axis(x, dim)?);
    ty.shape[at] = ty.shape[at].clone() * Dim::known(repeats);
    Ok(ty)
}

pub(super) fn triangle(op: &Op, x: &TensorType) -> Result<TensorType, Diagnostic> {
    if x.rank() < 2 {
        return Err(Diagnostic::error(Code::E1004, format!("`{}` needs a matrix, but gets {x}", op.kind().name()))
            .note("the last two dimensions are rows and columns"));
    }
    Ok(x.clone())
}

/// The length of a diagonal.
pub(crate) fn diagonal_length(rows: i64, columns: i64, offset: i64) -> i64 {
    let (rows, columns) = if offset < 0 { (rows.saturating_add(offset), columns) } else { (rows, columns.saturating_sub(offset)) };
    rows.min(columns).max(0)
}

pub(super) fn diagonal(x: &TensorType, offset: i64, dim0: i64, dim1: i64) -> Result<TensorType, Diagnostic> {
    let (a, b) = (axis(x, dim0)?, axis(x, dim1)?);
    if a == b {
        return Err(Diagnostic::error(Code::E1004, format!("a diagonal goes along two dimensions, but both are {a}")));
    }
    let (rows, columns) = (&x.shape[a], &x.shape[b]);
    let length = match (rows.as_known(), columns.as_known()) {
        (Some(rows), Some(columns)) => Dim::known(diagonal_length(rows, columns, offset)),
        _ if rows == columns && rows.at_least(offset.checked_abs().unwrap_or(i64::MAX)) => rows.clone() - Dim::known(offset.abs()),
        (None, _) => return Err(undecided(rows, format!("the length of diagonal {offset}"))),
        _ => return Err(undecided(columns, format!("the length of diagonal {offset}"))),
    };
    let others = x.shape.iter().enumerate().filter(|(at, _)| *at != a && *at != b).map(|(_, size)| size.clone());
    Ok(TensorType::new(x.dtype, others.chain([length])))
}

/// A shape that nothing but an attribute states.
fn stated_shape(op: &Op, shape: &[Dim]) -> Result<Shape, Diagnostic> {
    shape
        .iter()
        .map(|size| match size.as_known() {
            Some(size) => stated(op, "shape", size),
            None => Err(Diagnostic::error(Code::E1008, format!("the size {size} of `{}` is not a number", op.kind().name()))
                .help("`expand` gives a tensor the sizes of another")),
        })
        .collect()
}

pub(super) fn full(op: &Op, shape: &[Dim], value: &Literal, dtype: Option<DType>) -> Result<TensorType, Diagnostic> {
    match value {
        Literal::Tensor(tensor) if tensor.shape().is_empty() => {
            Ok(TensorType { dtype: dtype.unwrap_or(tensor.dtype()), shape: stated_shape(op, shape)? })
        }
        other => Err(Diagnostic::error(Code::E1008, format!("`full` holds a single number everywhere, not {}", other.ty()))
            .help("`expand` repeats other tensors")),
    }
}

/// How many numbers `arange` has.
pub(crate) fn arange_count(start: f64, end: f64, step: f64, dtype: DType) -> Result<i64, String> {
    let all = [start, end, step];
    if all.iter().any(|number| !number.is_finite()) {
        return Err("its numbers are finite".to_owned());
    }
    if step == 0.0 || (end - start) * step.signum() < 0.0 {
        return Err(format!("steps of {step} do not lead from {start} to {end}"));
    }
    if dtype == DType::Bool || (!dtype.is_float() && all.iter().any(|number| number.fract() != 0.0 || number.abs() > 2f64.powi(53))) {
        return Err(format!("{start}, {end} and {step} are not all of type {dtype}"));
    }
    let count = ((end - start) / step).ceil();
    if count > 2f64.powi(40) {
        return Err("it has more than 2^40 numbers".to_owned());
    }
    Ok(count as i64)
}

pub(super) fn arange(start: Float, end: Float, step: Float, dtype: DType) -> Result<TensorType, Diagnostic> {
    match arange_count(start.get(), end.get(), step.get(), dtype) {
        Ok(count) => Ok(TensorType::new(dtype, [Dim::known(count)])),
        Err(why) => {
            let error = Diagnostic::error(Code::E1008, format!("`arange` cannot be: {why}"));
            let fraction = [start, end, step].iter().any(|number| number.get().fract() != 0.0);
            Err(if fraction && !dtype.is_float() { error.help("give it an element type of floats: `{…, dtype: f32}`") } else { error })
        }
    }
}

fn float_dtype(op: &Op, dtype: DType) -> Result<(), Diagnostic> {
    if dtype.is_float() { Ok(()) } else { Err(wrong_dtype(op, dtype, "a type of floats")) }
}

pub(super) fn linspace(op: &Op, steps: i64, dtype: DType) -> Result<TensorType, Diagnostic> {
    float_dtype(op, dtype)?;
    Ok(TensorType::new(dtype, [stated(op, "steps", steps)?]))
}

pub(super) fn eye(op: &Op, rows: i64, columns: Option<i64>, dtype: DType) -> Result<TensorType, Diagnostic> {
    Ok(TensorType::new(dtype, [stated(op, "rows", rows)?, stated(op, "columns", columns.unwrap_or(rows))?]))
}

pub(super) fn one_hot(op: &Op, ids: &TensorType, classes: i64) -> Result<TensorType, Diagnostic> {
    index_dtype(op, ids)?;
    if classes < 1 {
        return Err(Diagnostic::error(Code::E1008, format!("`classes` of `one_hot` is 1 or more, not {classes}")));
    }
    Ok(TensorType::new(DType::I64, ids.shape.iter().cloned().chain([Dim::known(classes)])))
}

/// A random tensor, from an optional stream.
pub(super) fn random(op: &Op, stream: Option<&Type>, shape: &[Dim], dtype: DType) -> Result<TensorType, Diagnostic> {
    if let Some(stream) = stream
        && *stream != Type::tensor(DType::I64, [])
    {
        return Err(super::wrong_kind(op, 0, "the number of a stream, tensor<i64>", stream));
    }
    let wrong = |why: String| Err(Diagnostic::error(Code::E1008, format!("`{}` cannot be: {why}", op.kind().name())));
    match *op {
        Op::RandomInt { low, high, dtype, .. } => {
            let (least, most) = match dtype {
                DType::I64 => (i64::MIN, i64::MAX),
                DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
                DType::U8 => (0, 255),
                DType::Bool | DType::F64 | DType::F32 | DType::F16 | DType::BF16 => {
                    return Err(wrong_dtype(op, dtype, "a type of integers"));
                }
            };
            if low >= high {
                return wrong(format!("no number is at least {low} and less than {high}"));
            }
            if low < least || high - 1 > most {
                return wrong(format!("the numbers from {low} to {} are not all of type {dtype}", high - 1));
            }
        }
        Op::RandomUniform { low, high, .. } => {
            float_dtype(op, dtype)?;
            let (low, high) = (low.get(), high.get());
            let far = if dtype == DType::F64 { high - low } else { f64::from(high as f32 - low as f32) };
            if !(low <= high && far.is_finite()) {
                return wrong(format!("{low} to {high} is no range of numbers"));
            }
        }
        _ => {
            float_dtype(op, dtype)?;
            if let Op::RandomNormal { mean, std, .. } = op
                && !(mean.get().is_finite() && std.get().is_finite() && std.get() >= 0.0)
            {
                return wrong(format!("there is no normal distribution of mean {} and deviation {}", mean.get(), std.get()));
            }
        }
    }
    Ok(TensorType { dtype, shape: stated_shape(op, shape)? })
}
