//! The arithmetic of attention: one [`Block`] of query rows against all the keys that they see.
//!
//! What fixes the bits (every path, every blocking):
//!
//! - a score is one chain of fused multiply-adds over the head's dimensions in ascending order, from +0, then times `scale`;
//! - the softmax subtracts the row's maximum, adds the exponentials of keys `j = lane (mod 16)` in ascending order into 16 lanes, adds the
//!   lanes pairwise (8 apart, 4 apart, 2, 1), and multiplies by the reciprocal of the sum;
//! - an element of z is one chain of fused multiply-adds over the visible keys in ascending order, from +0.
//!
//! No chain depends on which other rows share a register tile: tiles are *rows of queries* x *lanes of keys* for the scores and *rows of
//! queries* x *lanes of dimensions* for z, so that a lane is one chain and may be stopped in memory and resumed. Blocks of keys are copied
//! once per block of rows, keys transposed, values as they are: tiles then read contiguous lines, whatever ranges the keys came from.
//!
//! NaNs that leave this module are the one canonical NaN (`f32::NAN`): which payload an operation keeps differs between machines.

#![allow(clippy::needless_range_loop, reason = "indices of registers read better than iterators, and unroll reliably")]

use super::lanes::{Lanes, Portable, WIDTH};
use super::{Attention, Buffers, Row};
use std::ops::Range;

/// Vectors of a packed block of keys: the widest score tile is this many vectors of keys.
const KEY_VECTORS: usize = 2;
/// Keys of a packed block of keys.
const KEY_BLOCK: usize = KEY_VECTORS * WIDTH;
/// Floats of a packed block of values: 16 KiB, half of a small first-level cache.
const VALUE_BLOCK: usize = 4096;

/// The code to run. The results do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Path {
    /// The paths that this machine can run, fastest first.
    pub(crate) fn available() -> impl Iterator<Item = Path> {
        #[cfg(target_arch = "x86_64")]
        let fast = {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            [(avx2 && is_x86_feature_detected!("avx512f"), Path::Avx512), (avx2, Path::Avx2)]
        };
        #[cfg(target_arch = "aarch64")]
        let fast = [(true, Path::Neon)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let fast: [(bool, Path); 0] = [];
        fast.into_iter().filter_map(|(usable, path)| usable.then_some(path)).chain([Path::Portable])
    }
}

/// Some query rows of one sequence and one key head. Row `r` is head `r % group` of the group of query heads that share the key head, at
/// query `r / group`: neighbours see nearly the same keys, and a single query still fills a tile with its heads.
pub(super) struct Block<'a> {
    pub(super) row: &'a Row,
    pub(super) kv_head: usize,
    pub(super) rows: Range<usize>,
}

/// What to do with a block. Pointers are outputs (or in-out): blocks of different rows write different floats, but not contiguous ones.
#[derive(Clone, Copy)]
pub(super) enum Work<'a> {
    /// q, k, v -> z, in the flat layout.
    Attend { q: &'a [f32], k: Buffers<'a>, v: Buffers<'a>, z: *mut f32 },
    /// q, k -> scores [heads, queries, keys] of one sequence.
    Scores { q: &'a [f32], k: Buffers<'a>, out: *mut f32 },
    /// Scores -> pattern, in place.
    Pattern { scores: *mut f32 },
    /// Pattern, v -> z.
    Mix { pattern: &'a [f32], v: Buffers<'a>, z: *mut f32 },
}

// SAFETY: the pointers are used for disjoint elements only (`Block`); the slices are shared.
unsafe impl Sync for Work<'_> {}

/// Memory that a thread keeps from block to block.
#[derive(Default)]
pub(super) struct Scratch {
    /// Scores, then pattern: one line per row, from the block's first key.
    pattern: Lines,
    /// A block of keys, transposed: [dimension][KEY_BLOCK].
    keys: Lines,
    /// A block of values: [key][dimensions padded to lanes].
    values: Lines,
    /// z: [row][dimensions padded to lanes].
    z: Lines,
    /// One for each row.
    rows: Vec<QueryRow>,
    /// Where each of the block's keys is: the floats of its first head.
    key_lines: Vec<*const f32>,
    /// The same for its values.
    value_lines: Vec<*const f32>,
}

