//! Elements as numbers: arithmetic, and casts between element types.

use std::{borrow::Cow, cmp::Ordering};

use half::{bf16, f16};

use crate::{
    tensor::{Element, Tensor, on_elements},
    types::DType,
};

/// An element type that values of any other can be cast to.
pub(super) trait FromAny: Element {
    fn from_f64(value: f64) -> Self;
    fn from_f32(value: f32) -> Self;
    fn from_i64(value: i64) -> Self;
}

/// An element type as the source of a cast.
pub(super) trait Lift: Copy {
    fn cast<T: FromAny>(self) -> T;
}

macro_rules! casts {
    ($($ty:ty: $f64:expr, $f32:expr, $i64:expr; $lift:ident($widen:expr);)*) => {
        $(impl FromAny for $ty {
            #[inline]
            fn from_f64(value: f64) -> Self { $f64(value) }
            #[inline]
            fn from_f32(value: f32) -> Self { $f32(value) }
            #[inline]
            fn from_i64(value: i64) -> Self { $i64(value) }
        }
        impl Lift for $ty {
            #[inline]
            fn cast<T: FromAny>(self) -> T { T::$lift($widen(self)) }
        })*
    };
}

// f16 and bf16 are reached by way of f32, with two roundings, as in PyTorch.
casts! {
    f64: |x| x, f64::from, |x| x as f64; from_f64(|x| x);
    f32: |x| x as f32, |x| x, |x| x as f32; from_f32(|x| x);
    f16: |x| f16::from_f32(x as f32), f16::from_f32, |x| f16::from_f32(x as f32); from_f32(f16::to_f32);
    bf16: |x| bf16::from_f32(x as f32), bf16::from_f32, |x| bf16::from_f32(x as f32); from_f32(bf16::to_f32);
    i64: |x| x as i64, |x| x as i64, |x| x; from_i64(|x| x);
    i32: |x| x as i32, |x| x as i32, |x| x as i32; from_i64(i64::from);
    u8: |x| x as i64 as u8, |x| x as i64 as u8, |x| x as u8; from_i64(i64::from);
    bool: |x| x != 0.0, |x| x != 0.0, |x| x != 0; from_i64(i64::from);
}

/// The elements as type `T`; borrowed where they are of that type.
pub(super) fn convert<T: FromAny>(x: &Tensor) -> Cow<'_, [T]> {
    match x.values::<T>() {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(on_elements!(x, values => values.iter().map(|&value| value.cast()).collect())),
    }
}

/// The types that operations are computed in.
#[derive(Clone, Copy)]
pub(super) enum Wide {
    F64,
    F32,
    I64,
}

/// What operations on `dtype` are computed in: f32 for narrower floats, and i64 for narrower integers and bools, of
/// which the lower bits, or whether it is zero, are what these would have given.
pub(super) fn wide(dtype: DType) -> Wide {
    match dtype {
        DType::F64 => Wide::F64,
        DType::F32 | DType::F16 | DType::BF16 => Wide::F32,
        DType::I64 | DType::I32 | DType::U8 | DType::Bool => Wide::I64,
    }
}

/// The elements cast to `dtype`, then as type `T`, in which operations on `dtype` are computed.
pub(super) fn convert_by<T: FromAny>(x: &Tensor, dtype: DType) -> Cow<'_, [T]> {
    if x.dtype() == dtype || dtype == T::DTYPE {
        return convert(x);
    }
    Cow::Owned(convert(&cast(x, dtype)).into_owned())
}

/// The tensor as another type; shares the elements where it is the same.
pub(super) fn cast(x: &Tensor, dtype: DType) -> Tensor {
    fn to<T: FromAny>(x: &Tensor) -> Tensor {
        Tensor::new(x.shape(), convert::<T>(x).into_owned())
    }
    if x.dtype() == dtype {
        return x.clone();
    }
    match dtype {
        DType::F64 => to::<f64>(x),
        DType::F32 => to::<f32>(x),
        DType::F16 => to::<f16>(x),
        DType::BF16 => to::<bf16>(x),
        DType::I64 => to::<i64>(x),
        DType::I32 => to::<i32>(x),
        DType::U8 => to::<u8>(x),
        DType::Bool => to::<bool>(x),
    }
}

