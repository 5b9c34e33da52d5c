//! From a checkpoint of any format to a folder of the cache: configuration, tokenizer, and weights as engines map them.
//!
//! The weights go into one safetensors file of f32, in the order in which a forward pass needs them; a weight whose name ends
//! in `.T` is turned, so that a linear map is `[in, out]`. Conversion goes tensor by tensor and strip by strip: its memory is
//! that of a few columns of the tallest matrix. What the checkpoint holds and nobody uses is an error, and never passed over.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, BufWriter, Write},
    path::Path,
};

use half::{bf16, f16};
use irc_ir::{
    diagnostic::Diagnostic,
    model::{ModelSpec, WeightDecl},
};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::cache::{self, FileRecord, Manifest, OnProgress, Origin, Progress, Recorded, Stage, cannot};

/// The tensors of a model, under the names that Hugging Face gives them.
pub(super) trait Checkpoint {
    /// The tensor of this name, where there is one; an error if its elements cannot be decoded.
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>, Diagnostic>;

    /// All tensors that have to be of use, by the names in the files.
    fn names(&self) -> Vec<&str>;

    /// The name in the files of what Hugging Face calls `name`.
    fn own_name(&self, name: &str) -> String;

    /// A problem with a tensor, by its name in the files; `message` continues "the checkpoint …".
    fn fault(&self, own_name: &str, message: String) -> Diagnostic;
}

/// Whole blocks to as many f32 as they hold.
pub(super) type Decode = fn(&[u8], &mut [f32]);

/// A tensor in a mapped file, whose elements can be decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor<'a> {
    /// The name in its file.
    pub(super) name: &'a str,
    /// The shape in its file, with the slowest dimension first.
    pub(super) shape: &'a [usize],
    /// The elements, row-major.
    pub(super) bytes: &'a [u8],
    /// The number of neighbours along the last dimension that are stored together; 1 where nothing is quantized.
    pub(super) block: usize,
    /// The bytes of a block.
    pub(super) block_bytes: usize,
    /// Decodes blocks.
    pub(super) decode: Decode,
    /// Where the file has the rows and columns of the Hugging Face checkpoint.
    pub(super) order: Order,
}

/// How a format orders the elements of what is one matrix, or vector, in the Hugging Face checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// As Hugging Face does.
    Same,
    /// Rows are columns.
    Transposed,
    /// Of each head the rows are interleaved for llama.cpp's rotary embedding, 0 h 1 h+1 …, where Hugging Face has 0 1 … h h+1 …;
    /// h is `half` a head.
    Interleaved {
        /// Half the rows of a head.
        half: usize,
    },
    /// The queries of all heads, then all keys, then all values, where Hugging Face has the three of each head together.
    Split {
        /// Heads.
        heads: usize,
        /// Rows of a head.
        size: usize,
    },
}

impl Order {
    /// Where the file has a row of the Hugging Face checkpoint.
    fn stored(self, row: usize) -> usize {
        match self {
            Order::Same | Order::Transposed => row,
            Order::Interleaved { half } => row / (2 * half) * (2 * half) + row % half * 2 + row % (2 * half) / half,
            Order::Split { heads, size } => {
                let (head, part) = (row / (3 * size), row % (3 * size));
                part / size * heads * size + head * size + part % size
            }
        }
    }

    /// Whether rows of this number can be ordered so.
    fn fits(self, rows: usize) -> bool {
        match self {
            Order::Same | Order::Transposed => true,
            Order::Interleaved { half } => half > 0 && rows.is_multiple_of(2 * half),
            Order::Split { heads, size } => [3, heads].iter().try_fold(size, |rows, times| rows.checked_mul(*times)) == Some(rows),
        }
    }
}

impl Tensor<'_> {
    /// Decodes the elements from `start` on, in the order of the file, into `out`.
    ///
    /// # Panics
    /// Where `start` or the length of `out` is not a multiple of the block, or the end is past the tensor's end.
    pub(super) fn read(&self, start: usize, out: &mut [f32]) {
        assert!(start.is_multiple_of(self.block) && out.len().is_multiple_of(self.block), "{}: not whole blocks", self.name);
        let (first, count) = (start / self.block, out.len() / self.block);
        (self.decode)(&self.bytes[first * self.block_bytes..][..count * self.block_bytes], out);
    }

    /// The number of elements.
    pub(super) fn elements(&self) -> usize {
        self.bytes.len() / self.block_bytes * self.block
    }

    /// The shape that it has in the Hugging Face checkpoint.
    fn shape(&self) -> Vec<usize> {
        let mut shape = self.shape.to_vec();
        if self.order == Order::Transposed {
            shape.reverse();
        }
        shape
    }

    /// Whether both hold the same numbers, bit for bit.
    fn equals(&self, other: &Tensor<'_>) -> bool {
        let form = |tensor: &Tensor<'_>| (tensor.order, tensor.block, tensor.block_bytes, tensor.shape.to_vec());
        form(self) == form(other) && std::ptr::fn_addr_eq(self.decode, other.decode) && self.bytes == other.bytes
    }
}