/// A row of a block.
struct QueryRow {
    /// The keys that it sees, counted from the block's first.
    seen: Range<usize>,
    /// Where it is in a flat tensor [tokens, heads, head_dim].
    flat: usize,
    /// Where it is in a tensor of one sequence [heads, queries, keys].
    square: usize,
}

/// Floats on a cache-line boundary: tiles load whole lines, and a load across two lines costs two.
#[derive(Default)]
struct Lines(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; WIDTH]);

impl Lines {
    /// At least `floats` floats, contents unspecified but initialised.
    #[inline]
    fn reserve(&mut self, floats: usize) -> *mut f32 {
        let lines = floats.div_ceil(WIDTH);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; WIDTH]));
        }
        self.0.as_mut_ptr().cast()
    }
}

/// The keys that a block looks at and the layout of its scratch.
#[derive(Clone, Copy)]
struct Extent {
    /// The number of keys. The first one is at a multiple of the lanes: a key's lane must not depend on the block.
    keys: usize,
    /// Floats from one row of `Scratch::pattern` to the next. An odd number of lines, so that the rows of a tile do not share cache sets.
    stride: usize,
    /// The head's dimensions, padded to lanes.
    padded: usize,
}

/// Does `work` on a block.
///
/// # Safety
/// Slices and pointers cover what `row` names (`Attention` checks), no other thread has a block with the same rows, and the machine has
/// what `path` needs.
pub(super) unsafe fn run(path: Path, attention: &Attention, work: &Work, block: &Block, scratch: &mut Scratch) {
    unsafe {
        match path {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => run_avx512(attention, work, block, scratch),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => run_avx2(attention, work, block, scratch),
            #[cfg(target_arch = "aarch64")]
            Path::Neon => run_block::<super::lanes::Neon, 4, 1>(attention, work, block, scratch),
            Path::Portable => run_block::<Portable, 1, 1>(attention, work, block, scratch),
        }
    }
}

// 8 x 2 vectors of accumulators of 32 registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn run_avx512(attention: &Attention, work: &Work, block: &Block, scratch: &mut Scratch) {
    unsafe { run_block::<super::lanes::Avx512, 8, 2>(attention, work, block, scratch) }
}

// 4 x 1 vectors of two registers each, 8 of 16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2(attention: &Attention, work: &Work, block: &Block, scratch: &mut Scratch) {
    unsafe { run_block::<super::lanes::Avx2, 4, 1>(attention, work, block, scratch) }
}

/// Runs `$body` for consecutive tiles of `$count` rows, with `$first` the first row of the tile and `$rows` their constant number, at most
/// `$most`.
macro_rules! for_tiles {
    ($most:expr, $count:expr, |$first:ident, $rows:ident| $body:block) => {
        let mut next = 0;
        while next < $count {
            let $first = next;
            let left = $count - next;
            if $most >= 8 && left >= 8 {
                const $rows: usize = 8;
                next += $rows;
                $body
            } else if $most >= 4 && left >= 4 {
                const $rows: usize = 4;
                next += $rows;
                $body
            } else if $most >= 3 && left >= 3 {
                const $rows: usize = 3;
                next += $rows;
                $body
            } else if $most >= 2 && left >= 2 {
                const $rows: usize = 2;
                next += $rows;
                $body
            } else {
                const $rows: usize = 1;
                next += $rows;
                $body
            }
        }
    };
}

