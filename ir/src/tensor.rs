//! Host tensors: contiguous, row-major, cheap to clone and to cut along the first dimension.

use std::{fmt, ops::Range, sync::Arc};

use half::{bf16, f16};
use smallvec::SmallVec;

use crate::types::{DType, TensorType, known_shape};

/// Sizes of the dimensions of a host tensor.
pub type Sizes = SmallVec<[usize; 4]>;

/// A tensor in the memory of this process. Clones share the elements.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    shape: Sizes,
    pub(crate) data: Data,
}

/// The elements, by type.
#[derive(Clone, PartialEq)]
#[allow(missing_docs)]
pub(crate) enum Data {
    F64(Shared<f64>),
    F32(Shared<f32>),
    F16(Shared<f16>),
    BF16(Shared<bf16>),
    I64(Shared<i64>),
    I32(Shared<i32>),
    U8(Shared<u8>),
    Bool(Shared<bool>),
}

/// A range of a shared vector.
#[derive(Clone)]
pub(crate) struct Shared<T> {
    values: Arc<Vec<T>>,
    start: usize,
    len: usize,
}

impl<T> Shared<T> {
    fn new(values: Vec<T>) -> Shared<T> {
        Shared { start: 0, len: values.len(), values: Arc::new(values) }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.values[self.start..self.start + self.len]
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        self.as_slice() == other.as_slice()
    }
}

/// A Rust type that can be the element of a tensor.
pub trait Element: Copy + Default + PartialEq + Send + Sync + fmt::Debug + 'static {
    /// The element type that it stands for.
    const DTYPE: DType;
    #[doc(hidden)]
    fn wrap(values: Vec<Self>) -> Wrapped;
    #[doc(hidden)]
    fn slice(tensor: &Tensor) -> Option<&[Self]>;
    #[doc(hidden)]
    fn take(tensor: Tensor) -> Option<Vec<Self>>;
}

/// Elements of some type; keeps `Data` out of the public interface.
#[doc(hidden)]
pub struct Wrapped(Data);

macro_rules! elements {
    ($($variant:ident $ty:ty;)*) => {
        $(impl Element for $ty {
            const DTYPE: DType = DType::$variant;
            fn wrap(values: Vec<Self>) -> Wrapped { Wrapped(Data::$variant(Shared::new(values))) }
            fn slice(tensor: &Tensor) -> Option<&[Self]> {
                if let Data::$variant(shared) = &tensor.data { Some(shared.as_slice()) } else { None }
            }
            fn take(tensor: Tensor) -> Option<Vec<Self>> {
                let Data::$variant(shared) = tensor.data else { return None };
                if shared.len != shared.values.len() { return Some(shared.as_slice().to_vec()); }
                Some(Arc::try_unwrap(shared.values).unwrap_or_else(|values| values.to_vec()))
            }
        })*

        /// Runs an expression with `$values` bound to the slice of elements, whatever their type.
        macro_rules! on_elements {
            ($tensor:expr, $values:ident => $body:expr) => {
                match &$tensor.data { $($crate::tensor::Data::$variant(shared) => { let $values = shared.as_slice(); $body })* }
            };
        }

        impl Tensor {
            /// The element type.
            pub fn dtype(&self) -> DType { match &self.data { $(Data::$variant(_) => DType::$variant,)* } }

            /// The elements `range` of the flat vector, as a tensor of another shape; shares the elements.
            fn cut(&self, range: Range<usize>, shape: Sizes) -> Tensor {
                let data = match &self.data { $(Data::$variant(shared) => Data::$variant(Shared {
                    values: shared.values.clone(), start: shared.start + range.start, len: range.len(),
                }),)* };
                Tensor { shape, data }
            }

            /// The tensors one after the other along the first dimension. Shares the elements where they are neighbours
            /// in one vector already, as parts of a whole in their order are.
            ///
            /// # Panics
            /// If there are no tensors, or their types or later dimensions differ.
            pub fn joined(parts: &[Tensor]) -> Tensor {
                let mut shape = parts[0].shape.clone();
                assert!(parts.iter().all(|part| part.shape[1..] == shape[1..]), "only the first dimension may differ");
                shape[0] = parts.iter().map(|part| part.shape[0]).sum();
                let data = match &parts[0].data { $(Data::$variant(first) => {
                    let all: Vec<&Shared<$ty>> = parts.iter().map(|part| match &part.data {
                        Data::$variant(shared) => shared,
                        _ => panic!("tensors of different types cannot be joined"),
                    }).collect();
                    let neighbours = all.windows(2).all(|pair| {
                        Arc::ptr_eq(&pair[0].values, &pair[1].values) && pair[0].start + pair[0].len == pair[1].start
                    });
                    let len = all.iter().map(|shared| shared.len).sum();
                    Data::$variant(match neighbours {
                        true => Shared { values: first.values.clone(), start: first.start, len },
                        false => {
                            let mut values = Vec::with_capacity(len);
                            all.iter().for_each(|shared| values.extend_from_slice(shared.as_slice()));
                            Shared::new(values)
                        }
                    })
                })* };
                Tensor { shape, data }
            }

            /// The same tensor in a vector of its own, if it is a part of another that is more than twice as large and would be
            /// kept for its sake.
            pub fn compacted(self) -> Tensor {
                if self.shared_bytes() <= 2 * self.bytes() {
                    return self;
                }
                let data = match &self.data { $(Data::$variant(shared) => Data::$variant(Shared::new(shared.as_slice().to_vec())),)* };
                Tensor { shape: self.shape, data }
            }

            /// The bytes that the vector behind this tensor takes, which a cut shares with the whole.
            pub fn shared_bytes(&self) -> usize {
                match &self.data { $(Data::$variant(shared) => size_of_val(shared.values.as_slice()),)* }
            }
        }
    };
}

