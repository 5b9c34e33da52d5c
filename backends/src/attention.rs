//! Causal grouped-query attention on the CPU, over flat token batches.
//!
//! Between a layer's projections and its output projection the tokens of all rows of all forwards travel as flat tensors: `q` is [tokens,
//! heads * head_dim], `k` and `v` are [key tokens, kv_heads * head_dim], all row-major `f32`. A [`Row`] says which tokens are one
//! sequence: a range of queries, the position of the first, and the ranges of tokens that are its keys (a shared past, then its own).
//! Nothing is padded, copied or masked from outside.
//!
//! # What holds, bit for bit
//! - A query's result depends on its own q, its keys and values in order, its position and the options. Not on the other rows, on where
//!   tokens lie, on how many ranges the keys come in, on the number of threads, or on the instruction set (AVX-512, AVX2, NEON or none;
//!   `kernel` says which sums are done in which order).
//! - [`scores`](Attention::scores), then [`pattern`](Attention::pattern), then [`mix`](Attention::mix) is [`attend`](Attention::attend):
//!   reading scores or pattern changes nothing, and writing what was read changes nothing.
//! - Every NaN that comes out is `f32::NAN`.
//!
//! # Masked keys
//! A key that the mask hides is not there: its entry of the pattern is +0, and it adds nothing to z even if its value is NaN or infinite
//! (PyTorch multiplies it by zero, and then a NaN in a later token poisons the earlier ones). Visible keys follow PyTorch: a NaN or +inf
//! score, or nothing but -inf, make the row NaN, hidden keys included; a visible weight of zero times an infinite value is NaN. A
//! *written* pattern counts as it is, at masked keys too, except that a zero there adds nothing. Since a row that looks ahead this way
//! is no longer causal, [`Attention::beyond_mask`] finds such entries for who must refuse them. A query that sees no key at all has z = 0.

mod kernel;
mod lanes;
mod rotary;
#[cfg(test)]
mod tests;

pub use rotary::Rotary;

use kernel::{Block, Path, Scratch, Work};
use rayon::prelude::*;

use crate::cancel::Cancel;
use std::cell::Cell;
use std::fmt;
use std::ops::Range;

/// Below this many floating-point operations (some 70 microseconds) a call stays on its thread: waking a sleeping one costs more than that
/// in CPU time.
const SERIAL_FLOPS: f64 = 4e6;
/// The most rows (query x head) of a block. Packing a key costs as much as the arithmetic of a few rows with it.
const BLOCK_ROWS: usize = 64;
/// Floats of pattern that a block should stay within, 1 MiB. It is streamed, so it may be as large as a second-level cache; fewer rows per
/// block cost more, in packing (measured at 2,048 to 8,192 keys).
const BLOCK_PATTERN: usize = 262_144;
/// Rows of the widest register tile; blocks are multiples.
const TILE_ROWS: usize = 8;

/// How many heads there are and how wide they are. Values are as wide as keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; query head `h` reads key head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Floats per head.
    pub head_dim: usize,
}

impl Heads {
    /// Query heads per key head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// One sequence of a flat batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its queries, as tokens of the flat q.
    pub queries: Range<usize>,
    /// The position of the first query; the others follow. A key's position is its index in `keys`.
    pub first_position: usize,
    /// Its keys, as ranges of tokens of the flat k and v, one after the other.
    pub keys: Vec<Range<usize>>,
}

/// A flat tensor in several buffers, one after the other, each of whole tokens: keys and values of a past stay where they are.
pub type Buffers<'a> = &'a [&'a [f32]];

impl Row {
    /// The number of keys.
    pub fn key_count(&self) -> usize {
        self.keys.iter().map(ExactSizeIterator::len).sum()
    }

    /// Where the tokens of the keys at `positions` are, each `width` floats; the buffers have them all.
    fn lines(&self, positions: Range<usize>, buffers: Buffers<'_>, width: usize, lines: &mut Vec<*const f32>) {
        lines.clear();
        let mut before = 0;
        for range in &self.keys {
            let wanted = |position: usize| range.start + position.clamp(before, before + range.len()) - before;
            let (mut start, end) = (wanted(positions.start), wanted(positions.end));
            let mut first = 0;
            for buffer in buffers {
                let tokens = buffer.len() / width;
                while start < end && start < first + tokens {
                    lines.push(buffer[(start - first) * width..].as_ptr());
                    start += 1;
                }
                first += tokens;
            }
            before += range.len();
        }
    }
}

/// Arguments that do not fit together. `row` counts from 0; it is 0 in calls that take one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttentionError {
    /// A head count or the head dimension is 0, query heads are not a multiple of key heads, or the product overflows.
    Heads(Heads),
    /// The rotated dimensions are not even, or more than a head has.
    RotaryDim {
        /// Dimensions that the rotary embedding rotates.
        rotary_dim: usize,
        /// Dimensions that a head has.
        head_dim: usize,
    },
    /// A buffer has the wrong number of floats.
    Length {
        /// The argument's name.
        buffer: &'static str,
        /// Its length.
        len: usize,
        /// What the length must be, or be a multiple of.
        expected: usize,
    },
    /// A row's range ends before it starts or after the last token.
    Range {
        /// The row.
        row: usize,
        /// The range.
        range: Range<usize>,
        /// How many tokens the buffer has.
        tokens: usize,
    },
    /// A causal row has fewer keys than its last query's position asks for.
    Keys {
        /// The row.
        row: usize,
        /// The keys that it has.
        keys: usize,
        /// The keys that its last query sees, without a window.
        needed: usize,
    },
    /// Two rows share a query: both would write its z.
    Overlap {
        /// The shared token.
        token: usize,
    },
    /// It was cancelled: what was to be filled holds a part of the result.
    Cancelled,
}

