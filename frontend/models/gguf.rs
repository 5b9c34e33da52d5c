//! GGUF files, the format of llama.cpp: metadata, the tensor table, and tensors as f32.
//!
//! A file comes from anywhere, so nothing in it is believed: counts are held against the bytes that are left before
//! anything is allocated, every tensor must lie inside the file and apart from the others, and what does not fit is a
//! [`Diagnostic`] that names the field. Lists stay in the mapped file and are read when asked for.

mod architecture;
mod blocks;
#[cfg(test)]
pub(super) mod build;

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
};
use memmap2::Mmap;

use super::{
    cache::cannot,
    convert::{Order, Tensor},
};
pub(super) use architecture::{config, convert, spec};
use blocks::{FORMATS, Format};

/// A GGUF file, open and checked.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    layout: Layout,
}

/// One row of the tensor table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorInfo {
    name: String,
    shape: Vec<usize>,
    type_id: u32,
    bytes: Range<usize>,
}

impl TensorInfo {
    /// The name in llama.cpp's scheme: `blk.0.attn_q.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape with the slowest dimension first, as in PyTorch; GGUF itself lists the fastest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The element format in ggml's words: `Q4_1`.
    pub fn type_name(&self) -> String {
        Format::find(self.type_id).map_or_else(|| format!("type {}", self.type_id), |format| format.name.to_owned())
    }
}

/// How every file begins.
const MAGIC: &[u8; 4] = b"GGUF";

impl Gguf {
    /// Whether a file begins as a GGUF file does.
    pub fn is_at(path: &Path) -> bool {
        let mut magic = [0; 4];
        path.is_file() && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *MAGIC
    }

    /// Opens a file and checks its header, metadata and tensor table.
    pub fn open(path: &Path) -> Result<Gguf, Diagnostic> {
        let file = File::open(path).map_err(|error| cannot("open", path, &error))?;
        let kind = file.metadata().map_err(|error| cannot("open", path, &error))?;
        if !kind.is_file() {
            return Err(fault(path, "", "is not a file"));
        }
        // SAFETY: the map is read-only, and the cache never changes a file in place. Whoever cuts the user's own file short
        // while it is being imported gets a signal from the system, as with every mapped file.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| cannot("map", path, &error))?;
        Gguf::from_map(path, map)
    }

    fn from_map(path: &Path, map: Mmap) -> Result<Gguf, Diagnostic> {
        let layout = Layout::parse(path, &map)?;
        Ok(Gguf { path: path.to_owned(), map, layout })
    }