elements! { F64 f64; F32 f32; F16 f16; BF16 bf16; I64 i64; I32 i32; U8 u8; Bool bool; }
pub(crate) use on_elements;

impl Tensor {
    /// A tensor of the given elements in row-major order.
    ///
    /// # Panics
    /// If the number of elements is not the product of the sizes.
    pub fn new<T: Element>(shape: impl AsRef<[usize]>, values: Vec<T>) -> Tensor {
        let shape = shape.as_ref();
        assert_eq!(shape.iter().product::<usize>(), values.len(), "the elements do not fill the shape {shape:?}");
        Tensor { shape: shape.into(), data: T::wrap(values).0 }
    }

    /// A tensor without dimensions.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor::new([], vec![value])
    }

    /// The sizes of the dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the elements.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype().size()
    }

    /// The type of the tensor.
    pub fn ty(&self) -> TensorType {
        TensorType { dtype: self.dtype(), shape: known_shape(&self.shape) }
    }

    /// The elements in row-major order, if they are of type `T`.
    pub fn values<T: Element>(&self) -> Option<&[T]> {
        T::slice(self)
    }

    /// The elements, without a copy where nobody else holds them; `None` if they are not of type `T`.
    pub fn into_values<T: Element>(self) -> Option<Vec<T>> {
        T::take(self)
    }

    /// The elements as f64, whatever their type (true is 1).
    pub fn to_f64(&self) -> Vec<f64> {
        fn all<T: Copy>(values: &[T], to: impl Fn(T) -> f64) -> Vec<f64> {
            values.iter().map(|&value| to(value)).collect()
        }
        match &self.data {
            Data::F64(v) => v.as_slice().to_vec(),
            Data::F32(v) => all(v.as_slice(), f64::from),
            Data::F16(v) => all(v.as_slice(), f64::from),
            Data::BF16(v) => all(v.as_slice(), f64::from),
            Data::I64(v) => all(v.as_slice(), |x| x as f64),
            Data::I32(v) => all(v.as_slice(), f64::from),
            Data::U8(v) => all(v.as_slice(), f64::from),
            Data::Bool(v) => all(v.as_slice(), |x| f64::from(u8::from(x))),
        }
    }

    /// The same elements under another shape.
    ///
    /// # Panics
    /// If the numbers of elements differ.
    pub fn reshaped(&self, shape: impl AsRef<[usize]>) -> Tensor {
        let shape = shape.as_ref();
        assert_eq!(shape.iter().product::<usize>(), self.len(), "{:?} has another number of elements than {shape:?}", self.shape);
        self.cut(0..self.len(), shape.into())
    }

    /// The part `range` of the first dimension; shares the elements.
    ///
    /// # Panics
    /// If the tensor has no dimensions or the range lies outside the first.
    pub fn part(&self, range: Range<usize>) -> Tensor {
        assert!(range.start <= range.end && range.end <= self.shape[0], "{range:?} lies outside {:?}", self.shape);
        let each: usize = self.shape[1..].iter().product();
        let mut shape = self.shape.clone();
        shape[0] = range.len();
        self.cut(range.start * each..range.end * each, shape)
    }

    /// The elements as little-endian bytes, row-major; a bool is one byte, 0 or 1.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        fn all<T: Copy, const N: usize>(values: &[T], to: impl Fn(T) -> [u8; N]) -> Vec<u8> {
            values.iter().flat_map(|&value| to(value)).collect()
        }
        match &self.data {
            Data::F64(v) => all(v.as_slice(), f64::to_le_bytes),
            Data::F32(v) => all(v.as_slice(), f32::to_le_bytes),
            Data::F16(v) => all(v.as_slice(), f16::to_le_bytes),
            Data::BF16(v) => all(v.as_slice(), bf16::to_le_bytes),
            Data::I64(v) => all(v.as_slice(), i64::to_le_bytes),
            Data::I32(v) => all(v.as_slice(), i32::to_le_bytes),
            Data::U8(v) => v.as_slice().to_vec(),
            Data::Bool(v) => v.as_slice().iter().map(|&x| u8::from(x)).collect(),
        }
    }

    /// The tensor with these little-endian bytes, or `None` if there are too few or too many of them.
    pub fn from_le_bytes(dtype: DType, shape: impl AsRef<[usize]>, bytes: &[u8]) -> Option<Tensor> {
        fn all<T: Element, const N: usize>(shape: &[usize], bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Tensor {
            let values = bytes.chunks_exact(N).map(|chunk| from(chunk.try_into().unwrap_or([0; N]))).collect();
            Tensor::new(shape, values)
        }
        let shape = shape.as_ref();
        let len = shape.iter().try_fold(dtype.size(), |product, &size| product.checked_mul(size))?;
        if len != bytes.len() {
            return None;
        }
        Some(match dtype {
            DType::F64 => all(shape, bytes, f64::from_le_bytes),
            DType::F32 => all(shape, bytes, f32::from_le_bytes),
            DType::F16 => all(shape, bytes, f16::from_le_bytes),
            DType::BF16 => all(shape, bytes, bf16::from_le_bytes),
            DType::I64 => all(shape, bytes, i64::from_le_bytes),
            DType::I32 => all(shape, bytes, i32::from_le_bytes),
            DType::U8 => all(shape, bytes, u8::from_le_bytes),
            DType::Bool => all(shape, bytes, |[byte]: [u8; 1]| byte != 0),
        })
    }

    /// Whether both have the same type, shape and bits (NaN equals NaN of the same bits, 0 differs from -0).
    pub fn same_bits(&self, other: &Tensor) -> bool {
        match (&self.data, &other.data) {
            _ if self.shape != other.shape => false,
            (Data::F32(a), Data::F32(b)) => a.as_slice().iter().map(|x| x.to_bits()).eq(b.as_slice().iter().map(|x| x.to_bits())),
            _ => self.dtype() == other.dtype() && self.to_le_bytes() == other.to_le_bytes(),
        }
    }
}

impl fmt::Debug for Tensor {
    /// Type and up to eight elements: `tensor<2x3xf32> [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} [", self.ty())?;
        on_elements!(self, values => {
            for (at, value) in values.iter().take(8).enumerate() {
                write!(out, "{}{value:?}", if at > 0 { ", " } else { "" })?;
            }
        });
        out.write_str(if self.len() > 8 { ", …]" } else { "]" })
    }
}
