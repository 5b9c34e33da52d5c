//! Sixteen `f32` lanes on every instruction set.
//!
//! The kernels are written once, over [`Lanes`], and instantiated inside a function that enables the features (see `kernel::run`). A value
//! always has **sixteen** lanes, whatever the register is: one AVX-512 register, two AVX2 ones, four NEON ones or an array. Every
//! operation acts lane by lane and is exactly rounded (or exact), so a kernel gives the same bits on every path. Reductions over lanes go
//! pairwise, in an order that does not depend on the path either.
//!
//! Everything is `unsafe` because the caller promises that the CPU has the features of the type, and that pointers are good for
//! sixteen floats. Nothing requires alignment.

/// How many `f32` there are in a [`Lanes`].
pub(super) const WIDTH: usize = 16;

/// The limit below which [`Lanes::exp`] returns zero: the logarithm of the smallest normal number, 2^-126, rounded up.
const EXP_MIN: f32 = -87.336_54;
/// Adding 1.5 * 2^23 to a small number leaves the number, rounded to an integer (ties to even), in the low bits of the mantissa.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts. The first has 9 significant bits, so that its product with an exponent is exact.
const LN2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];
/// Cephes' `expf`: exp(r) = 1 + r + r^2 * P(r) for |r| <= ln(2)/2, highest power first.
#[allow(clippy::excessive_precision, reason = "the coefficients as Cephes prints them")]
const EXP: [f32; 6] =
    [1.987_569_150_0e-4, 1.398_199_950_7e-3, 8.333_451_907_3e-3, 4.166_579_589_4e-2, 1.666_666_545_9e-1, 5.000_000_120_1e-1];

/// Sixteen `f32`, lane-wise arithmetic. See the [module](self) for what callers promise.
pub(super) trait Lanes: Copy {
    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self;
    /// Sixteen floats from memory.
    unsafe fn load(from: *const f32) -> Self;
    /// Sixteen floats to memory.
    unsafe fn store(self, to: *mut f32);
    /// `self * b + c`, rounded once.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// `self + b`.
    unsafe fn add(self, b: Self) -> Self;
    /// `self - b`.
    unsafe fn sub(self, b: Self) -> Self;
    /// `self * b`.
    unsafe fn mul(self, b: Self) -> Self;
    /// The larger one. Which operand comes back when one is NaN, or when both are zero, is left open.
    unsafe fn max(self, b: Self) -> Self;
    /// 2^n from n + 1.5 * 2^23, for n in -126..=127; anything (but no trap) for other numbers.
    unsafe fn power(self) -> Self;
    /// `self` where not `x < limit`, +0 elsewhere.
    unsafe fn zero_below(self, x: Self, limit: Self) -> Self;

    /// `self` in lanes `from..to`, `outside` in the others.
    unsafe fn within(self, from: usize, to: usize, outside: f32) -> Self;
    /// The sum of the lanes: those 8 apart, then 4, 2 and 1.
    unsafe fn total(self) -> f32;
    /// The largest lane. What comes back when some are NaN is left open.
    unsafe fn most(self) -> f32;

    /// exp(x) for x <= 0, with at most 1.02 ulp of error (tried on all of them above 1e-9); exp(0) = 1, NaN stays NaN, results under
    /// 2^-126 are +0. For x > 0 it holds up to 88.
    ///
    /// x = n ln 2 + r with n an integer and |r| <= ln(2)/2, exp(x) = 2^n exp(r), exp(r) by Cephes' polynomial; every step a fused
    /// multiply-add or one rounded operation, so that all paths agree.
    #[inline(always)]
    unsafe fn exp(self) -> Self {
        unsafe {
            let shifted = self.fma(Self::splat(std::f32::consts::LOG2_E), Self::splat(ROUND));
            let n = shifted.sub(Self::splat(ROUND));
            let r = n.fma(Self::splat(-LN2[0]), self);
            let r = n.fma(Self::splat(-LN2[1]), r);
            let mut p = Self::splat(EXP[0]);
            p = p.fma(r, Self::splat(EXP[1]));
            p = p.fma(r, Self::splat(EXP[2]));
            p = p.fma(r, Self::splat(EXP[3]));
            p = p.fma(r, Self::splat(EXP[4]));
            p = p.fma(r, Self::splat(EXP[5]));
            let p = p.fma(r.mul(r), r).add(Self::splat(1.0));
            p.mul(shifted.power()).zero_below(self, Self::splat(EXP_MIN))
        }
    }
}

/// The bits of 2^n from the bits of n + 1.5 * 2^23.
#[inline(always)]
fn power_bits(shifted: u32) -> u32 {
    shifted.wrapping_add(127) << 23
}

/// Lanes in an array: any machine. `f32::mul_add` is one instruction where the target has it and a slow exact call where it has not.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; WIDTH]);