    /// The tensor table, in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.layout.tensors
    }

    /// Whether there is a tensor of this name.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.layout.by_name.contains_key(name)
    }

    /// The tensor called `name`, if it is there and can be decoded.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor<'_>, Diagnostic> {
        let Some(&at) = self.layout.by_name.get(name) else {
            return Err(fault(&self.path, name, format!("has no tensor `{name}`")));
        };
        let info = &self.layout.tensors[at];
        let Some((format, decode)) = Format::find(info.type_id).and_then(|format| Some((format, format.decode?))) else {
            let known: Vec<_> = FORMATS.iter().filter(|format| format.decode.is_some()).map(|format| format.name).collect();
            return Err(fault(
                &self.path,
                name,
                format!("holds the tensor `{name}` as {}, which this version cannot decode", info.type_name()),
            )
            .help(format!("formats that it can: {}; llama.cpp's `llama-quantize --allow-requantize` rewrites a file", known.join(", "))));
        };
        let bytes = &self.map[info.bytes.clone()];
        let (block, block_bytes) = (format.block, format.bytes);
        Ok(Tensor { name: &info.name, shape: &info.shape, bytes, block, block_bytes, decode, order: Order::Same })
    }

    /// The keys of the metadata.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.layout.metadata.keys().map(String::as_str)
    }

    /// A whole number that is not negative.
    pub fn uint(&self, key: &str) -> Result<Option<u64>, Diagnostic> {
        self.get(key, "a whole number that is not negative", |value| match *value {
            Value::Uint(value) => Some(value),
            Value::Int(value) => u64::try_from(value).ok(),
            _ => None,
        })
    }

    /// A number.
    pub fn float(&self, key: &str) -> Result<Option<f64>, Diagnostic> {
        self.get(key, "a finite floating-point number", |value| match *value {
            Value::Float(value) if value.is_finite() => Some(value),
            _ => None,
        })
    }

    /// Yes or no.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Diagnostic> {
        self.get(key, "true or false", |value| match *value {
            Value::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Diagnostic> {
        self.get(key, "a text", |value| match value {
            Value::Text(at) => std::str::from_utf8(self.map.get(at.clone())?).ok(),
            _ => None,
        })
    }

    /// A list of texts; the iterator reads them from the file.
    pub fn texts(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = &str> + Clone>, Diagnostic> {
        self.get(key, "a list of texts", |value| match value {
            Value::List { item: STRING, count, at } => Some(Texts { left: *count, bytes: self.map.get(at.clone())? }),
            _ => None,
        })
    }

    /// A list of 32-bit whole numbers; the iterator reads them from the file.
    pub fn ints(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = i32>>, Diagnostic> {
        self.get(key, "a list of 32-bit whole numbers", |value| match value {
            Value::List { item: INT32 | UINT32, at, .. } => {
                Some(self.map.get(at.clone())?.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)))
            }
            _ => None,
        })
    }

    fn get<'a, T>(&'a self, key: &str, wanted: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>, Diagnostic> {
        let Some(value) = self.layout.metadata.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.fault(key, format!("has a value for `{key}` that is not {wanted}")))
    }

    /// What to say where a key is needed and not there.
    pub fn missing(&self, key: &str) -> Diagnostic {
        self.fault(key, format!("has no metadata key `{key}`"))
    }

    /// A problem with `field` of this file; `message` continues "the GGUF file …".
    pub fn fault(&self, field: &str, message: impl std::fmt::Display) -> Diagnostic {
        fault(&self.path, field, message)
    }
}

/// A problem with `field` of the file; `message` continues "the GGUF file …".
fn fault(path: &Path, field: &str, message: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error(Code::E0011, format!("the GGUF file {message}")).label(Span::file(path, field), "")
}

/// A problem that means that bytes are not what was once written.
fn damage(path: &Path, field: &str, message: impl std::fmt::Display) -> Diagnostic {
    fault(path, field, message).help("the file is cut short or damaged: get it again, and compare its SHA-256 with the publisher's")
}