/// [`run`] for one set of lanes, with register tiles of `ROWS` rows and `VECTORS` vectors.
#[inline(always)]
unsafe fn run_block<V: Lanes, const ROWS: usize, const VECTORS: usize>(at: &Attention, work: &Work, block: &Block, scratch: &mut Scratch) {
    let (dim, group) = (at.heads.head_dim, at.heads.group());
    let (queries, all_keys) = (block.row.queries.len(), block.row.key_count());
    let every_key = matches!(work, Work::Scores { .. });
    let seen = |query: usize| if every_key { 0..all_keys } else { at.visible(block.row.first_position + query, all_keys) };
    // The first row sees the first key and the last row the last one: both ends of what a query sees move up with its position.
    let first = seen(block.rows.start / group).start / WIDTH * WIDTH;
    let keys = seen((block.rows.end - 1) / group).end.saturating_sub(first);
    let extent = Extent { keys, stride: (keys.next_multiple_of(KEY_BLOCK) | WIDTH), padded: dim.next_multiple_of(WIDTH) };

    let rows = block.rows.len();
    let pattern = scratch.pattern.reserve(rows * extent.stride);
    let width = at.heads.kv_heads * dim;
    if let Work::Attend { k, .. } | Work::Scores { k, .. } = *work {
        block.row.lines(first..first + keys, k, width, &mut scratch.key_lines);
    }
    if let Work::Attend { v, .. } | Work::Mix { v, .. } = *work {
        block.row.lines(first..first + keys, v, width, &mut scratch.value_lines);
    }
    scratch.rows.clear();
    let (mut query, mut head) = (block.rows.start / group, block.rows.start % group);
    for _ in 0..rows {
        let seen = seen(query);
        scratch.rows.push(QueryRow {
            seen: seen.start.saturating_sub(first)..seen.end.saturating_sub(first),
            flat: ((block.row.queries.start + query) * at.heads.heads + block.kv_head * group + head) * dim,
            square: ((block.kv_head * group + head) * queries + query) * all_keys,
        });
        head += 1;
        if head == group {
            (query, head) = (query + 1, 0);
        }
    }

    unsafe {
        if let Work::Attend { q, .. } | Work::Scores { q, .. } = *work {
            score::<V, ROWS, VECTORS>(at, block, extent, q, scratch);
        }
        for (r, row) in scratch.rows.iter_mut().enumerate() {
            let line = pattern.add(r * extent.stride);
            match *work {
                Work::Attend { .. } => softmax::<V>(line, row.seen.clone()),
                Work::Scores { out, .. } => write(line, out.add(row.square), all_keys),
                Work::Pattern { scores } => {
                    let given = std::slice::from_raw_parts_mut(scores.add(row.square), all_keys);
                    let seen = first + row.seen.start..first + row.seen.end;
                    line.add(row.seen.start).copy_from_nonoverlapping(given[seen.clone()].as_ptr(), seen.len());
                    softmax::<V>(line, row.seen.clone());
                    // As in a softmax over all keys: where one score is no number, nothing in the row is.
                    given.fill(if (*line.add(row.seen.start)).is_nan() { f32::NAN } else { 0.0 });
                    given[seen.clone()].as_mut_ptr().copy_from_nonoverlapping(line.add(row.seen.start), seen.len());
                }
                Work::Mix { pattern: given, .. } => {
                    let given = &given[row.square..][..all_keys];
                    let seen = first + row.seen.start..first + row.seen.end;
                    if beyond(given, &seen).is_none() {
                        line.add(row.seen.start).copy_from_nonoverlapping(given[seen.clone()].as_ptr(), seen.len());
                    } else {
                        // Not for tiles: `mix_sparse` does this row.
                        row.seen = 0..0;
                    }
                }
            }
        }
        if let Work::Attend { v, z, .. } | Work::Mix { v, z, .. } = *work {
            mix::<V, ROWS, VECTORS>(at, block, extent, scratch);
            let lines = scratch.z.reserve(0);
            for (r, row) in scratch.rows.iter().enumerate() {
                let line = lines.add(r * extent.padded);
                if let Work::Mix { pattern: given, .. } = *work {
                    let given = &given[row.square..][..all_keys];
                    let seen = at.visible(block.row.first_position + (block.rows.start + r) / group, all_keys);
                    if beyond(given, &seen).is_some() {
                        mix_sparse(at, block, given, &seen, v, std::slice::from_raw_parts_mut(line, dim));
                    }
                }
                write(line, z.add(row.flat), dim);
            }
        }
    }
}

/// The first key outside `visible` whose entry of a pattern row is not zero.
#[inline(always)]
pub(super) fn beyond(pattern: &[f32], visible: &Range<usize>) -> Option<usize> {
    let after = || pattern[visible.end..].iter().position(|p| *p != 0.0).map(|j| visible.end + j);
    pattern[..visible.start].iter().position(|p| *p != 0.0).or_else(after)
}

