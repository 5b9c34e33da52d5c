//! Random tensors: Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
//!
//! The generator is a function from a counter and a key to four words of 32 bits. The key is the seed, lower half first; the
//! counter is the number of a block, lower half first, and the stream, lower half first. So every element is a function of
//! seed, stream and its place, and nothing else: neither the shape nor the machine matter.
//!
//! What an element is made of:
//! - A uniform f32 is the upper 24 bits of word i % 4 of block i / 4, as a fraction of 1; f16 takes 11 bits of the same word
//!   and bf16 8. A uniform f64 is the upper 53 bits of a *double word*: half i % 2 of block i / 2, lower word first. The
//!   fraction times (high - low), plus low, is computed in f32, or f64 for that, and rounded to the type.
//! - A whole number is low + floor(double word * (high - low) / 2^64), exact; no number is off by more than one part in
//!   2^64 / (high - low).
//! - Normal numbers come in pairs from both double words of block i / 2, by Box and Muller in f64: with u1 in (0, 1] and u2 in
//!   [0, 1), of 53 bits each, sqrt(-2 ln u1) times cos(2 pi u2), then sin(2 pi u2). Mean and deviation are applied in f64,
//!   and the result is rounded once, to f16 and bf16 by way of f32.

use crate::{
    eval::{EvalError, Value, number::cast},
    tensor::Tensor,
    types::DType,
};

/// Where random numbers come from.
pub(super) struct Source {
    seed: u64,
    stream: u64,
}

impl Source {
    /// The seed, and the stream that is the only operand; without one, stream 0.
    pub(super) fn new(seed: i64, operands: &[&Value]) -> Result<Source, EvalError> {
        let stream = match operands.first() {
            None => 0,
            Some(Value::Tensor(stream)) => match stream.values::<i64>() {
                Some(&[stream]) => stream,
                _ => return Err(EvalError::new("the number of the stream is not an i64")),
            },
            Some(_) => return Err(EvalError::new("the number of the stream is not a tensor")),
        };
        Ok(Source { seed: seed as u64, stream: stream as u64 })
    }

    fn block(&self, number: u64) -> [u32; 4] {
        philox4x32(
            [number as u32, (number >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32],
            [self.seed as u32, (self.seed >> 32) as u32],
        )
    }

    /// The first words.
    fn words(&self, count: usize) -> impl Iterator<Item = u32> {
        (0..count.div_ceil(4)).flat_map(|block| self.block(block as u64)).take(count)
    }

    /// The first 53 bits of a block as a fraction of 1.
    pub(super) fn fraction(&self, block: u64) -> f64 {
        let [low, high, ..] = self.block(block).map(u64::from);
        fraction(low | high << 32)
    }

    /// Both double words of a block.
    fn pair(&self, block: usize) -> [u64; 2] {
        let [a, b, c, d] = self.block(block as u64).map(u64::from);
        [a | b << 32, c | d << 32]
    }

    /// The first double words.
    fn double_words(&self, count: usize) -> impl Iterator<Item = u64> {
        (0..count.div_ceil(2)).flat_map(|block| self.pair(block)).take(count)
    }
}

/// Ten rounds of Philox with four words.
fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let product = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
        }
        let (high0, low0) = product(0xd251_1f53, counter[0]);
        let (high1, low1) = product(0xcd9e_8d57, counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
    }
    counter
}

/// The upper 53 bits as a fraction of 1.
fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 * 2f64.powi(-53)
}

pub(super) fn uniform(source: &Source, shape: &[usize], low: f64, high: f64, dtype: DType) -> Tensor {
    let count: usize = shape.iter().product();
    if dtype == DType::F64 {
        let number = |bits: u64| fraction(bits) * (high - low) + low;
        return Tensor::new(shape, source.double_words(count).map(number).collect());
    }
    let digits = match dtype {
        DType::F16 => 11,
        DType::BF16 => 8,
        _ => 24,
    };
    let (low, high) = (low as f32, high as f32);
    let number = |bits: u32| (bits >> (32 - digits)) as f32 * 2f32.powi(-digits) * (high - low) + low;
    cast(&Tensor::new(shape, source.words(count).map(number).collect()), dtype)
}

pub(super) fn normal(source: &Source, shape: &[usize], mean: f64, std: f64, dtype: DType) -> Tensor {
    let count: usize = shape.iter().product();
    let mut out = Vec::with_capacity(count);
    for block in 0..count.div_ceil(2) {
        let [a, b] = source.pair(block);
        let radius = libm::sqrt(-2.0 * libm::log(fraction(a) + 2f64.powi(-53)));
        let angle = 2.0 * std::f64::consts::PI * fraction(b);
        out.extend([libm::cos(angle), libm::sin(angle)].map(|x| mean + std * (radius * x)));
    }
    out.truncate(count);
    cast(&Tensor::new(shape, out), dtype)
}