// Codes of metadata values.
const UINT32: u32 = 4;
const INT32: u32 = 5;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// The bytes of a value of fixed size.
fn scalar_bytes(kind: u32) -> Option<usize> {
    match kind {
        0 | 1 | BOOL => Some(1),
        2 | 3 => Some(2),
        UINT32 | INT32 | 6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// A metadata value. Texts and lists stay in the file; parsing has checked them.
#[derive(Clone, PartialEq, Debug)]
enum Value {
    Uint(u64),
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Range<usize>),
    List { item: u32, count: usize, at: Range<usize> },
}

/// The texts of a list that parsing has walked through once.
#[derive(Clone)]
struct Texts<'a> {
    left: usize,
    bytes: &'a [u8],
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        let (length, rest) = self.bytes.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        self.bytes = rest;
        std::str::from_utf8(text).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Texts<'_> {}

/// What the front of the file says.
#[derive(Debug)]
struct Layout {
    metadata: BTreeMap<String, Value>,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
}

/// ggml's own limits; longer keys and names and more dimensions do not occur in good files.
const MAX_KEY: usize = 65_535;
const MAX_DIMS: u32 = 4;

impl Layout {
    fn parse(path: &Path, bytes: &[u8]) -> Result<Layout, Diagnostic> {
        let mut cursor = Cursor { bytes, at: 0 };
        let damaged = |field: &str| {
            let (path, field) = (path.to_owned(), field.to_owned());
            move |message: String| damage(&path, &field, message)
        };
        if bytes.first_chunk() != Some(MAGIC) {
            return Err(fault(path, "magic", "does not begin with `GGUF`").help("is it a GGUF file at all?"));
        }
        cursor.at = 4;
        let version = cursor.u32().map_err(damaged("version"))?;
        if version.swap_bytes() == 2 || version.swap_bytes() == 3 {
            return Err(fault(path, "version", "is of the big-endian kind, which is not supported"));
        }
        if !(2..=3).contains(&version) {
            return Err(fault(path, "version", format!("has version {version}; versions 2 and 3 are supported")));
        }
        // A row of the tensor table takes at least 8 + 1 + 4 + 8 + 4 + 8 bytes, a key with its value 8 + 1 + 4 + 1.
        let tensor_count = cursor.count(33).map_err(damaged("tensor_count"))?;
        let metadata_count = cursor.count(14).map_err(damaged("metadata_kv_count"))?;

        let mut metadata = BTreeMap::new();
        for at in 0..metadata_count {
            let field = format!("metadata {at}");
            let key = cursor.name().map_err(damaged(&field))?.to_owned();
            let value = cursor.value().map_err(damaged(&key))?;
            if metadata.contains_key(&key) {
                return Err(fault(path, &key, format!("has the metadata key `{key}` twice")));
            }
            metadata.insert(key, value);
        }

        let (mut rows, mut by_name) = (Vec::new(), HashMap::new());
        for at in 0..tensor_count {
            let field = format!("tensor {at}");
            let name = cursor.name().map_err(damaged(&field))?.to_owned();
            let (shape, type_id, offset) = cursor.tensor().map_err(damaged(&name))?;
            if by_name.insert(name.clone(), at).is_some() {
                return Err(fault(path, &name, format!("has the tensor `{name}` twice")));
            }
            rows.push((name, shape, type_id, offset));
        }

        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Value::Uint(value)) if value.is_power_of_two() && *value <= 1 << 20 => *value,
            Some(_) => return Err(fault(path, "general.alignment", "has an alignment that is not a power of two of reasonable size")),
        };
        let start = (cursor.at as u64).next_multiple_of(alignment);
        let tensors = rows
            .into_iter()
            .map(|(name, shape, type_id, offset)| {
                let bytes = place(&shape, type_id, offset, alignment, start, bytes.len()).map_err(damaged(&name))?;
                Ok(TensorInfo { name, shape, type_id, bytes })
            })
            .collect::<Result<Vec<_>, Diagnostic>>()?;

        let mut by_place: Vec<_> = tensors.iter().collect();
        by_place.sort_by_key(|tensor| tensor.bytes.start);
        for pair in by_place.windows(2) {
            if pair[0].bytes.end > pair[1].bytes.start {
                let message = format!("keeps the tensors `{}` and `{}` in one place", pair[0].name, pair[1].name);
                return Err(damage(path, &pair[1].name, message));
            }
        }
        Ok(Layout { metadata, tensors, by_name })
    }
}

/// Where in the file a tensor lies.
fn place(shape: &[usize], type_id: u32, offset: u64, alignment: u64, start: u64, file: usize) -> Result<Range<usize>, String> {
    if !offset.is_multiple_of(alignment) {
        return Err(format!("has a tensor at offset {offset}, which is not a multiple of {alignment}"));
    }
    // The size of a format that is not in the table is unknown; such a tensor is never read.
    let bytes = match Format::find(type_id) {
        None => Some(0),
        Some(format) => {
            let row = shape.last().copied().unwrap_or(1);
            if !row.is_multiple_of(format.block) {
                return Err(format!(
                    "has a tensor of type {} with rows of {row}, which is not a multiple of {}",
                    format.name, format.block
                ));
            }
            let elements = shape.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
            elements.and_then(|elements| (elements / format.block).checked_mul(format.bytes))
        }
    };
    let begin = start.checked_add(offset).and_then(|begin| usize::try_from(begin).ok());
    let range = begin.zip(bytes).and_then(|(begin, bytes)| Some(begin..begin.checked_add(bytes)?));
    range
        .filter(|range| range.end <= file)
        .ok_or_else(|| format!("ends before the data of a tensor does (shape {shape:?}, offset {offset}, file {file} bytes)"))
}