pub(super) fn f32_values(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = f32::from_le_bytes(*bytes);
    }
}

pub(super) fn f16_values(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = f16::from_le_bytes(*bytes).to_f32();
    }
}

pub(super) fn bf16_values(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = bf16::from_le_bytes(*bytes).to_f32();
    }
}

/// A tensor of the weights file.
pub(super) struct Weight<'a> {
    name: String,
    shape: Vec<usize>,
    tensor: Tensor<'a>,
    /// Whether rows of the tensor become columns.
    turned: bool,
}

/// What the weights file of a model holds, and where in the checkpoint it comes from.
///
/// # Errors
/// E0011 naming the tensor: it is missing, has another shape, cannot be decoded, or is of no use to the model.
pub(super) fn plan<'a>(spec: &ModelSpec, checkpoint: &'a dyn Checkpoint) -> Result<Vec<Weight<'a>>, Diagnostic> {
    // Weights that are tied have the same numbers, so any of them is enough. Those that are `.T` of each other are one tensor.
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for decl in spec.weights() {
        let (own, root) = (in_checkpoint(&decl.name).0, root(decl));
        let group = groups.entry(root).or_insert_with(|| vec![root]);
        if !group.contains(&own) {
            group.push(own);
        }
    }
    let (mut used, mut found, mut missing) = (HashSet::new(), BTreeMap::new(), vec![]);
    for (root, names) in &groups {
        let mut first: Option<Tensor<'_>> = None;
        for name in names {
            let Some(tensor) = checkpoint.tensor(name)? else { continue };
            used.insert(tensor.name);
            match first {
                None => first = Some(tensor),
                Some(first) if first.equals(&tensor) => {}
                Some(first) => {
                    let message = format!("holds other numbers in `{}` than in `{}`, though the model ties them", tensor.name, first.name);
                    return Err(checkpoint
                        .fault(tensor.name, message)
                        .help("if they are meant to differ, set `tie_word_embeddings` to false in config.json"));
                }
            }
        }
        match first {
            Some(tensor) => drop(found.insert(*root, tensor)),
            None => missing.push(checkpoint.own_name(root)),
        }
    }
    let unused: Vec<&str> = checkpoint.names().into_iter().filter(|name| !used.contains(name)).collect();
    if let Some(first) = missing.first() {
        let error = checkpoint.fault(first, format!("has no {} that the model needs: {}", tensors(missing.len()), list(&missing)));
        return Err(match unused.is_empty() {
            true => error,
            false => error.note(format!("it has {} that the model does not use: {}", tensors(unused.len()), list(&unused))),
        });
    }
    if let Some(first) = unused.first() {
        return Err(checkpoint
            .fault(first, format!("holds {} for which the model has no place: {}", tensors(unused.len()), list(&unused)))
            .help("does config.json belong to this checkpoint? what is passed over could change the results, so nothing is"));
    }

    let mut weights = vec![];
    for decl in spec.weights() {
        // Every group has its tensor by now.
        let Some(&tensor) = found.get(root(decl)) else { continue };
        let turned = in_checkpoint(&decl.name).1;
        let shape: Vec<usize> = decl.ty.shape.iter().filter_map(|dim| dim.as_usize()).collect();
        let mut wanted = shape.clone();
        if turned {
            wanted.reverse();
        }
        if tensor.shape() != wanted || !tensor.order.fits(wanted.first().copied().unwrap_or(1)) {
            let message = format!("has the shape {:?} for `{}` where its configuration wants {wanted:?}", tensor.shape(), tensor.name);
            return Err(checkpoint.fault(tensor.name, message));
        }
        weights.push(Weight { name: decl.name.to_string(), shape, tensor, turned });
    }
    Ok(weights)
}

/// The name in the checkpoint of what the model calls `name`, and whether the model has it transposed.
fn in_checkpoint(name: &str) -> (&str, bool) {
    name.strip_suffix(".T").map_or((name, false), |name| (name, true))
}

/// The tensor in the checkpoint that has the numbers of a weight: its own, or that of the weight that it is a copy of.
fn root(decl: &WeightDecl) -> &str {
    in_checkpoint(decl.copy_of.as_ref().unwrap_or(&decl.name)).0
}