/// Copies results out, every NaN as the canonical one.
#[inline(always)]
unsafe fn write(from: *const f32, to: *mut f32, count: usize) {
    for i in 0..count {
        unsafe {
            let x = *from.add(i);
            *to.add(i) = if x.is_nan() { f32::NAN } else { x };
        }
    }
}

/// Copies floats, a few lines of them.
#[inline(always)]
unsafe fn copy<V: Lanes>(from: *const f32, to: *mut f32, count: usize) {
    unsafe {
        let whole = count / WIDTH * WIDTH;
        for i in (0..whole).step_by(WIDTH) {
            V::load(from.add(i)).store(to.add(i));
        }
        for i in whole..count {
            *to.add(i) = *from.add(i);
        }
    }
}

/// Scores of the block into `Scratch::pattern`. A row gets those of the keys it sees, others are unspecified.
#[inline(always)]
unsafe fn score<V: Lanes, const ROWS: usize, const VECTORS: usize>(
    at: &Attention,
    block: &Block,
    extent: Extent,
    q: &[f32],
    scratch: &mut Scratch,
) {
    let dim = at.heads.head_dim;
    let pattern = scratch.pattern.reserve(0);
    let packed = scratch.keys.reserve(dim * KEY_BLOCK);
    for start in (0..extent.keys).step_by(KEY_BLOCK) {
        let lines = &scratch.key_lines[start..extent.keys.min(start + KEY_BLOCK)];
        unsafe { pack_keys(lines, block.kv_head * dim, dim, packed) };
        for_tiles!(ROWS, block.rows.len(), |r, N| {
            let (low, high) = (scratch.rows[r].seen.start, scratch.rows[r + N - 1].seen.end);
            if low < start + KEY_BLOCK && high > start {
                unsafe {
                    let rows: [*const f32; N] = std::array::from_fn(|i| q.as_ptr().add(scratch.rows[r + i].flat));
                    let out = pattern.add(r * extent.stride + start);
                    let both = high > start + WIDTH;
                    if VECTORS == KEY_VECTORS && both {
                        score_tile::<V, N, KEY_VECTORS>(rows, packed, dim, at.scale, out, extent.stride);
                    } else {
                        score_tile::<V, N, 1>(rows, packed, dim, at.scale, out, extent.stride);
                        if both {
                            score_tile::<V, N, 1>(rows, packed.add(WIDTH), dim, at.scale, out.add(WIDTH), extent.stride);
                        }
                    }
                }
            }
        });
    }
}

/// `N` queries against `P` vectors of transposed keys.
#[inline(always)]
unsafe fn score_tile<V: Lanes, const N: usize, const P: usize>(
    q: [*const f32; N],
    keys: *const f32,
    dim: usize,
    scale: f32,
    out: *mut f32,
    stride: usize,
) {
    unsafe {
        let mut sum = [[V::splat(0.0); P]; N];
        for d in 0..dim {
            let mut key = [V::splat(0.0); P];
            for p in 0..P {
                key[p] = V::load(keys.add(d * KEY_BLOCK + p * WIDTH));
            }
            for n in 0..N {
                let query = V::splat(*q[n].add(d));
                for p in 0..P {
                    sum[n][p] = query.fma(key[p], sum[n][p]);
                }
            }
        }
        let scale = V::splat(scale);
        for n in 0..N {
            for p in 0..P {
                sum[n][p].mul(scale).store(out.add(n * stride + p * WIDTH));
            }
        }
    }
}

/// Transposes the keys at `offset` of some lines (at most `KEY_BLOCK`) to [dimension][KEY_BLOCK]. Missing lanes repeat the last key.
#[inline(always)]
unsafe fn pack_keys(lines: &[*const f32], offset: usize, dim: usize, packed: *mut f32) {
    let last = lines[lines.len() - 1];
    for lane in (0..lines.len()).step_by(4) {
        unsafe {
            let from: [*const f32; 4] = std::array::from_fn(|i| lines.get(lane + i).unwrap_or(&last).add(offset));
            let mut d = 0;
            while d + 4 <= dim {
                transpose(from.map(|key| key.add(d)), packed.add(d * KEY_BLOCK + lane));
                d += 4;
            }
            while d < dim {
                for i in 0..4 {
                    *packed.add(d * KEY_BLOCK + lane + i) = *from[i].add(d);
                }
                d += 1;
            }
        }
    }
}