/// Runs an expression with `$T` being the Rust type of an element type.
macro_rules! on_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::types::DType::F64 => {
                type $T = f64;
                $body
            }
            $crate::types::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::types::DType::F16 => {
                type $T = half::f16;
                $body
            }
            $crate::types::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            $crate::types::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::types::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::types::DType::U8 => {
                type $T = u8;
                $body
            }
            $crate::types::DType::Bool => {
                type $T = bool;
                $body
            }
        }
    };
}
pub(super) use on_dtype;

/// A type that operations are computed in.
pub(super) trait Number: FromAny + PartialOrd {
    /// Not larger than anything.
    const LOWEST: Self;
    /// Not smaller than anything.
    const HIGHEST: Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn is_nan(self) -> bool;
    /// The power; of integers to a negative one what is left after truncation.
    fn pow(self, exponent: Self) -> Self;
    /// The remainder of a division that rounds towards zero. Integers must not be divided by 0.
    fn fmod(self, divisor: Self) -> Self;
    /// The quotient rounded down. Integers must not be divided by 0.
    fn floor_div(self, divisor: Self) -> Self;

    /// The remainder of a division that rounds down. Integers must not be divided by 0.
    #[inline]
    fn remainder(self, divisor: Self) -> Self {
        let (zero, rest) = (Self::from_i64(0), self.fmod(divisor));
        if rest != zero && (rest < zero) != (divisor < zero) { rest.add(divisor) } else { rest }
    }

    /// -1, 0 or 1; 0 for NaN.
    #[inline]
    fn sign(self) -> Self {
        let zero = Self::from_i64(0);
        Self::from_i64(i64::from(self > zero) - i64::from(self < zero))
    }

    /// The larger; NaN wins, and the first of equals.
    #[inline]
    fn maximum(self, other: Self) -> Self {
        if self.is_nan() || !(other > self || other.is_nan()) { self } else { other }
    }

    /// The smaller; NaN wins, and the first of equals.
    #[inline]
    fn minimum(self, other: Self) -> Self {
        if self.is_nan() || !(other < self || other.is_nan()) { self } else { other }
    }