impl fmt::Display for AttentionError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            AttentionError::Heads(Heads { heads, kv_heads, head_dim }) => {
                write!(f, "{heads} query heads on {kv_heads} key heads of {head_dim} dimensions are not grouped-query attention")
            }
            AttentionError::RotaryDim { rotary_dim, head_dim } => {
                write!(f, "cannot rotate {rotary_dim} of the {head_dim} dimensions of a head")
            }
            AttentionError::Length { buffer, len, expected } => write!(f, "`{buffer}` has {len} floats where {expected} are expected"),
            AttentionError::Range { row, range, tokens } => write!(f, "row {row} names tokens {range:?} of {tokens}"),
            AttentionError::Keys { row, keys, needed } => write!(f, "row {row} has {keys} keys, its last query needs {needed}"),
            AttentionError::Overlap { token } => write!(f, "two rows have token {token} as a query"),
            AttentionError::Cancelled => write!(f, "attention was cancelled"),
        }
    }
}

impl std::error::Error for AttentionError {}

/// Scaled dot-product attention of one layer: z = softmax(mask(scale * q k^T)) v.
///
/// All methods run on the rayon pool that they are called in (the global one from outside any), or on the caller's thread if there is
/// little to do.
#[derive(Clone, Debug)]
pub struct Attention {
    /// The layer's heads.
    pub heads: Heads,
    /// What scores are multiplied by, usually head_dim^-0.5.
    pub scale: f32,
    /// Whether a query at position p sees the keys 0..=p only, or all.
    pub causal: bool,
    /// With `Some(w)`, a query at position p sees no key at or before p - w: with `causal`, the last w keys including its own.
    pub window: Option<usize>,
    path: Path,
    cancel: Cancel,
}

impl Attention {
    /// Causal attention without a window.
    pub fn new(heads: Heads, scale: f32) -> Self {
        let path = Path::available().next().unwrap_or(Path::Portable);
        Attention { heads, scale, causal: true, window: None, path, cancel: Cancel::new() }
    }

    /// Whether a query sees only keys up to its own position (the default).
    pub fn with_causal(self, causal: bool) -> Self {
        Attention { causal, ..self }
    }

    /// Limits how far back a query sees; see [`Attention::window`].
    pub fn with_window(self, window: Option<usize>) -> Self {
        Attention { window, ..self }
    }

    /// What ends its work early, between blocks of rows; nothing does by default.
    pub fn with_cancel(self, cancel: &Cancel) -> Self {
        Attention { cancel: cancel.clone(), ..self }
    }

    /// Which of `keys` keys a query at `position` sees.
    pub fn visible(&self, position: usize, keys: usize) -> Range<usize> {
        let past_own = position.saturating_add(1);
        let end = if self.causal { past_own.min(keys) } else { keys };
        let start = self.window.map_or(0, |window| past_own.saturating_sub(window));
        start.min(end)..end
    }

    /// z [tokens of q, heads * head_dim] of all rows. Tokens of `z` that are no row's query keep what they hold.
    pub fn attend(&self, q: &[f32], k: Buffers<'_>, v: Buffers<'_>, rows: &[Row], z: &mut [f32]) -> Result<(), AttentionError> {
        let tokens = self.tokens("q", q.len(), self.heads.heads)?;
        let key_tokens = self.tokens_of_all("k", k)?;
        length("v", self.tokens_of_all("v", v)?, key_tokens)?;
        length("z", z.len(), q.len())?;
        self.check_rows(rows, Some(tokens), Some(key_tokens))?;
        self.run(rows, &Work::Attend { q, k, v, z: z.as_mut_ptr() })
    }

