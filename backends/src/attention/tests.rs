use super::lanes::{Lanes, Portable, WIDTH};
use super::*;
use irc_ir::model::RotaryShape;

/// A small seeded generator (splitmix64): no platform can disagree about its numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    /// Uniform in -2..2.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 22) as f32 - 2.0
    }
    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// Rows in one flat batch, with tokens between them that nobody reads.
struct Case {
    at: Attention,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    rows: Vec<Row>,
}

impl Case {
    /// Rows of (queries, past): the pasts are ranges of one shared prefix.
    fn new(heads: [usize; 3], rows: &[(usize, usize)], random: &mut Random) -> Self {
        let [heads, kv_heads, head_dim] = heads;
        let heads = Heads { heads, kv_heads, head_dim };
        let prefix = rows.iter().map(|row| row.1).max().unwrap_or(0);
        let mut token = prefix;
        let rows = rows.iter().map(|&(queries, past)| {
            let own = token + 1..token + 1 + queries;
            token = own.end;
            Row { queries: own.clone(), first_position: past, keys: vec![0..past, own] }
        });
        let rows = rows.collect();
        let tokens = token + 1;
        let q = random.floats(tokens * heads.heads * head_dim);
        let [k, v] = std::array::from_fn(|_| random.floats(tokens * kv_heads * head_dim));
        Case { at: Attention::new(heads, 1.0 / (head_dim as f32).sqrt()), q, k, v, rows }
    }

    /// A case of random shape and options.
    fn random(random: &mut Random) -> Self {
        let kv_heads = 1 + random.below(3);
        let head_dim = [1, 3, 8, 16, 20, 33, 64, 80][random.below(8)];
        let longest = [3, 9, 40][random.below(3)];
        let rows: Vec<_> = (0..1 + random.below(4)).map(|_| (random.below(longest), random.below(longest))).collect();
        let mut case = Case::new([kv_heads * (1 + random.below(4)), kv_heads, head_dim], &rows, random);
        case.at = case.at.with_causal(random.below(4) > 0).with_window([None, Some(1), Some(5), Some(17)][random.below(4)]);
        case
    }

    fn attend(&self) -> Vec<f32> {
        let mut z = vec![0.25; self.q.len()];
        self.at.attend(&self.q, &[&self.k], &[&self.v], &self.rows, &mut z).unwrap();
        z
    }

    fn scores(&self, row: &Row) -> Vec<f32> {
        let mut scores = vec![9.0; self.at.heads.heads * row.queries.len() * row.key_count()];
        self.at.scores(&self.q, &[&self.k], row, &mut scores).unwrap();
        scores
    }

    fn pattern(&self, row: &Row) -> Vec<f32> {
        let mut pattern = self.scores(row);
        self.at.pattern(row, &mut pattern).unwrap();
        pattern
    }

    /// z of the row's queries from a pattern.
    fn mix(&self, row: &Row, pattern: &[f32]) -> Vec<f32> {
        let mut z = vec![0.25; self.q.len()];
        self.at.mix(pattern, &[&self.v], row, &mut z).unwrap();
        self.of_row(row, &z)
    }

    fn of_row(&self, row: &Row, z: &[f32]) -> Vec<f32> {
        let width = self.at.heads.heads * self.at.heads.head_dim;
        z[row.queries.start * width..row.queries.end * width].to_vec()
    }
}

