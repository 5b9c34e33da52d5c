//! The element formats of ggml, and how their blocks are decoded.
//!
//! Decoding is ours: candle-core, the well-kept library for it, brings 127 crates for what is 200 lines here, and of the small
//! ones ggml-quants has one old release and gguf-rs-lib does not decode. Layouts are those of llama.cpp's `ggml-common.h`;
//! products and sums are rounded in the order of `gguf.quants`, the Python package, whose answers the tests compare bit by bit.

use half::f16;

use crate::models::convert::{Decode, bf16_values, f16_values, f32_values};

/// An element format of ggml.
pub(super) struct Format {
    /// Its number in files.
    pub(super) id: u32,
    /// Its name in ggml's words.
    pub(super) name: &'static str,
    /// The elements that are stored together.
    pub(super) block: usize,
    /// The bytes of a block.
    pub(super) bytes: usize,
    /// Decodes whole blocks, where this version can.
    pub(super) decode: Option<Decode>,
}

impl Format {
    /// The format with this number.
    pub(super) fn find(id: u32) -> Option<&'static Format> {
        FORMATS.iter().find(|format| format.id == id)
    }

    const fn new(id: u32, name: &'static str, block: usize, bytes: usize, decode: Option<Decode>) -> Format {
        Format { id, name, block, bytes, decode }
    }
}

/// Every format that files have, with those that are refused by name.
#[rustfmt::skip]
pub(super) const FORMATS: &[Format] = &[
    Format::new(0, "F32", 1, 4, Some(f32_values)),
    Format::new(1, "F16", 1, 2, Some(f16_values)),
    Format::new(2, "Q4_0", 32, 18, Some(q4_0)),
    Format::new(3, "Q4_1", 32, 20, Some(q4_1)),
    Format::new(6, "Q5_0", 32, 22, Some(q5_0)),
    Format::new(7, "Q5_1", 32, 24, Some(q5_1)),
    Format::new(8, "Q8_0", 32, 34, Some(q8_0)),
    Format::new(9, "Q8_1", 32, 40, None),
    Format::new(10, "Q2_K", 256, 84, Some(q2_k)),
    Format::new(11, "Q3_K", 256, 110, Some(q3_k)),
    Format::new(12, "Q4_K", 256, 144, Some(q4_k)),
    Format::new(13, "Q5_K", 256, 176, Some(q5_k)),
    Format::new(14, "Q6_K", 256, 210, Some(q6_k)),
    Format::new(15, "Q8_K", 256, 292, None),
    Format::new(16, "IQ2_XXS", 256, 66, None),
    Format::new(17, "IQ2_XS", 256, 74, None),
    Format::new(18, "IQ3_XXS", 256, 98, None),
    Format::new(19, "IQ1_S", 256, 50, None),
    Format::new(20, "IQ4_NL", 32, 18, None),
    Format::new(21, "IQ3_S", 256, 110, None),
    Format::new(22, "IQ2_S", 256, 82, None),
    Format::new(23, "IQ4_XS", 256, 136, None),
    Format::new(24, "I8", 1, 1, None),
    Format::new(25, "I16", 1, 2, None),
    Format::new(26, "I32", 1, 4, None),
    Format::new(27, "I64", 1, 8, None),
    Format::new(28, "F64", 1, 8, None),
    Format::new(29, "IQ1_M", 256, 56, None),
    Format::new(30, "BF16", 1, 2, Some(bf16_values)),
    Format::new(34, "TQ1_0", 256, 54, None),
    Format::new(35, "TQ2_0", 256, 66, None),
    Format::new(39, "MXFP4", 32, 17, None),
];