fn tensors(count: usize) -> String {
    if count == 1 { "tensor".to_owned() } else { format!("{count} tensors") }
}

/// The first few names.
pub(super) fn list(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

/// Why a file of a model cannot be written.
pub(super) enum WriteError {
    /// The system refuses it.
    File(io::Error),
    /// What it is made from is wrong.
    Content(Box<Diagnostic>),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> WriteError {
        WriteError::File(error)
    }
}

impl From<Diagnostic> for WriteError {
    fn from(diagnostic: Diagnostic) -> WriteError {
        WriteError::Content(Box::new(diagnostic))
    }
}

/// A model's folder in the making.
pub(super) struct Folder<'a> {
    path: &'a Path,
    files: BTreeMap<String, FileRecord>,
}

impl Folder<'_> {
    /// A folder that is there and empty.
    pub(super) fn new(path: &Path) -> Folder<'_> {
        Folder { path, files: BTreeMap::new() }
    }

    /// Adds a file.
    pub(super) fn add(&mut self, name: &str, write: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>) -> Result<(), Diagnostic> {
        let path = self.path.join(name);
        let mut out = BufWriter::with_capacity(1 << 16, Recorded::create(&path)?);
        let written = write(&mut out).and_then(|()| Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?));
        let written = written.map_err(|error| match error {
            WriteError::File(error) => cannot("write", &path, &error),
            WriteError::Content(diagnostic) => *diagnostic,
        });
        self.files.insert(name.to_owned(), written?.finish()?);
        Ok(())
    }

    /// Adds the weights.
    pub(super) fn add_weights(&mut self, weights: &[Weight<'_>], progress: OnProgress<'_>) -> Result<(), Diagnostic> {
        self.add(cache::WEIGHTS, |mut out| Ok(write_weights(weights, &mut out, progress)?))
    }

    /// What the folder is now.
    pub(super) fn finish(self, name: &str, source: Origin) -> Manifest {
        Manifest::new(name, source, self.files)
    }
}

/// Engines read the weights in place, best at the start of a cache line.
const ALIGNMENT: usize = 64;