/// Four floats from each of four keys, to the same four lanes of four dimensions.
#[inline(always)]
unsafe fn transpose(from: [*const f32; 4], to: *mut f32) {
    unsafe {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::*;
            let mut x = from.map(|from| _mm_loadu_ps(from));
            let [a, b, c, d] = &mut x;
            _MM_TRANSPOSE4_PS(a, b, c, d);
            for i in 0..4 {
                _mm_storeu_ps(to.add(i * KEY_BLOCK), x[i]);
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let x = from.map(|from| from.cast::<[f32; 4]>().read_unaligned());
            for i in 0..4 {
                to.add(i * KEY_BLOCK).cast::<[f32; 4]>().write_unaligned([x[0][i], x[1][i], x[2][i], x[3][i]]);
            }
        }
    }
}

/// Softmax of keys `seen` of one row, in place. The row starts at a multiple of the lanes and is padded to one; what surrounds the keys is
/// overwritten. NaN anywhere in it, +inf anywhere, or -inf everywhere make the whole row NaN, as PyTorch's arithmetic does.
#[inline(always)]
unsafe fn softmax<V: Lanes>(row: *mut f32, seen: Range<usize>) {
    if seen.is_empty() {
        return;
    }
    let (start, end) = (seen.start / WIDTH * WIDTH, seen.end.next_multiple_of(WIDTH));
    unsafe {
        // Around the keys -inf: its exponential is zero, and it is a maximum only if all keys are -inf too.
        for edge in [start, end - WIDTH] {
            let line = row.add(edge);
            let to = (seen.end - edge).min(WIDTH);
            V::load(line).within(seen.start.saturating_sub(edge), to, f32::NEG_INFINITY).store(line);
        }
        // The maximum is exact in any order. If a NaN is lost here, its own exponential brings it back.
        let mut most = [V::load(row.add(start)); 4];
        let mut j = start;
        while j + 4 * WIDTH <= end {
            for i in 0..4 {
                most[i] = most[i].max(V::load(row.add(j + i * WIDTH)));
            }
            j += 4 * WIDTH;
        }
        while j < end {
            most[0] = most[0].max(V::load(row.add(j)));
            j += WIDTH;
        }
        let most = V::splat(most[0].max(most[1]).max(most[2].max(most[3])).most());

        let mut sum = V::splat(0.0);
        for j in (start..end).step_by(WIDTH) {
            let e = V::load(row.add(j)).sub(most).exp();
            e.store(row.add(j));
            sum = sum.add(e);
        }
        let sum = sum.total();
        if sum.is_nan() {
            std::slice::from_raw_parts_mut(row.add(seen.start), seen.len()).fill(f32::NAN);
            return;
        }
        let reciprocal = V::splat(1.0 / sum);
        for j in (start..end).step_by(WIDTH) {
            V::load(row.add(j)).mul(reciprocal).store(row.add(j));
        }
    }
}

/// z of the block into `Scratch::z`, from `Scratch::pattern` and the keys that each row sees.
#[inline(always)]
unsafe fn mix<V: Lanes, const ROWS: usize, const VECTORS: usize>(at: &Attention, block: &Block, extent: Extent, scratch: &mut Scratch) {
    let dim = at.heads.head_dim;
    let pattern = scratch.pattern.reserve(0);
    let z = scratch.z.reserve(block.rows.len() * extent.padded);
    let many = (VALUE_BLOCK / extent.padded).max(WIDTH);
    let packed = scratch.values.reserve(many * extent.padded);
    unsafe {
        z.write_bytes(0, block.rows.len() * extent.padded);
        for start in (0..extent.keys).step_by(many) {
            let lines = &scratch.value_lines[start..extent.keys.min(start + many)];
            for (j, line) in lines.iter().enumerate() {
                // The padding keeps older floats: lanes that nobody reads.
                let from = line.add(block.kv_head * dim);
                copy::<V>(from, packed.add(j * extent.padded), dim);
            }
            for_tiles!(ROWS, block.rows.len(), |r, N| {
                let tile = MixTile::<N>::new(std::array::from_fn(|i| {
                    let Range { start: low, end: high } = scratch.rows[r + i].seen;
                    let clip = |key: usize| key.clamp(start, start + lines.len()) - start;
                    (pattern.add((r + i) * extent.stride + start).cast_const(), clip(low)..clip(high))
                }));
                for column in (0..extent.padded).step_by(VECTORS * WIDTH) {
                    let (values, z) = (packed.add(column), z.add(r * extent.padded + column));
                    if VECTORS == 2 && column + WIDTH < extent.padded {
                        tile.run::<V, 2>(values, z, extent.padded);
                    } else {
                        tile.run::<V, 1>(values, z, extent.padded);
                    }
                }
            });
        }
    }
}