/// Hands each block of `BYTES` with its place for `VALUES` elements to `decode`.
fn blocks<const BYTES: usize, const VALUES: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn(&[u8; BYTES], &mut [f32; VALUES])) {
    let values = out.as_chunks_mut().0;
    bytes.as_chunks().0.iter().zip(values).for_each(|(block, values)| decode(block, values));
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The 32 values of 16 bytes: their low halves are the first 16, their high halves the rest.
fn nibble(bytes: &[u8], at: usize) -> u8 {
    if at < 16 { bytes[at] & 15 } else { bytes[at - 16] >> 4 }
}

/// A scale, then 32 values of 4 bits, 8 above the truth.
fn q4_0(bytes: &[u8], out: &mut [f32]) {
    blocks(bytes, out, |block: &[u8; 18], values: &mut [f32; 32]| {
        let scale = half_at(block, 0);
        for (at, value) in values.iter_mut().enumerate() {
            *value = scale * (f32::from(nibble(&block[2..], at)) - 8.0);
        }
    });
}

/// A scale and a smallest value, then 32 values of 4 bits.
fn q4_1(bytes: &[u8], out: &mut [f32]) {
    blocks(bytes, out, |block: &[u8; 20], values: &mut [f32; 32]| {
        let (scale, least) = (half_at(block, 0), half_at(block, 2));
        for (at, value) in values.iter_mut().enumerate() {
            *value = scale * f32::from(nibble(&block[4..], at)) + least;
        }
    });
}

/// The fifth bits of 32 values, then the other four of each.
fn five_bits(block: &[u8], at: usize) -> u8 {
    nibble(&block[4..], at) | (block[at / 8] >> (at % 8) & 1) << 4
}

/// A scale, then 32 values of 5 bits, 16 above the truth.
fn q5_0(bytes: &[u8], out: &mut [f32]) {
    blocks(bytes, out, |block: &[u8; 22], values: &mut [f32; 32]| {
        let scale = half_at(block, 0);
        for (at, value) in values.iter_mut().enumerate() {
            *value = scale * (f32::from(five_bits(&block[2..], at)) - 16.0);
        }
    });
}

/// A scale and a smallest value, then 32 values of 5 bits.
fn q5_1(bytes: &[u8], out: &mut [f32]) {
    blocks(bytes, out, |block: &[u8; 24], values: &mut [f32; 32]| {
        let (scale, least) = (half_at(block, 0), half_at(block, 2));
        for (at, value) in values.iter_mut().enumerate() {
            *value = scale * f32::from(five_bits(&block[4..], at)) + least;
        }
    });
}

/// A scale, then 32 signed bytes.
fn q8_0(bytes: &[u8], out: &mut [f32]) {
    blocks(bytes, out, |block: &[u8; 34], values: &mut [f32; 32]| {
        let scale = half_at(block, 0);
        for (value, byte) in values.iter_mut().zip(&block[2..]) {
            *value = f32::from(byte.cast_signed()) * scale;
        }
    });
}

// The K formats have blocks of 256 values with a scale for each 16 or 32 of them. Where values have 2 bits, 32 bytes hold 128
// of them: the lowest two bits of all bytes first, then the next two. Where they have 4, 32 bytes hold 64 in the same manner.

fn two_bits(bytes: &[u8], at: usize) -> u8 {
    bytes[at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3
}

fn four_bits(bytes: &[u8], at: usize) -> u8 {
    bytes[at / 64 * 32 + at % 32] >> (at % 64 / 32 * 4) & 15
}

/// One bit of each of 256 values in 32 bytes: the lowest bit of all bytes first.
fn one_bit(bytes: &[u8], at: usize) -> u8 {
    bytes[at % 32] >> (at / 32) & 1
}

/// For each 16 values a scale and a smallest value of 4 bits, values of 2 bits, and the scales of both.
fn q2_k(bytes: &[u8], out: &mut [f32]) {
    blocks(bytes, out, |block: &[u8; 84], values: &mut [f32; 256]| {
        let (scale, least) = (half_at(block, 80), half_at(block, 82));
        for (group, values) in values.chunks_exact_mut(16).enumerate() {
            let (scale, least) = (scale * f32::from(block[group] & 15), least * f32::from(block[group] >> 4));
            for (at, value) in values.iter_mut().enumerate() {
                *value = scale * f32::from(two_bits(&block[16..], group * 16 + at)) - least;
            }
        }
    });
}

/// The third bits of the values, 4 below the truth where they are 0; their lower two bits; for each 16 values a scale of 6 bits,
/// 32 above the truth; the scale of scales.
fn q3_k(bytes: &[u8], out: &mut [f32]) {
    blocks(bytes, out, |block: &[u8; 110], values: &mut [f32; 256]| {
        let (scale, scales) = (half_at(block, 108), &block[96..108]);
        for (group, values) in values.chunks_exact_mut(16).enumerate() {
            let low = scales[group % 8] >> (group / 8 * 4) & 15;
            let high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
            let scale = scale * (f32::from(low | high << 4) - 32.0);
            for (at, value) in values.iter_mut().enumerate() {
                let at = group * 16 + at;
                let below = if one_bit(block, at) == 1 { 0.0 } else { 4.0 };
                *value = scale * (f32::from(two_bits(&block[32..], at)) - below);
            }
        }
    });
}

/// The scale and the smallest value, each of 6 bits in 12 bytes, of one of the eight groups of 32 values in Q4_K and Q5_K.
fn scale_and_least(bytes: &[u8], group: usize) -> (f32, f32) {
    let (scale, least) = match group.checked_sub(4) {
        None => (bytes[group] & 63, bytes[group + 4] & 63),
        Some(rest) => (bytes[8 + rest] & 15 | bytes[rest] >> 6 << 4, bytes[8 + rest] >> 4 | bytes[4 + rest] >> 6 << 4),
    };
    (f32::from(scale), f32::from(least))
}

/// The scales of scales and of smallest values, both for each 32 values, and values of 4 bits.
fn q4_k(bytes: &[u8], out: &mut [f32]) {
    blocks(bytes, out, |block: &[u8; 144], values: &mut [f32; 256]| {
        for (group, values) in values.chunks_exact_mut(32).enumerate() {
            let (scale, least) = scale_and_least(&block[4..16], group);
            let (scale, least) = (half_at(block, 0) * scale, half_at(block, 2) * least);
            for (at, value) in values.iter_mut().enumerate() {
                *value = scale * f32::from(four_bits(&block[16..], group * 32 + at)) - least;
            }
        }
    });
}

/// As Q4_K, with the fifth bits of the values before the other four.
fn q5_k(bytes: &[u8], out: &mut [f32]) {
    blocks(bytes, out, |block: &[u8; 176], values: &mut [f32; 256]| {
        for (group, values) in values.chunks_exact_mut(32).enumerate() {
            let (scale, least) = scale_and_least(&block[4..16], group);
            let (scale, least) = (half_at(block, 0) * scale, half_at(block, 2) * least);
            for (at, value) in values.iter_mut().enumerate() {
                let at = group * 32 + at;
                *value = scale * f32::from(four_bits(&block[48..], at) | one_bit(&block[16..], at) << 4) - least;
            }
        }
    });
}

/// The lower four bits of the values, 64 bytes for 128 of them; their upper two; for each 16 values a signed scale; the scale of
/// scales. Values are 32 above the truth.
fn q6_k(bytes: &[u8], out: &mut [f32]) {
    blocks(bytes, out, |block: &[u8; 210], values: &mut [f32; 256]| {
        let scale = half_at(block, 208);
        for (group, values) in values.chunks_exact_mut(16).enumerate() {
            let scale = scale * f32::from(block[192 + group].cast_signed());
            for (at, value) in values.iter_mut().enumerate() {
                let at = group * 16 + at;
                let low = block[at / 128 * 64 + at % 64] >> (at % 128 / 64 * 4) & 15;
                *value = scale * (f32::from(low | two_bits(&block[128..], at) << 4) - 32.0);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random blocks with what the Python package `gguf` makes of them (`tests/scripts/record_gguf.py`), bit by bit.
    #[test]
    fn blocks_are_those_of_gguf() {
        let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gguf_blocks.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&file).unwrap();
        let mut compared = vec![];
        for format in FORMATS {
            let Some(decode) = format.decode else { continue };
            let part = |part: &str| file.tensor(&format!("{}.{part}", format.name)).unwrap();
            let (blocks, wanted) = (part("blocks"), part("values"));
            assert_eq!(blocks.data().len() % format.bytes, 0, "{}", format.name);
            let mut values = vec![f32::NAN; blocks.data().len() / format.bytes * format.block];
            decode(blocks.data(), &mut values);
            let wanted: Vec<u32> = wanted.data().as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
            let values: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
            let differ = values.iter().zip(&wanted).position(|(a, b)| a != b);
            assert!(values.len() == wanted.len() && differ.is_none(), "{}: {differ:?}", format.name);
            compared.push(format.name);
        }
        assert_eq!(compared.len(), 13, "{compared:?}");
        // Sizes of all formats, refused ones too, are those of the package.
        let sizes = file.tensor("sizes").unwrap();
        let sizes: Vec<[i64; 3]> = sizes
            .data()
            .as_chunks::<24>()
            .0
            .iter()
            .map(|row| {
                let [id, block, bytes] = [0, 8, 16].map(|at| i64::from_le_bytes(row[at..at + 8].try_into().unwrap()));
                [id, block, bytes]
            })
            .collect();
        for format in FORMATS {
            assert!(sizes.contains(&[format.id.into(), format.block as i64, format.bytes as i64]), "{}", format.name);
        }
    }
}