    /// The scaled scores of one row before the mask, [heads, queries, keys]: all keys, hidden ones too.
    pub fn scores(&self, q: &[f32], k: Buffers<'_>, row: &Row, out: &mut [f32]) -> Result<(), AttentionError> {
        let tokens = self.tokens("q", q.len(), self.heads.heads)?;
        let key_tokens = self.tokens_of_all("k", k)?;
        self.check_rows(std::slice::from_ref(row), Some(tokens), Some(key_tokens))?;
        length("out", out.len(), self.square(row))?;
        self.run(std::slice::from_ref(row), &Work::Scores { q, k, out: out.as_mut_ptr() })
    }

    /// Replaces the scores of one row [heads, queries, keys] by its pattern: the softmax over visible keys, +0 at hidden ones. Scores of
    /// hidden keys are ignored, whatever they are.
    pub fn pattern(&self, row: &Row, scores: &mut [f32]) -> Result<(), AttentionError> {
        self.check_rows(std::slice::from_ref(row), None, None)?;
        length("scores", scores.len(), self.square(row))?;
        if scores.is_empty() {
            // No keys: nothing bounds how many queries the row claims to have.
            return Ok(());
        }
        self.run(std::slice::from_ref(row), &Work::Pattern { scores: scores.as_mut_ptr() })
    }

    /// z of one row from its pattern [heads, queries, keys], into the row's tokens of the flat `z` [tokens, heads * head_dim].
    pub fn mix(&self, pattern: &[f32], v: Buffers<'_>, row: &Row, z: &mut [f32]) -> Result<(), AttentionError> {
        let tokens = self.tokens("z", z.len(), self.heads.heads)?;
        let key_tokens = self.tokens_of_all("v", v)?;
        self.check_rows(std::slice::from_ref(row), Some(tokens), Some(key_tokens))?;
        length("pattern", pattern.len(), self.square(row))?;
        self.run(std::slice::from_ref(row), &Work::Mix { pattern, v, z: z.as_mut_ptr() })
    }

    /// The first [head, query, key] at which a pattern is not zero although the mask hides the key. [`mix`](Attention::mix) takes such an
    /// entry as it is, but then z depends on what the mask promises that it does not depend on.
    pub fn beyond_mask(&self, row: &Row, pattern: &[f32]) -> Result<Option<[usize; 3]>, AttentionError> {
        self.check_rows(std::slice::from_ref(row), None, None)?;
        length("pattern", pattern.len(), self.square(row))?;
        let (queries, keys) = (row.queries.len(), row.key_count());
        Ok(pattern.chunks_exact(keys.max(1)).enumerate().find_map(|(i, weights)| {
            let key = kernel::beyond(weights, &self.visible(row.first_position + i % queries, keys))?;
            Some([i / queries, i % queries, key])
        }))
    }

    /// The number of floats of one row's scores.
    fn square(&self, row: &Row) -> usize {
        self.heads.heads.saturating_mul(row.queries.len()).saturating_mul(row.key_count())
    }

    /// The tokens of a flat buffer with `heads` heads.
    fn tokens(&self, buffer: &'static str, len: usize, heads: usize) -> Result<usize, AttentionError> {
        self.check_heads()?;
        let width = heads * self.heads.head_dim;
        if len.is_multiple_of(width) { Ok(len / width) } else { Err(AttentionError::Length { buffer, len, expected: width }) }
    }

    /// The tokens of all buffers of keys or values.
    fn tokens_of_all(&self, buffer: &'static str, all: Buffers<'_>) -> Result<usize, AttentionError> {
        all.iter().try_fold(0, |count, part| Ok(count + self.tokens(buffer, part.len(), self.heads.kv_heads)?))
    }

    fn check_heads(&self) -> Result<(), AttentionError> {
        let Heads { heads, kv_heads, head_dim } = self.heads;
        let grouped = heads > 0 && kv_heads > 0 && head_dim > 0 && heads.is_multiple_of(kv_heads) && heads.checked_mul(head_dim).is_some();
        if grouped { Ok(()) } else { Err(AttentionError::Heads(self.heads)) }
    }