/// `N` rows of z against one packed block of values.
struct MixTile<const N: usize> {
    /// The weights of each row, from the first key of the block.
    weights: [*const f32; N],
    /// The keys of the block that each row sees.
    seen: [Range<usize>; N],
    /// The keys that all rows see, if there are any. A masked key must not even be multiplied by zero: 0 * inf is NaN.
    shared: Range<usize>,
}

impl<const N: usize> MixTile<N> {
    #[inline(always)]
    fn new(rows: [(*const f32, Range<usize>); N]) -> Self {
        let weights = std::array::from_fn(|n| rows[n].0);
        let seen = rows.map(|row| row.1);
        let start = seen.iter().fold(0, |start, seen| start.max(seen.start));
        let end = seen.iter().fold(usize::MAX, |end, seen| end.min(seen.end));
        MixTile { weights, seen, shared: start..end.max(start) }
    }

    /// Continues the sums of `P` vectors of dimensions over the keys: each row's keys before the shared ones, the shared ones, each row's
    /// later ones.
    #[inline(always)]
    unsafe fn run<V: Lanes, const P: usize>(&self, values: *const f32, z: *mut f32, padded: usize) {
        unsafe {
            let mut sum = [[V::splat(0.0); P]; N];
            for n in 0..N {
                for p in 0..P {
                    sum[n][p] = V::load(z.add(n * padded + p * WIDTH));
                }
            }
            for n in 0..N {
                for j in self.seen[n].start..self.seen[n].end.min(self.shared.start) {
                    let weight = V::splat(*self.weights[n].add(j));
                    for p in 0..P {
                        sum[n][p] = weight.fma(V::load(values.add(j * padded + p * WIDTH)), sum[n][p]);
                    }
                }
            }
            for j in self.shared.clone() {
                let mut value = [V::splat(0.0); P];
                for p in 0..P {
                    value[p] = V::load(values.add(j * padded + p * WIDTH));
                }
                for n in 0..N {
                    let weight = V::splat(*self.weights[n].add(j));
                    for p in 0..P {
                        sum[n][p] = weight.fma(value[p], sum[n][p]);
                    }
                }
            }
            for n in 0..N {
                for j in self.seen[n].start.max(self.shared.end)..self.seen[n].end {
                    let weight = V::splat(*self.weights[n].add(j));
                    for p in 0..P {
                        sum[n][p] = weight.fma(V::load(values.add(j * padded + p * WIDTH)), sum[n][p]);
                    }
                }
            }
            for n in 0..N {
                for p in 0..P {
                    sum[n][p].store(z.add(n * padded + p * WIDTH));
                }
            }
        }
    }
}

/// z of one row whose written pattern is not zero at some masked key: all visible keys, and the masked ones that are not zero.
#[inline(always)]
fn mix_sparse(at: &Attention, block: &Block, pattern: &[f32], seen: &Range<usize>, v: Buffers<'_>, z: &mut [f32]) {
    let dim = at.heads.head_dim;
    z.fill(0.0);
    let mut lines = vec![];
    block.row.lines(0..pattern.len(), v, at.heads.kv_heads * dim, &mut lines);
    for (j, line) in lines.into_iter().enumerate() {
        if seen.contains(&j) || pattern[j] != 0.0 {
            // SAFETY: a line has the floats of all key heads.
            let value = unsafe { std::slice::from_raw_parts(line.add(block.kv_head * dim), dim) };
            for (z, v) in z.iter_mut().zip(value) {
                *z = pattern[j].mul_add(*v, *z);
            }
        }
    }
}