impl Portable {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Portable(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

impl Lanes for Portable {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Portable([x; WIDTH])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Portable(unsafe { from.cast::<[f32; WIDTH]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<[f32; WIDTH]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self.zip(b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        self.zip(b, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self.zip(b, |x, y| x * y)
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        self.zip(b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    unsafe fn power(self) -> Self {
        Portable(self.0.map(|x| f32::from_bits(power_bits(x.to_bits()))))
    }
    #[inline(always)]
    unsafe fn zero_below(self, x: Self, limit: Self) -> Self {
        Portable(std::array::from_fn(|i| if x.0[i] < limit.0[i] { 0.0 } else { self.0[i] }))
    }
    #[inline(always)]
    unsafe fn within(self, from: usize, to: usize, outside: f32) -> Self {
        Portable(std::array::from_fn(|i| if from <= i && i < to { self.0[i] } else { outside }))
    }
    #[inline(always)]
    unsafe fn total(self) -> f32 {
        let eight: [f32; 8] = std::array::from_fn(|i| self.0[i] + self.0[i + 8]);
        let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
    #[inline(always)]
    unsafe fn most(self) -> f32 {
        self.0.iter().fold(self.0[0], |most, x| if *x > most { *x } else { most })
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// One AVX-512 register. Needs `avx512f`.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(__m512);

    impl Avx512 {
        /// Lanes 0..8 and 8..16.
        #[inline(always)]
        unsafe fn halves(self) -> [__m256; 2] {
            unsafe { [_mm512_castps512_ps256(self.0), _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0)))] }
        }
    }

    impl Lanes for Avx512 {
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            Avx512(unsafe { _mm512_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Avx512(unsafe { _mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            Avx512(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            Avx512(unsafe { _mm512_add_ps(self.0, b.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, b: Self) -> Self {
            Avx512(unsafe { _mm512_sub_ps(self.0, b.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            Avx512(unsafe { _mm512_mul_ps(self.0, b.0) })
        }
        #[inline(always)]
        unsafe fn max(self, b: Self) -> Self {
            Avx512(unsafe { _mm512_max_ps(self.0, b.0) })
        }
        #[inline(always)]
        unsafe fn power(self) -> Self {
            unsafe {
                let n = _mm512_add_epi32(_mm512_castps_si512(self.0), _mm512_set1_epi32(127));
                Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(n)))
            }
        }
        #[inline(always)]
        unsafe fn zero_below(self, x: Self, limit: Self) -> Self {
            unsafe {
                let keep = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x.0, limit.0);
                Avx512(_mm512_maskz_mov_ps(keep, self.0))
            }
        }
        #[inline(always)]
        unsafe fn within(self, from: usize, to: usize, outside: f32) -> Self {
            let keep = ((1u32 << to) - (1u32 << from)) as u16;
            Avx512(unsafe { _mm512_mask_mov_ps(_mm512_set1_ps(outside), keep, self.0) })
        }
        #[inline(always)]
        unsafe fn total(self) -> f32 {
            unsafe { Avx2(self.halves()).total() }
        }
        #[inline(always)]
        unsafe fn most(self) -> f32 {
            unsafe { Avx2(self.halves()).most() }
        }
    }

    /// Two AVX registers. Needs `avx2` and `fma`.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2([__m256; 2]);

    impl Lanes for Avx2 {
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            Avx2(unsafe { [_mm256_set1_ps(x); 2] })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Avx2(unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe {
                _mm256_storeu_ps(to, self.0[0]);
                _mm256_storeu_ps(to.add(8), self.0[1]);
            }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            Avx2(unsafe { [_mm256_fmadd_ps(self.0[0], b.0[0], c.0[0]), _mm256_fmadd_ps(self.0[1], b.0[1], c.0[1])] })
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            Avx2(unsafe { [_mm256_add_ps(self.0[0], b.0[0]), _mm256_add_ps(self.0[1], b.0[1])] })
        }
        #[inline(always)]
        unsafe fn sub(self, b: Self) -> Self {
            Avx2(unsafe { [_mm256_sub_ps(self.0[0], b.0[0]), _mm256_sub_ps(self.0[1], b.0[1])] })
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            Avx2(unsafe { [_mm256_mul_ps(self.0[0], b.0[0]), _mm256_mul_ps(self.0[1], b.0[1])] })
        }
        #[inline(always)]
        unsafe fn max(self, b: Self) -> Self {
            Avx2(unsafe { [_mm256_max_ps(self.0[0], b.0[0]), _mm256_max_ps(self.0[1], b.0[1])] })
        }
        #[inline(always)]
        unsafe fn power(self) -> Self {
            unsafe {
                let bias = _mm256_set1_epi32(127);
                let low = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_castps_si256(self.0[0]), bias));
                let high = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_castps_si256(self.0[1]), bias));
                Avx2([_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)])
            }
        }
        #[inline(always)]
        unsafe fn zero_below(self, x: Self, limit: Self) -> Self {
            unsafe {
                let low = _mm256_cmp_ps::<_CMP_NLT_UQ>(x.0[0], limit.0[0]);
                let high = _mm256_cmp_ps::<_CMP_NLT_UQ>(x.0[1], limit.0[1]);
                Avx2([_mm256_and_ps(low, self.0[0]), _mm256_and_ps(high, self.0[1])])
            }
        }
        #[inline(always)]
        unsafe fn within(self, from: usize, to: usize, outside: f32) -> Self {
            unsafe {
                let (before, end) = (_mm256_set1_epi32(from as i32 - 1), _mm256_set1_epi32(to as i32));
                let half = |x: __m256, lanes: __m256i| {
                    let keep = _mm256_and_si256(_mm256_cmpgt_epi32(lanes, before), _mm256_cmpgt_epi32(end, lanes));
                    _mm256_blendv_ps(_mm256_set1_ps(outside), x, _mm256_castsi256_ps(keep))
                };
                let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                Avx2([half(self.0[0], lanes), half(self.0[1], _mm256_add_epi32(lanes, _mm256_set1_epi32(8)))])
            }
        }
        #[inline(always)]
        unsafe fn total(self) -> f32 {
            unsafe {
                let eight = _mm256_add_ps(self.0[0], self.0[1]);
                let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
        #[inline(always)]
        unsafe fn most(self) -> f32 {
            unsafe {
                let eight = _mm256_max_ps(self.0[0], self.0[1]);
                let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
                let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::Neon;

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::Lanes;
    use std::arch::aarch64::*;

    /// Four NEON registers. Every aarch64 machine has them.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Neon([float32x4_t; 4]);

    impl Neon {
        #[inline(always)]
        fn zip(self, b: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
            Neon([f(self.0[0], b.0[0]), f(self.0[1], b.0[1]), f(self.0[2], b.0[2]), f(self.0[3], b.0[3])])
        }
    }

    impl Lanes for Neon {
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            Neon(unsafe { [vdupq_n_f32(x); 4] })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Neon(unsafe { [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))] })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe {
                vst1q_f32(to, self.0[0]);
                vst1q_f32(to.add(4), self.0[1]);
                vst1q_f32(to.add(8), self.0[2]);
                vst1q_f32(to.add(12), self.0[3]);
            }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            unsafe {
                Neon([
                    vfmaq_f32(c.0[0], self.0[0], b.0[0]),
                    vfmaq_f32(c.0[1], self.0[1], b.0[1]),
                    vfmaq_f32(c.0[2], self.0[2], b.0[2]),
                    vfmaq_f32(c.0[3], self.0[3], b.0[3]),
                ])
            }
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            self.zip(b, |x, y| unsafe { vaddq_f32(x, y) })
        }
        #[inline(always)]
        unsafe fn sub(self, b: Self) -> Self {
            self.zip(b, |x, y| unsafe { vsubq_f32(x, y) })
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            self.zip(b, |x, y| unsafe { vmulq_f32(x, y) })
        }
        #[inline(always)]
        unsafe fn max(self, b: Self) -> Self {
            self.zip(b, |x, y| unsafe { vmaxq_f32(x, y) })
        }
        #[inline(always)]
        unsafe fn power(self) -> Self {
            self.zip(self, |x, _| unsafe {
                vreinterpretq_f32_u32(vshlq_n_u32::<23>(vaddq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(127))))
            })
        }
        #[inline(always)]
        unsafe fn zero_below(self, x: Self, limit: Self) -> Self {
            let below = x.zip(limit, |x, y| unsafe { vreinterpretq_f32_u32(vcltq_f32(x, y)) });
            self.zip(below, |x, below| unsafe { vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), vreinterpretq_u32_f32(below))) })
        }
        #[inline(always)]
        unsafe fn within(self, from: usize, to: usize, outside: f32) -> Self {
            let lanes: [f32; 16] = std::array::from_fn(|i| if from <= i && i < to { 1.0 } else { 0.0 });
            unsafe {
                let keep = Self::load(lanes.as_ptr());
                let outside = vdupq_n_f32(outside);
                self.zip(keep, |x, keep| vbslq_f32(vcgtzq_f32(keep), x, outside))
            }
        }
        #[inline(always)]
        unsafe fn total(self) -> f32 {
            unsafe {
                let four = vaddq_f32(vaddq_f32(self.0[0], self.0[2]), vaddq_f32(self.0[1], self.0[3]));
                let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
                vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
            }
        }
        #[inline(always)]
        unsafe fn most(self) -> f32 {
            unsafe { vmaxvq_f32(vmaxq_f32(vmaxq_f32(self.0[0], self.0[1]), vmaxq_f32(self.0[2], self.0[3]))) }
        }
    }
}