    /// The order of sorting: NaN is the largest.
    #[inline]
    fn order(self, other: Self) -> Ordering {
        self.partial_cmp(&other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }
}

macro_rules! floats {
    ($($ty:ident)*) => {
        $(impl Number for $ty {
            const LOWEST: Self = $ty::NEG_INFINITY;
            const HIGHEST: Self = $ty::INFINITY;
            #[inline]
            fn add(self, other: Self) -> Self { self + other }
            #[inline]
            fn sub(self, other: Self) -> Self { self - other }
            #[inline]
            fn mul(self, other: Self) -> Self { self * other }
            #[inline]
            fn neg(self) -> Self { -self }
            #[inline]
            fn abs(self) -> Self { $ty::abs(self) }
            #[inline]
            fn is_nan(self) -> bool { $ty::is_nan(self) }
            #[inline]
            fn pow(self, exponent: Self) -> Self { self.powf(exponent) }
            #[inline]
            fn fmod(self, divisor: Self) -> Self { self % divisor }

            // PyTorch's: the quotient of what is divisible, which is nearly whole, made whole.
            fn floor_div(self, divisor: Self) -> Self {
                if divisor == 0.0 {
                    return self / divisor;
                }
                let rest = self % divisor;
                let mut quotient = (self - rest) / divisor;
                if rest != 0.0 && (divisor < 0.0) != (rest < 0.0) {
                    quotient -= 1.0;
                }
                if quotient == 0.0 {
                    return (0.0 as $ty).copysign(self / divisor);
                }
                let whole = quotient.floor();
                if quotient - whole > 0.5 { whole + 1.0 } else { whole }
            }
        })*
    };
}

floats! { f32 f64 }

impl Number for i64 {
    const LOWEST: Self = i64::MIN;
    const HIGHEST: Self = i64::MAX;
    #[inline]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline]
    fn sub(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }
    #[inline]
    fn mul(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }
    #[inline]
    fn neg(self) -> Self {
        self.wrapping_neg()
    }
    #[inline]
    fn abs(self) -> Self {
        self.wrapping_abs()
    }
    #[inline]
    fn is_nan(self) -> bool {
        false
    }
    fn pow(self, exponent: Self) -> Self {
        match (self, exponent) {
            (1, ..0) => 1,
            (-1, ..0) => 1 - 2 * (exponent & 1),
            (_, ..0) => 0,
            (_, 0..) => {
                let (mut base, mut left, mut product) = (self, exponent, 1i64);
                while left > 0 {
                    if left & 1 == 1 {
                        product = product.wrapping_mul(base);
                    }
                    base = base.wrapping_mul(base);
                    left >>= 1;
                }
                product
            }
        }
    }
    #[inline]
    fn fmod(self, divisor: Self) -> Self {
        self.wrapping_rem(divisor)
    }
    #[inline]
    fn floor_div(self, divisor: Self) -> Self {
        let quotient = self.wrapping_div(divisor);
        let rest = self.wrapping_rem(divisor);
        if rest != 0 && (rest < 0) != (divisor < 0) { quotient - 1 } else { quotient }
    }
}

macro_rules! reals {
    ($($method:ident $called:ident;)*) => {
        /// A floating point type that operations are computed in.
        pub(super) trait Real: Number {
            fn div(self, other: Self) -> Self;
            fn erf(self) -> Self;
            fn is_infinite(self) -> bool;
            $(fn $method(self) -> Self;)*

            /// 1 / x.
            #[inline]
            fn recip(self) -> Self {
                Self::from_i64(1).div(self)
            }

            /// 1 / (1 + e^-x).
            #[inline]
            fn sigmoid(self) -> Self {
                let one = Self::from_i64(1);
                one.div(one.add(self.neg().exp()))
            }

            /// x / (1 + e^-x).
            #[inline]
            fn silu(self) -> Self {
                self.div(Self::from_i64(1).add(self.neg().exp()))
            }

            /// x * 0.5 * (1 + erf(x / sqrt(2))), in PyTorch's order.
            #[inline]
            fn gelu(self) -> Self {
                let erf = self.mul(Self::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf();
                self.mul(Self::from_f64(0.5)).mul(Self::from_i64(1).add(erf))
            }

            /// x * 0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))), in PyTorch's order.
            #[inline]
            fn gelu_tanh(self) -> Self {
                let slope = Self::from_f64(std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
                let cube = self.mul(self).mul(self);
                let inner = slope.mul(self.add(Self::from_f64(0.044715).mul(cube)));
                self.mul(Self::from_f64(0.5)).mul(Self::from_i64(1).add(inner.tanh()))
            }

            /// x, or `slope` of it where it is not positive.
            #[inline]
            fn leaky_relu(self, slope: Self) -> Self {
                if self > Self::from_i64(0) { self } else { self.mul(slope) }
            }

            /// x, or alpha * (e^x - 1) where it is negative.
            #[inline]
            fn elu(self, alpha: Self) -> Self {
                if self < Self::from_i64(0) { self.exp_m1().mul(alpha) } else { self }
            }

            /// ln(1 + e^(beta x)) / beta, or x where beta x is above the threshold.
            #[inline]
            fn softplus(self, beta: Self, threshold: Self) -> Self {
                let scaled = self.mul(beta);
                if scaled > threshold { self } else { scaled.exp().ln_1p().div(beta) }
            }

            /// x * tanh(ln(1 + e^x)).
            #[inline]
            fn mish(self) -> Self {
                self.mul(self.exp().ln_1p().tanh())
            }

            /// min(0, x) - ln(1 + e^-|x|).
            #[inline]
            fn log_sigmoid(self) -> Self {
                self.minimum(Self::from_i64(0)).sub(self.abs().neg().exp().ln_1p())
            }

            /// ln(e^x + e^y): the larger, and what the smaller adds to it.
            #[inline]
            fn logaddexp(self, other: Self) -> Self {
                if self == other && self.is_infinite() {
                    return self;
                }
                self.maximum(other).add(self.sub(other).abs().neg().exp().ln_1p())
            }
        }

        reals!(@impl f32 libm::erff; $($method $called;)*);
        reals!(@impl f64 libm::erf; $($method $called;)*);
    };
    (@impl $ty:ident $erf:path; $($method:ident $called:ident;)*) => {
        impl Real for $ty {
            #[inline]
            fn div(self, other: Self) -> Self { self / other }
            #[inline]
            fn erf(self) -> Self { $erf(self) }
            #[inline]
            fn is_infinite(self) -> bool { $ty::is_infinite(self) }
            $(#[inline]
            fn $method(self) -> Self { $ty::$called(self) })*
        }
    };
}

reals! {
    exp exp; exp2 exp2; exp_m1 exp_m1;
    ln ln; ln_1p ln_1p; log2 log2; log10 log10;
    sqrt sqrt;
    sin sin; cos cos; tan tan; asin asin; acos acos; atan atan;
    sinh sinh; cosh cosh; tanh tanh;
    floor floor; ceil ceil; trunc trunc; round round_ties_even; fract fract;
}