pub(super) fn int(source: &Source, shape: &[usize], low: i64, high: i64, dtype: DType) -> Tensor {
    let range = high.wrapping_sub(low) as u64;
    let number = |bits: u64| low.wrapping_add(((u128::from(bits) * u128::from(range)) >> 64) as i64);
    let numbers = source.double_words(shape.iter().product()).map(number).collect();
    cast(&Tensor::new(shape, numbers), dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Random123, the reference implementation of the paper.
    #[test]
    fn the_generator_is_philox() {
        let found = philox4x32([0; 4], [0; 2]);
        assert_eq!(found, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let found = philox4x32([u32::MAX; 4], [u32::MAX; 2]);
        assert_eq!(found, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let found = philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
        assert_eq!(found, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    fn source(seed: i64, stream: i64) -> Source {
        Source::new(seed, &[&Tensor::scalar(stream).into()]).unwrap()
    }

    #[test]
    fn elements_are_a_function_of_their_place() {
        let all = |shape: &[usize], dtype| {
            let source = source(7, -3);
            [
                uniform(&source, shape, -1.0, 3.0, dtype).to_f64(),
                normal(&source, shape, 1.0, 2.0, dtype).to_f64(),
                int(&source, shape, -5, 9, DType::I64).to_f64(),
            ]
        };
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
            let whole = all(&[3, 7], dtype);
            for (short, whole) in all(&[5], dtype).iter().zip(&whole) {
                assert_eq!(short[..], whole[..5]);
            }
            // All types but f64 look at the same bits; normal numbers are the same ones, rounded.
            for (near, whole) in all(&[3, 7], DType::F64)[1].iter().zip(&whole[1]) {
                assert!((near - whole).abs() <= near.abs() * 2f64.powi(-8), "{near} {whole}");
            }
        }
        let draw = |seed, stream| uniform(&source(seed, stream), &[4], 0.0, 1.0, DType::F64);
        assert!(draw(1, 0).same_bits(&uniform(&Source::new(1, &[]).unwrap(), &[4], 0.0, 1.0, DType::F64)));
        let different = [draw(1, 0), draw(1, 1), draw(1, -1), draw(2, 0), draw(1 << 32, 0), draw(1, 1 << 32)];
        assert!((0..different.len()).all(|a| (0..a).all(|b| different[a] != different[b])));
        // Pinned, so that programs give the same numbers in later versions.
        let words = philox4x32([0, 0, u32::MAX - 2, u32::MAX], [7, 0]);
        let expected = words.map(|word| (word >> 8) as f32 / 16_777_216.0);
        assert_eq!(uniform(&source(7, -3), &[4], 0.0, 1.0, DType::F32).values::<f32>(), Some(&expected[..]));
    }

    /// Moments of 200,000 draws: each bound is five standard errors, which chance passes once in two million.
    #[test]
    fn moments_are_those_of_the_distributions() {
        let count = 200_000;
        let moment = |x: &[f64], power: i32| x.iter().map(|x| x.powi(power)).sum::<f64>() / count as f64;
        let within = |found: f64, expected: f64, variance: f64| {
            let bound = 5.0 * (variance / count as f64).sqrt();
            assert!((found - expected).abs() < bound, "{found} is not {expected} +- {bound}");
        };
        for dtype in [DType::F64, DType::F32] {
            let x = uniform(&source(3, 5), &[count], 0.0, 1.0, dtype).to_f64();
            assert!(x.iter().all(|x| (0.0..1.0).contains(x)));
            for power in 1..=4 {
                let expected = |power: i32| 1.0 / f64::from(power + 1);
                within(moment(&x, power), expected(power), expected(2 * power) - expected(power).powi(2));
            }
            let x = normal(&source(4, 5), &[count], 0.0, 1.0, dtype).to_f64();
            for (power, expected, squared) in [(1, 0.0, 1.0), (2, 1.0, 3.0), (3, 0.0, 15.0), (4, 3.0, 105.0)] {
                within(moment(&x, power), expected, squared - expected * expected);
            }
            let neighbours: f64 = x.chunks_exact(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / (count / 2) as f64;
            within(neighbours, 0.0, 2.0);
        }
        let x = int(&source(5, 5), &[count], -3, 4, DType::I32).to_f64();
        for number in -3..4 {
            let share = x.iter().filter(|x| **x == f64::from(number)).count() as f64 / count as f64;
            within(share, 1.0 / 7.0, 6.0 / 49.0);
        }
        assert!(x.iter().all(|x| (-3.0..4.0).contains(x)));
        let ends = int(&source(6, 0), &[1000], i64::MIN, i64::MAX, DType::I64);
        assert!(ends.values::<i64>().unwrap().iter().filter(|x| **x < 0).count().abs_diff(500) < 100);
    }
}