/// Equality of bits: NaN equals NaN, +0 does not equal -0.
fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn agrees_with_plain_loops_in_f64() {
    let mut random = Random(1);
    let mut long = Case::new([3, 1, 64], &[(130, 140)], &mut random);
    long.at.window = Some(200);
    for case in (0..60).map(|_| Case::random(&mut random)).chain([long]).collect::<Vec<_>>() {
        let Heads { heads, kv_heads, head_dim } = case.at.heads;
        let z = case.attend();
        let mut expected = vec![0.25f64; z.len()];
        for row in &case.rows {
            let keys: Vec<usize> = row.keys.iter().cloned().flatten().collect();
            let (scores, pattern) = (case.scores(row), case.pattern(row));
            for (head, query) in (0..heads).flat_map(|head| (0..row.queries.len()).map(move |query| (head, query))) {
                let q = &case.q[((row.queries.start + query) * heads + head) * head_dim..][..head_dim];
                let kv = |x: &[f32], key: usize, d: usize| f64::from(x[(keys[key] * kv_heads + head / (heads / kv_heads)) * head_dim + d]);
                let position = row.first_position + query;
                let start = case.at.window.map_or(0, |window| (position + 1).saturating_sub(window)).min(keys.len());
                let seen = start..if case.at.causal { position + 1 } else { keys.len() };
                let line = (head * row.queries.len() + query) * keys.len();
                let score = |key| (0..head_dim).map(|d| f64::from(q[d]) * kv(&case.k, key, d)).sum::<f64>() * f64::from(case.at.scale);
                let exact: Vec<f64> = (0..keys.len()).map(score).collect();
                let most = exact[seen.clone()].iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = exact[seen.clone()].iter().map(|score| (score - most).exp()).sum();
                let weight: Vec<f64> = exact.iter().map(|score| (score - most).exp() / sum).collect();
                for key in 0..keys.len() {
                    assert!((f64::from(scores[line + key]) - exact[key]).abs() < 3e-6, "score of {key}");
                    if seen.contains(&key) {
                        // An error of a score is an error of its exponential relative to itself.
                        let error = (f64::from(pattern[line + key]) - weight[key]).abs();
                        assert!(error <= 6e-6 * weight[key], "weight {} of {key} should be {}", pattern[line + key], weight[key]);
                    } else {
                        assert_eq!(pattern[line + key].to_bits(), 0);
                    }
                }
                for d in 0..head_dim {
                    let at = ((row.queries.start + query) * heads + head) * head_dim + d;
                    expected[at] = seen.clone().map(|key| weight[key] * kv(&case.v, key, d)).sum();
                }
            }
        }
        for (z, expected) in z.iter().zip(&expected) {
            // Weights add up to 1 and values are below 2, so absolute is relative to the values.
            assert!((f64::from(*z) - expected).abs() < 6e-6, "{z} should be {expected}");
        }
    }
}

#[test]
fn three_steps_are_one() {
    let mut random = Random(2);
    for _ in 0..60 {
        let case = Case::random(&mut random);
        let z = case.attend();
        for row in &case.rows {
            let pattern = case.pattern(row);
            assert_eq!(case.at.beyond_mask(row, &pattern), Ok(None));
            assert_eq!(bits(&case.mix(row, &pattern)), bits(&case.of_row(row, &z)));
        }
    }
}

#[test]
fn a_query_is_itself_whatever_the_batch() {
    let mut random = Random(3);
    for _ in 0..40 {
        let case = Case::random(&mut random);
        let z = case.attend();
        for row in &case.rows {
            // Alone, with its keys moved to another buffer, in reverse order of ranges of random lengths.
            let width = case.at.heads.kv_heads * case.at.heads.head_dim;
            let keys: Vec<usize> = row.keys.iter().cloned().flatten().collect();
            let mut alone =
                Case { at: case.at.clone(), q: case.q.clone(), k: vec![f32::NAN; width], v: vec![f32::NAN; width], rows: vec![] };
            let mut ranges = vec![];
            let mut end = keys.len();
            while end > 0 {
                let start = end - 1 - random.below(end.min(9));
                let first = alone.k.len() / width;
                for key in &keys[start..end] {
                    alone.k.extend(&case.k[key * width..][..width]);
                    alone.v.extend(&case.v[key * width..][..width]);
                }
                ranges.insert(0, first..first + end - start);
                end = start;
            }
            alone.rows = vec![Row { keys: ranges, ..row.clone() }];
            assert_eq!(bits(&alone.of_row(row, &alone.attend())), bits(&case.of_row(row, &z)));
            assert_eq!(bits(&alone.scores(&alone.rows[0])), bits(&case.scores(row)));
            // Query by query; nothing depends on later keys in a causal row, so they can go.
            for query in 0..row.queries.len() {
                let position = row.first_position + query;
                let token = row.queries.start + query;
                let mut one = Row { queries: token..token + 1, first_position: position, ..alone.rows[0].clone() };
                if case.at.causal {
                    let mut left = position + 1;
                    for range in &mut one.keys {
                        range.end = range.end.min(range.start + left);
                        left -= range.len();
                    }
                }
                let single =
                    Case { at: case.at.clone(), q: case.q.clone(), k: alone.k.clone(), v: alone.v.clone(), rows: vec![one.clone()] };
                assert_eq!(bits(&single.of_row(&one, &single.attend())), bits(&case.of_row(&one, &z)));
            }
        }
    }
}