/// Writes a safetensors file. Its header lists what follows, so that the data can go out piece by piece.
pub(super) fn write_weights(weights: &[Weight<'_>], out: &mut impl Write, progress: OnProgress<'_>) -> io::Result<()> {
    let (mut rows, mut end) = (Vec::new(), 0usize);
    for weight in weights {
        let start = end;
        end = weight
            .tensor
            .elements()
            .checked_mul(4)
            .and_then(|bytes| bytes.checked_add(start))
            .ok_or_else(|| io::Error::other("the weights are too large"))?;
        rows.push((weight.name.clone(), TensorInfo { dtype: Dtype::F32, shape: weight.shape.clone(), data_offsets: (start, end) }));
    }
    let mut header = serde_json::to_vec(&Metadata::new(None, rows).map_err(io::Error::other)?)?;
    header.resize((header.len() + 8).next_multiple_of(ALIGNMENT) - 8, b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;

    let mut done = 0;
    let mut put = |values: &[f32]| {
        let mut bytes = [0; 4096];
        for values in values.chunks(1024) {
            for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                *bytes = value.to_le_bytes();
            }
            out.write_all(&bytes[..values.len() * 4])?;
        }
        done += values.len() as u64 * 4;
        progress(Progress { stage: Stage::Converting, done, total: end as u64 });
        Ok(())
    };
    weights.iter().try_for_each(|weight| write_weight(weight, &mut put))
}

fn write_weight(Weight { tensor, turned, .. }: &Weight<'_>, put: &mut impl FnMut(&[f32]) -> io::Result<()>) -> io::Result<()> {
    let turned = *turned != (tensor.order == Order::Transposed);
    match *tensor.shape {
        [rows, columns] if turned => write_transposed(tensor, rows, columns, put),
        _ if matches!(tensor.order, Order::Same | Order::Transposed) => {
            // A multiple of every block.
            let mut values = vec![0.0; 1 << 14];
            for start in (0..tensor.elements()).step_by(1 << 14) {
                let values = &mut values[..(tensor.elements() - start).min(1 << 14)];
                tensor.read(start, values);
                put(values)?;
            }
            Ok(())
        }
        [rows] => {
            let mut values = vec![0.0; rows];
            tensor.read(0, &mut values);
            put(&(0..rows).map(|row| values[tensor.order.stored(row)]).collect::<Vec<f32>>())
        }
        _ => {
            let rows = tensor.shape.first().copied().unwrap_or(1);
            let mut values = vec![0.0; tensor.elements() / rows.max(1)];
            for row in 0..rows {
                tensor.read(tensor.order.stored(row) * values.len(), &mut values);
                put(&values)?;
            }
            Ok(())
        }
    }
}

/// Writes the transposed matrix, a few columns at a time.
fn write_transposed(tensor: &Tensor<'_>, rows: usize, columns: usize, put: &mut impl FnMut(&[f32]) -> io::Result<()>) -> io::Result<()> {
    /// One cache line of f32: tiles of so many rows are turned at once, because whole lines go to memory many times faster.
    const TILE: usize = ALIGNMENT / 4;
    let widest = tensor.block.max(32).min(columns.max(1));
    let (mut strip, mut tile) = (vec![0.0; widest * rows], vec![0.0; widest * TILE]);
    for first in (0..columns).step_by(widest) {
        let width = widest.min(columns - first);
        for top in (0..rows).step_by(TILE) {
            let height = TILE.min(rows - top);
            for (row, values) in tile.chunks_exact_mut(width).take(height).enumerate() {
                tensor.read(tensor.order.stored(top + row) * columns + first, values);
            }
            for column in 0..width {
                for (row, value) in strip[column * rows + top..][..height].iter_mut().enumerate() {
                    *value = tile[row * width + column];
                }
            }
        }
        put(&strip[..width * rows])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows in the order in which llama.cpp's converter writes them, each by its number in the Hugging Face checkpoint.
    #[test]
    fn orders_are_those_of_the_converter() {
        // `permute`: reshape(heads, 2, half, …).swapaxes(1, 2).
        let (heads, half) = (3, 4);
        let mut stored = vec![];
        for head in 0..heads {
            for at in 0..half {
                stored.extend([0, 1].map(|side| head * 2 * half + side * half + at));
            }
        }
        let order = Order::Interleaved { half };
        assert!((0..24).all(|row| stored[order.stored(row)] == row) && order.fits(24) && !order.fits(28));

        // GPT-NeoX: reshape(heads, 3, size, …), then [:, 0], [:, 1] and [:, 2] one after the other.
        let size = 5;
        let mut stored = vec![];
        for part in 0..3 {
            for head in 0..heads {
                stored.extend((0..size).map(|at| head * 3 * size + part * size + at));
            }
        }
        let order = Order::Split { heads, size };
        assert!((0..45).all(|row| stored[order.stored(row)] == row) && order.fits(45) && !order.fits(30));
        assert!(!Order::Split { heads: usize::MAX, size: 2 }.fits(6) && !Order::Interleaved { half: 0 }.fits(6));
    }

    /// Every order, for a matrix that is turned, one that is not, and a vector.
    #[test]
    fn weights_in_every_order() {
        let (rows, columns) = (12, 35);
        let bytes: Vec<u8> = (0..rows * columns).flat_map(|value: usize| (value as f32).to_le_bytes()).collect();
        let written = |order: Order, shape: &[usize], turned: bool| {
            let bytes = &bytes[..shape.iter().product::<usize>() * 4];
            let tensor = Tensor { name: "w", shape, bytes, block: 1, block_bytes: 4, decode: f32_values, order };
            let mut values = vec![];
            write_weight(&Weight { name: "w".into(), shape: vec![], tensor, turned }, &mut |part: &[f32]| {
                values.extend(part.iter().map(|value| *value as usize));
                Ok(())
            })
            .unwrap();
            values
        };
        let row = |row: usize| row * columns..(row + 1) * columns;
        let turned = |rows: &[usize]| (0..columns).flat_map(|at| rows.iter().map(move |row| row * columns + at)).collect::<Vec<_>>();
        let all: Vec<usize> = (0..rows).collect();
        for order in [Order::Same, Order::Interleaved { half: 3 }, Order::Split { heads: 2, size: 2 }] {
            let stored: Vec<usize> = (0..rows).map(|row| order.stored(row)).collect();
            let straight: Vec<usize> = stored.iter().flat_map(|at| row(*at)).collect();
            assert_eq!(written(order, &[rows, columns], false), straight, "{order:?}");
            assert_eq!(written(order, &[rows, columns], true), turned(&stored), "{order:?}");
            assert_eq!(written(order, &[rows], false), stored, "{order:?}");
        }
        assert_eq!(written(Order::Transposed, &[rows, columns], false), turned(&all));
        assert_eq!(written(Order::Transposed, &[rows, columns], true), (0..rows * columns).collect::<Vec<_>>());
        assert_eq!(written(Order::Transposed, &[rows], false), all);
    }
}
