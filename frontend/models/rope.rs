//! Rotary embeddings as configurations describe them: each kind of scaling is other frequencies.
//!
//! The formulas and their rounding are those of `modeling_rope_utils.py` in Hugging Face transformers 4.51. Two kinds depend
//! on the length of the sequence: `dynamic` scales from `max_position_embeddings` on, `longrope` has other factors beyond
//! its original length. Within these lengths they are the frequencies given here, and [`Rope::context`] ends there, so that
//! longer sequences are refused instead of being computed with frequencies that are not the model's.

use std::f64::consts::PI;

use irc_ir::{diagnostic::Diagnostic, model::RotaryShape};

use super::config::{CONTEXT, Fields};

/// A rotary embedding and how far it holds.
pub(super) struct Rope {
    pub(super) shape: RotaryShape,
    /// The longest sequence.
    pub(super) context: usize,
}

impl Rope {
    /// The embedding of a configuration: `rotated` elements of each head turn, sequences are as long as `context`.
    /// `theta` is the name of the field that has the base.
    pub(super) fn read(fields: Fields<'_>, theta: &str, rotated: usize, context: usize) -> Result<Rope, Diagnostic> {
        // Newer configurations have the base and the scaling in one object.
        let together = fields.object("rope_parameters.")?;
        let scaling = match together {
            Some(_) => together,
            None => fields.object("rope_scaling.")?,
        };
        let (of, name) = match together.filter(|together| together.value("rope_theta").is_some()) {
            Some(together) => (together, "rope_theta"),
            None => (fields, theta),
        };
        let base = of.maybe_number(name)?.unwrap_or(10_000.0);
        if base <= 1.0 {
            return Err(of.error(name, format!("is {base}, but must be greater than 1")));
        }
        let Some(scaling) = scaling else { return Ok(Rope { shape: RotaryShape::new(base, rotated), context }) };
        let kind = match (scaling.text("rope_type")?, scaling.text("type")?) {
            (Some(new), Some(old)) if new != old => return Err(scaling.error("type", format!("is `{old}`, but `rope_type` is `{new}`"))),
            (new, old) => new.or(old).unwrap_or("default"),
        };
        let known: &[&str] = match kind {
            "default" => &[],
            "linear" => &["factor"],
            "dynamic" => &["factor", "original_max_position_embeddings"],
            "llama3" => &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
            "yarn" => {
                &["factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "original_max_position_embeddings"]
            }
            "longrope" => &["factor", "attention_factor", "short_factor", "long_factor", "original_max_position_embeddings"],
            other => {
                let error = scaling.error("rope_type", format!("is `{other}`, which is not supported"));
                return Err(error.suggest(other, ["default", "linear", "dynamic", "llama3", "yarn", "longrope"]));
            }
        };
        let always = ["rope_type", "type", "rope_theta", "finetuned"];
        if let Some(other) = scaling.names().find(|name| !always.contains(name) && !known.contains(name)) {
            return Err(scaling.error(other, format!("is not known for the rotary embedding `{kind}`")));
        }
        let usual = RotaryShape::new(base, rotated).inverse_frequencies;
        let (frequencies, scale, context) = match kind {
            "linear" => (linear(&usual, positive(scaling, "factor")?), 1.0, context),
            "llama3" => (llama3(&usual, scaling)?, 1.0, context),
            "yarn" => {
                let (frequencies, scale) = yarn(scaling, base, rotated, context)?;
                (frequencies, scale, context)
            }
            "longrope" => longrope(fields, scaling, base, rotated, context)?,
            "dynamic" => {
                positive(scaling, "factor")?;
                (usual.to_vec(), 1.0, context)
            }
            _default => (usual.to_vec(), 1.0, context),
        };
        let shape = RotaryShape { inverse_frequencies: frequencies.into(), scale: scale as f32 };
        if !shape.scale.is_finite() || shape.inverse_frequencies.iter().any(|frequency| !frequency.is_finite()) {
            return Err(scaling.error("rope_type", "has other fields that make angles infinite"));
        }
        Ok(Rope { shape, context })
    }
}

fn positive(scaling: Fields<'_>, name: &str) -> Result<f64, Diagnostic> {
    match scaling.number(name)? {
        number if number > 0.0 => Ok(number),
        number => Err(scaling.error(name, format!("is {number}, but must be positive"))),
    }
}

/// All wavelengths longer by a factor.
fn linear(usual: &[f32], factor: f64) -> Vec<f32> {
    usual.iter().map(|frequency| frequency / factor as f32).collect()
}

/// Long wavelengths longer by a factor, short ones as they are, and a ramp between (Llama 3.1).
fn llama3(usual: &[f32], scaling: Fields<'_>) -> Result<Vec<f32>, Diagnostic> {
    let factor = positive(scaling, "factor")? as f32;
    let (low, high) = (positive(scaling, "low_freq_factor")?, positive(scaling, "high_freq_factor")?);
    if high <= low {
        return Err(scaling.error("high_freq_factor", format!("is {high}, but must be greater than `low_freq_factor`, which is {low}")));
    }
    let length = scaling.size("original_max_position_embeddings", CONTEXT)? as f64;
    let (longest, shortest) = ((length / low) as f32, (length / high) as f32);
    let scaled = |frequency: &f32| {
        let wavelength = (2.0 * PI) as f32 / frequency;
        if wavelength > longest {
            frequency / factor
        } else if wavelength < shortest {
            *frequency
        } else {
            let smooth = (length as f32 / wavelength - low as f32) / (high - low) as f32;
            (1.0 - smooth) * frequency / factor + smooth * frequency
        }
    };
    Ok(usual.iter().map(scaled).collect())
}

/// Interpolation of long wavelengths, extrapolation of short ones, and a ramp between (<https://arxiv.org/abs/2309.00071>).
fn yarn(scaling: Fields<'_>, base: f64, rotated: usize, context: usize) -> Result<(Vec<f32>, f64), Diagnostic> {
    let mut factor = positive(scaling, "factor")?;
    let mut original = context;
    if let Some(length) = scaling.maybe_size("original_max_position_embeddings", CONTEXT)? {
        (factor, original) = (context as f64 / length as f64, length);
    }
    let nonzero = |name| Ok(scaling.maybe_number(name)?.filter(|number| *number != 0.0));
    let magnitude = |scale: f64, by: f64| if scale <= 1.0 { 1.0 } else { 0.1 * by * scale.ln() + 1.0 };
    let scale = match (scaling.maybe_number("attention_factor")?, nonzero("mscale")?, nonzero("mscale_all_dim")?) {
        (Some(given), ..) => given,
        (None, Some(scale), Some(all)) => magnitude(factor, scale) / magnitude(factor, all),
        (None, ..) => magnitude(factor, 1.0),
    };
    let rotations = |name, default: f64| match nonzero(name)? {
        Some(number) if number < 0.0 => Err(scaling.error(name, format!("is {number}, but must be positive"))),
        number => Ok(number.unwrap_or(default)),
    };
    let (fast, slow) = (rotations("beta_fast", 32.0)?, rotations("beta_slow", 1.0)?);
    // The pair that turns this many times over the original length.
    let pair = |rotations: f64| (rotated as f64 * (original as f64 / (rotations * 2.0 * PI)).ln()) / (2.0 * base.ln());
    let low = pair(fast).floor().max(0.0);
    let mut high = pair(slow).ceil().min(rotated as f64 - 1.0);
    if low == high {
        high += 0.001;
    }
    let frequency = |at: usize| {
        let power = power(base, at, rotated);
        let (extrapolated, interpolated) = (1.0 / power, 1.0 / (factor as f32 * power));
        let ramp = ((at as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
        let share = 1.0 - ramp;
        interpolated * (1.0 - share) + extrapolated * share
    };
    Ok(((0..rotated / 2).map(frequency).collect(), scale))
}

/// A factor for each pair (<https://arxiv.org/abs/2402.13753>); those for sequences within the original length.
fn longrope(
    fields: Fields<'_>,
    scaling: Fields<'_>,
    base: f64,
    rotated: usize,
    context: usize,
) -> Result<(Vec<f32>, f64, usize), Diagnostic> {
    let short = scaling.numbers("short_factor", rotated / 2)?;
    scaling.numbers("long_factor", rotated / 2)?;
    let length = "original_max_position_embeddings";
    let outer = fields.maybe_size(length, CONTEXT)?;
    let original = outer.unwrap_or(context);
    if scaling.maybe_size(length, CONTEXT)?.is_some_and(|inner| inner != original) {
        return Err(scaling.error(length, format!("differs from the model's own, which is {original}")));
    }
    let factor = match outer {
        Some(original) => Some(context as f64 / original as f64),
        None => scaling.maybe_number("factor")?,
    };
    let scale = match (scaling.maybe_number("attention_factor")?, factor) {
        (Some(given), _) => given,
        (None, None) => return Err(scaling.error("factor", "is missing")),
        (None, Some(factor)) if factor <= 1.0 => 1.0,
        (None, Some(factor)) => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
    };
    let frequencies = short.iter().enumerate().map(|(at, factor)| 1.0 / (*factor as f32 * power(base, at, rotated)));
    Ok((frequencies.collect(), scale, original.min(context)))
}

/// The inverse of a usual frequency.
fn power(base: f64, pair: usize, rotated: usize) -> f32 {
    f64::from(base as f32).powf(f64::from((2 * pair) as f32 / rotated as f32)) as f32
}