#[test]
fn every_path_and_thread_count_gives_the_same_bits() {
    let mut random = Random(4);
    // The second is above the serial limit, has several blocks of rows, keys and values, and a window that starts inside them.
    let mut cases = vec![Case::new([6, 2, 33], &[(21, 3), (1, 40), (0, 0), (9, 0)], &mut random)];
    cases.push(Case::new([9, 3, 64], &[(120, 0), (8, 100), (1, 131)], &mut random));
    cases[1].at.window = Some(90);
    for case in &mut cases {
        let run = |case: &Case| (bits(&case.attend()), bits(&case.pattern(&case.rows[0])));
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        case.at.path = Path::available().next().unwrap();
        let expected = run(case);
        for threads in [1, 2, 5] {
            assert_eq!(pool(threads).install(|| run(case)), expected, "{threads} threads");
        }
        for path in Path::available() {
            case.at.path = path;
            assert_eq!(run(case), expected, "{path:?}");
        }
    }
}

#[test]
fn the_bits_are_these_on_every_machine() {
    let case = Case::new([6, 2, 40], &[(19, 0), (3, 17)], &mut Random(5));
    let hash = bits(&case.attend()).iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, x| (hash ^ u64::from(*x)).wrapping_mul(0x100_0000_01b3));
    assert_eq!(hash, 0xe14_6d13_ea7b_0802, "{hash:#x}");
}