    /// Checks all that the kernels rely on: ranges within the buffers (where there are any), enough keys, and no query twice.
    fn check_rows(&self, rows: &[Row], tokens: Option<usize>, key_tokens: Option<usize>) -> Result<(), AttentionError> {
        self.check_heads()?;
        let within = |row: usize, range: &Range<usize>, tokens: Option<usize>| {
            let tokens = tokens.unwrap_or(usize::MAX);
            let good = range.start <= range.end && range.end <= tokens;
            if good { Ok(()) } else { Err(AttentionError::Range { row, range: range.clone(), tokens }) }
        };
        let mut end = 0;
        let mut ascending = true;
        for (i, row) in rows.iter().enumerate() {
            within(i, &row.queries, tokens)?;
            row.keys.iter().try_for_each(|range| within(i, range, key_tokens))?;
            // Ranges may name a token twice, so only the sum shows whether the row is absurd.
            let keys = row.keys.iter().try_fold(0, |keys: usize, range| keys.checked_add(range.len()));
            let needed = row.first_position.checked_add(row.queries.len());
            match (keys, needed) {
                (Some(keys), Some(needed)) if !self.causal || row.queries.is_empty() || needed <= keys => {}
                _ => {
                    let (keys, needed) = (keys.unwrap_or(usize::MAX), needed.unwrap_or(usize::MAX));
                    return Err(AttentionError::Keys { row: i, keys, needed });
                }
            }
            ascending &= row.queries.start >= end || row.queries.is_empty();
            end = end.max(row.queries.end);
        }
        if !ascending {
            let mut ranges: Vec<_> = rows.iter().map(|row| row.queries.clone()).filter(|queries| !queries.is_empty()).collect();
            ranges.sort_by_key(|queries| queries.start);
            if let Some(pair) = ranges.windows(2).find(|pair| pair[1].start < pair[0].end) {
                return Err(AttentionError::Overlap { token: pair[1].start });
            }
        }
        Ok(())
    }

    /// Cuts the rows into blocks and does `work` on each. The caller has checked everything.
    fn run(&self, rows: &[Row], work: &Work) -> Result<(), AttentionError> {
        let mut tasks = TASKS.take();
        tasks.clear();
        let threads = rayon::current_num_threads();
        let heads = self.heads;
        // Cutting finer than needed costs packing, coarser leaves threads without work at the end.
        let total_rows: usize = rows.iter().map(|row| row.queries.len() * heads.heads).sum();
        let fair = (total_rows / (4 * threads)).clamp(2 * TILE_ROWS, BLOCK_ROWS);
        let mut flops = 0.0;
        for (index, row) in rows.iter().enumerate() {
            let keys = row.key_count();
            let queries = row.queries.len();
            let count = queries * heads.group();
            // Of a causal row, the average query sees the past and half of its own keys.
            let seen = if self.causal { keys as f64 - 0.5 * queries as f64 } else { keys as f64 };
            let seen = self.window.map_or(seen, |window| seen.min(window as f64));
            flops += 4.0 * (heads.heads * heads.head_dim * queries) as f64 * seen;
            let span = self.window.map_or(keys, |window| keys.min(window.saturating_add(BLOCK_ROWS)));
            let step = (BLOCK_PATTERN / span.max(1)).min(fair).max(TILE_ROWS) / TILE_ROWS * TILE_ROWS;
            for kv_head in 0..heads.kv_heads {
                tasks.extend((0..count).step_by(step).map(|first| Task { row: index, kv_head, rows: first..count.min(first + step) }));
            }
        }
        let one = |task: &Task| {
            if self.cancel.is_cancelled() {
                return;
            }
            let mut scratch = SCRATCH.take().unwrap_or_default();
            let block = Block { row: &rows[task.row], kv_head: task.kv_head, rows: task.rows.clone() };
            // SAFETY: `check_rows` and the length checks cover every index; the tasks are disjoint; the path was detected.
            unsafe { kernel::run(self.path, self, work, &block, &mut scratch) };
            SCRATCH.set(Some(scratch));
        };
        if threads == 1 || flops < SERIAL_FLOPS {
            tasks.iter().for_each(one);
        } else {
            tasks.par_iter().for_each(one);
        }
        TASKS.set(tasks);
        if self.cancel.is_cancelled() { Err(AttentionError::Cancelled) } else { Ok(()) }
    }
}

/// A block of a batch.
struct Task {
    row: usize,
    kv_head: usize,
    rows: Range<usize>,
}

thread_local! {
    // Taken for the time of use: a thread that waits in rayon may run another call meanwhile.
    static TASKS: Cell<Vec<Task>> = const { Cell::new(Vec::new()) };
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

fn length(buffer: &'static str, len: usize, expected: usize) -> Result<(), AttentionError> {
    if len == expected { Ok(()) } else { Err(AttentionError::Length { buffer, len, expected }) }
}
