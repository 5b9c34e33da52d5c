//! The weights of a model: tensors in memory, or places in a file that engines map.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
    model::{ModelSpec, WeightDecl},
    tensor::Tensor,
    types::{Name, TensorType},
};
use memmap2::Mmap;

/// Where one weight is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In memory.
    Memory(Tensor),
    /// In the file, little-endian and row-major.
    File {
        /// The type.
        ty: TensorType,
        /// The first byte.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
}

/// The weights of a model.
#[derive(Debug)]
pub struct Weights {
    places: BTreeMap<Name, Place>,
    file: Option<(PathBuf, Mmap)>,
}

impl Weights {
    /// Weights in memory.
    pub fn from_tensors(tensors: BTreeMap<Name, Tensor>) -> Arc<Weights> {
        let places = tensors.into_iter().map(|(name, tensor)| (name, Place::Memory(tensor))).collect();
        Arc::new(Weights { places, file: None })
    }

    /// Weights in a file, which is mapped. `table` says where each begins and how long it is.
    ///
    /// # Errors
    /// E0010 if the file cannot be opened, E0012 if an entry of the table lies outside it.
    pub fn mapped(path: &Path, table: impl IntoIterator<Item = (Name, TensorType, u64, u64)>) -> Result<Arc<Weights>, Diagnostic> {
        let open = || -> std::io::Result<Mmap> {
            let file = File::open(path)?;
            // SAFETY: the mapping is only read. Cached files are never changed in place: they are written under another
            // name and renamed.
            unsafe { Mmap::map(&file) }
        };
        let map = open().map_err(|error| {
            Diagnostic::error(Code::E0010, format!("the weights cannot be read: {error}")).label(Span::file(path, ""), "")
        })?;
        let mut places = BTreeMap::new();
        for (name, ty, offset, length) in table {
            let fits = offset.checked_add(length).is_some_and(|end| end <= map.len() as u64);
            if !fits || ty.bytes().as_known() != i64::try_from(length).ok() {
                let message = format!("{ty} is said to be {length} bytes from {offset} on in a file of {}", map.len());
                return Err(Diagnostic::error(Code::E0012, message).label(Span::file(path, &*name), ""));
            }
            places.insert(name, Place::File { ty, offset, length });
        }
        Ok(Arc::new(Weights { places, file: Some((path.to_owned(), map)) }))
    }

    /// The file, where there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| &**path)
    }

    /// Checks that every weight of a model is here and has its type.
    ///
    /// # Errors
    /// E0012 naming the weight.
    pub fn check(&self, spec: &ModelSpec) -> Result<(), Diagnostic> {
        spec.weights().iter().try_for_each(|decl| self.place(decl).map(drop))
    }

    /// Where a weight is.
    ///
    /// # Errors
    /// E0012 if it is not here or has another type.
    pub fn place(&self, decl: &WeightDecl) -> Result<&Place, Diagnostic> {
        let wrong = |message: String| {
            let file = self.file().unwrap_or(Path::new("(memory)"));
            Diagnostic::error(Code::E0012, message).label(Span::file(file, &*decl.name), "")
        };
        let place = self.places.get(&decl.name).ok_or_else(|| wrong(format!("the weight `{}` is missing", decl.name)))?;
        let ty = match place {
            Place::Memory(tensor) => tensor.ty(),
            Place::File { ty, .. } => ty.clone(),
        };
        if ty == decl.ty { Ok(place) } else { Err(wrong(format!("the weight `{}` is {ty}, but the model needs {}", decl.name, decl.ty))) }
    }

    /// A weight as a tensor; copied where it is in a file.
    ///
    /// # Errors
    /// E0012 if it is not here or has another type.
    pub fn tensor(&self, decl: &WeightDecl) -> Result<Tensor, Diagnostic> {
        match (self.place(decl)?, &self.file) {
            (Place::Memory(tensor), _) => Ok(tensor.clone()),
            (Place::File { ty, offset, length }, Some((_, map))) => {
                let bytes = &map[*offset as usize..(*offset + *length) as usize];
                let shape: Vec<usize> = ty.shape.iter().filter_map(|dim| dim.as_usize()).collect();
                Tensor::from_le_bytes(ty.dtype, shape, bytes)
                    .ok_or_else(|| Diagnostic::error(Code::E0012, format!("`{}` does not have the bytes of {ty}", decl.name)))
            }
            (Place::File { .. }, None) => Err(Diagnostic::error(Code::E0012, format!("`{}` is in no file", decl.name))),
        }
    }

    /// The bytes of a weight in the file, where they are mapped.
    pub fn mapped_bytes(&self, place: &Place) -> Option<&[u8]> {
        match (place, &self.file) {
            (Place::File { offset, length, .. }, Some((_, map))) => map.get(*offset as usize..(*offset + *length) as usize),
            _ => None,
        }
    }

    /// Lets the system take back the memory that the file was read into; what is looked at later is read again.
    pub fn release_pages(&self) {
        self.file.iter().for_each(|(_, map)| release_pages(map));
    }

    /// The bytes of all weights.
    pub fn bytes(&self) -> u64 {
        self.places
            .values()
            .map(|place| match place {
                Place::Memory(tensor) => tensor.bytes() as u64,
                Place::File { length, .. } => *length,
            })
            .sum()
    }
}

/// Lets the system take back the memory that a file was read into. A failure costs only memory.
pub(crate) fn release_pages(map: &Mmap) {
    // SAFETY: the mapping is of a file and only read, so that what is dropped is read from the file again.
    #[cfg(unix)]
    let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    #[cfg(not(unix))]
    let _ = map;
}