#[test]
fn masked_keys_are_not_there_and_visible_ones_follow_ieee() {
    let mut random = Random(6);
    let mut case = Case::new([2, 1, 16], &[(20, 0)], &mut random);
    let row = case.rows[0].clone();
    let clean = case.attend();
    let at = |token: usize| (row.queries.start + token) * 16;
    (case.k[at(12)], case.v[at(13)], case.v[at(15) + 1]) = (f32::NAN, f32::NEG_INFINITY, f32::NAN);
    let z = case.attend();
    // Earlier tokens do not notice.
    assert_eq!(bits(&z[..2 * at(12)]), bits(&clean[..2 * at(12)]));
    // A NaN score makes the whole row NaN, the canonical one.
    assert!(z[2 * at(12)..2 * at(20)].iter().all(|z| z.to_bits() == f32::NAN.to_bits()));
    let pattern = case.pattern(&row);
    assert_eq!(bits(&case.mix(&row, &pattern)), bits(&case.of_row(&row, &z)));

    (case.k[at(12)], case.k[at(13)]) = (0.5, 0.5);
    let z = case.attend();
    let line = |token: usize| &z[2 * at(token)..][..16];
    assert!(line(12).iter().all(|z| z.is_finite()));
    assert!(line(13)[0] == f32::NEG_INFINITY && line(13)[1].is_finite());
    assert!(line(15)[0] == f32::NEG_INFINITY && line(15)[1].is_nan() && line(15)[2].is_finite());

    // Infinite scores.
    let mut scores = case.scores(&row);
    let of = |query: usize, key: usize| query * 20 + key;
    scores[of(3, 1)] = f32::INFINITY;
    scores[of(4, 5)] = f32::INFINITY; // hidden
    scores[of(4, 9)] = f32::NAN; // hidden
    scores[of(5, 0)] = f32::NEG_INFINITY;
    scores[of(6, 0)..=of(6, 6)].fill(f32::NEG_INFINITY);
    case.at.pattern(&row, &mut scores).unwrap();
    let line = |query: usize| &scores[of(query, 0)..][..20];
    assert!(line(3).iter().all(|p| p.is_nan()));
    assert_eq!(bits(line(4)), bits(&case.pattern(&row)[of(4, 0)..][..20]));
    assert!(line(5)[0] == 0.0 && (line(5)[1..6].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    assert!(line(6).iter().all(|p| p.is_nan()));
}

#[test]
fn written_patterns_count_as_they_are() {
    let mut random = Random(7);
    let mut case = Case::new([2, 1, 20], &[(6, 2)], &mut random);
    case.at.window = Some(4);
    let row = case.rows[0].clone();
    let mut pattern = random.floats(2 * 6 * 8);
    // Head 1, query 3 (position 5, sees 2..=5) looks ahead and behind the window; the others keep zeros where the mask is.
    let at = |head: usize, query: usize, key: usize| (head * 6 + query) * 8 + key;
    for (head, query, key) in (0..2).flat_map(|h| (0..6).flat_map(move |q| (0..8).map(move |k| (h, q, k)))) {
        let seen = case.at.visible(2 + query, 8).contains(&key);
        if !seen && (head, query) != (1, 3) {
            pattern[at(head, query, key)] = if key % 2 == 0 { 0.0 } else { -0.0 };
        }
    }
    pattern[at(1, 3, 0)] = 0.0;
    assert_eq!(case.at.beyond_mask(&row, &pattern), Ok(Some([1, 3, 1])));
    // Masked zeros hide what is there; the written ones do not.
    for d in 0..20 {
        case.v[d] = f32::NAN; // key 0, visible to positions 0..=3: queries 0 and 1
    }
    let z = case.mix(&row, &pattern);
    for (query, head) in (2..6).flat_map(|query| [(query, 0), (query, 1)]) {
        for d in 0..20 {
            let tokens: Vec<usize> = row.keys.iter().cloned().flatten().collect();
            let sum: f64 = (1..8).map(|key| f64::from(pattern[at(head, query, key)]) * f64::from(case.v[tokens[key] * 20 + d])).sum();
            assert!((f64::from(z[(query * 2 + head) * 20 + d]) - sum).abs() < 1e-5);
        }
    }
    assert!(z[..4 * 20].iter().all(|z| z.is_nan()));
}

#[test]
fn a_query_without_keys_is_zero() {
    let mut random = Random(8);
    let mut case = Case::new([2, 2, 8], &[(3, 0)], &mut random);
    case.at = case.at.with_window(Some(0));
    assert!(bits(&case.of_row(&case.rows[0], &case.attend())).iter().all(|z| *z == 0));
    case.at = case.at.with_window(None).with_causal(false);
    case.rows[0].keys.clear();
    assert!(bits(&case.of_row(&case.rows[0], &case.attend())).iter().all(|z| *z == 0));
    assert_eq!(case.at.beyond_mask(&case.rows[0], &[]), Ok(None));
    assert_eq!(case.at.attend(&[], &[], &[], &[], &mut []), Ok(()));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let good = Case::new([4, 2, 8], &[(3, 0), (2, 1)], &mut Random(9));
    let attend = |change: &dyn Fn(&mut Case)| {
        let mut case = Case { at: good.at.clone(), q: good.q.clone(), k: good.k.clone(), v: good.v.clone(), rows: good.rows.clone() };
        change(&mut case);
        let mut z = vec![0.0; good.q.len()];
        case.at.attend(&case.q, &[&case.k], &[&case.v], &case.rows, &mut z)
    };
    assert_eq!(attend(&|_| ()), Ok(()));
    assert!(matches!(attend(&|case| case.at.heads.kv_heads = 3), Err(AttentionError::Heads(_))));
    assert!(matches!(attend(&|case| case.at.heads.head_dim = 0), Err(AttentionError::Heads(_))));
    assert!(matches!(attend(&|case| case.q.truncate(40)), Err(AttentionError::Length { buffer: "q", .. })));
    assert!(matches!(attend(&|case| case.v.truncate(16)), Err(AttentionError::Length { buffer: "v", .. })));
    assert!(matches!(attend(&|case| case.q.truncate(32)), Err(AttentionError::Length { buffer: "z", .. })));
    assert!(matches!(attend(&|case| case.rows[1].queries.end += 9), Err(AttentionError::Range { row: 1, .. })));
    assert!(matches!(attend(&|case| case.rows[1].keys[1].end += 9), Err(AttentionError::Range { row: 1, .. })));
    assert!(matches!(attend(&|case| case.rows[1].first_position += 1), Err(AttentionError::Keys { row: 1, keys: 3, needed: 4 })));
    assert!(matches!(attend(&|case| case.rows[1].first_position = usize::MAX), Err(AttentionError::Keys { row: 1, .. })));
    assert_eq!(attend(&|case| case.rows.reverse()), Ok(()));
    let overlap = attend(&|case| case.rows[1].queries = case.rows[0].queries.start + 2..case.rows[0].queries.start + 4);
    assert_eq!(overlap, Err(AttentionError::Overlap { token: good.rows[0].queries.start + 2 }));
    let short = good.at.pattern(&good.rows[0], &mut [0.0; 3]);
    assert_eq!(short, Err(AttentionError::Length { buffer: "scores", len: 3, expected: 4 * 3 * 3 }));
}

#[test]
fn the_exponential_is_within_about_one_ulp() {
    let exp = |x: f32| unsafe {
        let mut lanes = [0.0; WIDTH];
        Portable::splat(x).exp().store(lanes.as_mut_ptr());
        lanes[3]
    };
    let mut worst = 0.0f64;
    for step in 0..20_000 {
        let x = -87.33 * (step as f32 / 20_000.0).powi(2);
        let exact = f64::from(x).exp();
        let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
        worst = worst.max((f64::from(exp(x)) - exact).abs() / ulp);
    }
    assert!(worst < 1.02, "{worst}");
    assert_eq!([exp(0.0), exp(-0.0), exp(-87.4), exp(-1e30), exp(f32::NEG_INFINITY)], [1.0, 1.0, 0.0, 0.0, 0.0]);
    assert!(exp(f32::NAN).is_nan() && exp(-87.336_54) >= f32::MIN_POSITIVE);
}

#[test]
fn rotary_is_hugging_faces() {
    let (heads, head_dim, rotary_dim) = (3, 20, 12);
    let rotary = Rotary::new(RotaryShape::new(10_000.0, rotary_dim).inverse_frequencies.to_vec(), 1.0);
    let mut random = Random(10);
    let positions = [0, 1, 7, 100, 2047, 3, 9000, 2_000_000_000];
    let x = random.floats(positions.len() * heads * head_dim);
    let mut rotated = x.clone();
    rotary.rotate(&mut rotated, heads, head_dim, &positions).unwrap();
    for (t, position) in positions.iter().enumerate() {
        for head in 0..heads {
            let at = (t * heads + head) * head_dim;
            for d in 0..head_dim {
                let expected = if d < rotary_dim {
                    let exponent = (2 * (d % 6)) as f32 / 12.0;
                    let inv_freq = 1.0 / (10_000f64.powf(f64::from(exponent)) as f32);
                    let angle = f64::from(*position as f32 * inv_freq);
                    let half = if d < 6 { -x[at + d + 6] } else { x[at + d - 6] };
                    x[at + d] * (angle.cos() as f32) + half * (angle.sin() as f32)
                } else {
                    x[at + d]
                };
                assert_eq!(rotated[at + d].to_bits(), expected.to_bits());
            }
        }
    }
    // The table grew meanwhile, or not; on several threads, or not.
    for positions in [vec![100u32; 1], vec![100; 3000]] {
        let mut again = x[3 * heads * head_dim..][..heads * head_dim].repeat(positions.len());
        rotary.rotate(&mut again, heads, head_dim, &positions).unwrap();
        assert!(again.chunks(60).all(|token| bits(token) == bits(&rotated[180..240])));
    }
    assert!(matches!(rotary.rotate(&mut [0.0; 8], 1, 8, &[0]), Err(AttentionError::RotaryDim { rotary_dim: 12, head_dim: 8 })));
    assert!(matches!(rotary.rotate(&mut [0.0; 8], 1, 12, &[0]), Err(AttentionError::Length { .. })));
    let scaled = Rotary::new(vec![0.5, 0.25], 1.5);
    let mut x = [1.0, 0.0, 0.0, 2.0];
    scaled.rotate(&mut x, 1, 4, &[2]).unwrap();
    assert_eq!(x[0], 1.0f64.cos() as f32 * 1.5);
    assert_eq!(x[1], -2.0 * (0.5f64.sin() as f32 * 1.5));
}

#[test]
fn a_cancel_ends_it_between_blocks() {
    let case = Case::new([4, 2, 16], &[(40, 3), (5, 0)], &mut Random(12));
    let whole = case.attend();
    let cancel = Cancel::new();
    let at = case.at.clone().with_cancel(&cancel);
    let attend = || {
        let mut z = vec![0.25; case.q.len()];
        (at.attend(&case.q, &[&case.k], &[&case.v], &case.rows, &mut z), z)
    };
    assert_eq!(attend(), (Ok(()), whole));
    cancel.cancel();
    assert_eq!(attend(), (Err(AttentionError::Cancelled), vec![0.25; case.q.len()]));
}