/// A place in the bytes. Errors are the end of a sentence that begins with "the GGUF file".
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("wants {count} bytes at offset {}, where {} are left", self.at, self.left()))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of things that take at least `least` bytes each, which must fit into what is left.
    fn count(&mut self, least: usize) -> Result<usize, String> {
        let count = self.u64()?;
        let room = self.left() / least;
        usize::try_from(count).ok().filter(|count| *count <= room).ok_or_else(|| format!("counts {count} where there is room for {room}"))
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let length = self.count(1)?;
        let at = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| format!("has a text at offset {at} that is not UTF-8"))
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let at = self.at;
        let name = self.text()?;
        if name.is_empty() || name.len() > MAX_KEY || name.chars().any(char::is_control) {
            return Err(format!("has a name at offset {at} that is empty, too long, or has control characters"));
        }
        Ok(name)
    }

    fn value(&mut self) -> Result<Value, String> {
        let kind = self.u32()?;
        Ok(match kind {
            0 => Value::Uint(self.array::<1>()?[0].into()),
            1 => Value::Int(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Uint(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Int(i16::from_le_bytes(self.array()?).into()),
            UINT32 => Value::Uint(self.u32()?.into()),
            INT32 => Value::Int(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            BOOL => Value::Bool(self.array::<1>()?[0] != 0),
            STRING => {
                let length = self.text()?.len();
                Value::Text(self.at - length..self.at)
            }
            ARRAY => self.list()?,
            10 => Value::Uint(self.u64()?),
            11 => Value::Int(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            _ => return Err(format!("has a value of the unknown type {kind}")),
        })
    }

    fn list(&mut self) -> Result<Value, String> {
        let item = self.u32()?;
        let (count, start) = match (item, scalar_bytes(item)) {
            (_, Some(size)) => {
                let count = self.count(size)?;
                let start = self.at;
                self.take(count * size)?;
                (count, start)
            }
            (STRING, None) => {
                let count = self.count(8)?;
                let start = self.at;
                for _ in 0..count {
                    self.text()?;
                }
                (count, start)
            }
            (ARRAY, None) => return Err("has a list of lists, which is not supported".into()),
            (_, None) => return Err(format!("has a list of the unknown type {item}")),
        };
        Ok(Value::List { item, count, at: start..self.at })
    }

    /// What follows the name in the tensor table: the shape in PyTorch's order, the format, the offset.
    fn tensor(&mut self) -> Result<(Vec<usize>, u32, u64), String> {
        let dims = self.u32()?;
        if !(1..=MAX_DIMS).contains(&dims) {
            return Err(format!("has a tensor with {dims} dimensions; 1 to {MAX_DIMS} are possible"));
        }
        let mut shape = Vec::new();
        for _ in 0..dims {
            let dim = self.u64()?;
            // Kept below 2^63, so that a dimension is also an i64.
            let dim = usize::try_from(dim).ok().filter(|dim| *dim > 0 && *dim <= isize::MAX as usize);
            shape.push(dim.ok_or("has a tensor with an impossible dimension")?);
        }
        shape.reverse();
        Ok((shape, self.u32()?, self.u64()?))
    }
}

#[cfg(test)]
mod tests {
    use super::{build::Builder, *};

    fn open(bytes: &[u8]) -> Result<Gguf, Diagnostic> {
        let mut map = memmap2::MmapMut::map_anon(bytes.len().max(1)).unwrap();
        map[..bytes.len()].copy_from_slice(bytes);
        Gguf::from_map(Path::new("toy.gguf"), map.make_read_only().unwrap())
    }

    fn toy() -> Builder {
        let q8: Vec<u8> = [0, 0x3c].into_iter().chain((0..32u8).map(|at| at.wrapping_sub(16))).collect();
        let q4: Vec<u8> = [0, 0x38, 0, 0xbc].into_iter().chain((0..16u8).map(|at| at | (15 - at) << 4)).collect();
        Builder::default()
            .text("general.architecture", "llama")
            .uint("llama.block_count", 2)
            .float("llama.eps", 1e-5)
            .texts("tokens", &["a", "", "é"])
            .ints("types", &[1, -3])
            .floats("f32", &[2, 3], (0..6).map(|at| at as f32))
            .tensor("f16", &[2], 1, vec![0, 0x3c, 0, 0xc0])
            .tensor("q8", &[1, 32], 8, q8)
            .tensor("q4", &[32], 3, q4)
            .tensor("iq4_xs", &[256], 23, vec![0; 136])
    }

    #[test]
    fn reads_what_was_written() {
        let file = open(&toy().bytes()).unwrap();
        assert_eq!(file.text("general.architecture").unwrap(), Some("llama"));
        assert_eq!(file.uint("llama.block_count").unwrap(), Some(2));
        assert_eq!(file.float("llama.eps").unwrap(), Some(f64::from(1e-5f32)));
        assert_eq!(file.texts("tokens").unwrap().unwrap().collect::<Vec<_>>(), ["a", "", "é"]);
        assert_eq!(file.ints("types").unwrap().unwrap().collect::<Vec<_>>(), [1, -3]);
        assert_eq!(file.uint("absent").unwrap(), None);
        assert!(file.uint("general.architecture").unwrap_err().to_string().contains("general.architecture"));

        let values = |name: &str| {
            let tensor = file.tensor(name).unwrap();
            let mut values = vec![0.0; tensor.elements()];
            tensor.read(0, &mut values);
            values
        };
        assert_eq!(file.tensor("f32").unwrap().shape, [2, 3]);
        assert_eq!(values("f32"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(values("f16"), [1.0, -2.0]);
        assert_eq!(values("q8"), (-16..16).map(|at| at as f32).collect::<Vec<_>>());
        // Scale 0.5, smallest value -1.
        let q4 = values("q4");
        assert_eq!((q4[0], q4[15], q4[16], q4[31]), (-1.0, 6.5, 6.5, -1.0));
        let error = file.tensor("iq4_xs").unwrap_err();
        assert_eq!(error.code, Code::E0011);
        assert!(error.message.contains("`iq4_xs` as IQ4_XS"), "{error}");
    }

    #[test]
    fn every_truncation_is_a_diagnostic() {
        let bytes = toy().bytes();
        for length in 0..bytes.len() {
            let error = open(&bytes[..length]).unwrap_err();
            assert_eq!(error.code, Code::E0011, "{length}");
        }
    }

    #[test]
    fn no_flipped_byte_panics() {
        let good = toy().bytes();
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                let Ok(file) = open(&bytes) else { continue };
                for info in file.tensors() {
                    let Ok(tensor) = file.tensor(info.name()) else { continue };
                    tensor.read(0, &mut vec![0.0; tensor.elements()]);
                }
                let _ = (
                    file.texts("tokens").map(|texts| texts.map(Iterator::count)),
                    file.ints("types").map(|ints| ints.map(Iterator::count)),
                );
            }
        }
    }

    #[test]
    fn lies_are_named() {
        let field = |bytes: &[u8]| match open(bytes).unwrap_err().labels.remove(0).span {
            Span::File(of) => of.field.to_string(),
            other => panic!("{other:?}"),
        };
        let mut bytes = toy().bytes();
        bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(field(&bytes), "tensor_count");
        let mut bytes = toy().bytes();
        bytes[16..24].copy_from_slice(&(1u64 << 40).to_le_bytes());
        assert_eq!(field(&bytes), "metadata_kv_count");
        assert_eq!(field(b"GGUF\0\0\0\x03"), "version");
        assert_eq!(field(b"PK\x03\x04"), "magic");
        // Too large for the address space, one past the file, and two tensors in one place.
        assert_eq!(field(&Builder::default().tensor("huge", &[1 << 40, 1 << 40], 0, vec![0; 64]).bytes()), "huge");
        assert_eq!(field(&Builder::default().tensor("long", &[17], 0, vec![0; 64]).bytes()), "long");
        let two = Builder::default().tensor("a", &[8], 0, vec![0; 32]).tensor("b", &[8], 0, vec![0; 32]).bytes();
        let mut bytes = two.clone();
        let at = two.windows(8).rposition(|bytes| bytes == 32u64.to_le_bytes()).unwrap();
        bytes[at..at + 8].fill(0);
        assert_eq!(field(&bytes), "b");
    }
}
