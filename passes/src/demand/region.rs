//! Regions of tensors: a range of each dimension, and the few of them that somebody needs of a value.

use smallvec::SmallVec;

/// A range of a dimension.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    /// All of a dimension.
    pub(super) fn all(size: usize) -> Span {
        Span { start: 0, end: size }
    }

    pub(super) fn size(self) -> usize {
        self.end - self.start
    }

    fn hull(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    pub(super) fn holds(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// What both have in common, if that is anything.
    pub(super) fn common(self, other: Span) -> Option<Span> {
        let common = Span { start: self.start.max(other.start), end: self.end.min(other.end) };
        (common.start < common.end).then_some(common)
    }

    /// The same range, counted from the start of another one.
    pub(super) fn from(self, start: usize) -> Span {
        Span { start: self.start - start, end: self.end - start }
    }
}

/// A range of each dimension, none of them empty.
pub(super) type Region = SmallVec<[Span; 4]>;

/// All of a tensor.
pub(super) fn whole(sizes: &[usize]) -> Region {
    sizes.iter().map(|size| Span::all(*size)).collect()
}

/// Whether one region has all of another one.
pub(super) fn holds(outer: &[Span], inner: &[Span]) -> bool {
    outer.len() == inner.len() && outer.iter().zip(inner).all(|(outer, inner)| outer.holds(*inner))
}

fn hull(a: &[Span], b: &[Span]) -> Region {
    a.iter().zip(b).map(|(a, b)| a.hull(*b)).collect()
}

fn volume(region: &[Span]) -> f64 {
    region.iter().map(|span| span.size() as f64).product()
}

/// How many regions of one value are built at most.
const MOST: usize = 4;

/// What is needed of a value.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) enum Need {
    /// Nothing.
    #[default]
    Nothing,
    /// These regions of it: few, and far from each other.
    Regions(SmallVec<[Region; 1]>),
    /// All of it.
    Whole,
}

impl Need {
    /// Adds a region. Two become the smallest one around both, unless that is more than twice as large as they are.
    pub(super) fn add(&mut self, region: Region) {
        let regions = match self {
            Need::Whole => return,
            Need::Nothing => {
                *self = Need::Regions(SmallVec::from_iter([region]));
                return;
            }
            Need::Regions(regions) => regions,
        };
        if regions.iter().any(|own| holds(own, &region)) {
            return;
        }
        regions.push(region);
        while let Some((a, b)) = nearest(regions) {
            let both = hull(&regions[a], &regions[b]);
            regions.remove(b);
            regions.remove(a);
            regions.retain(|own| !holds(&both, own));
            regions.push(both);
        }
        regions.sort();
    }
}

/// The first two regions that are to be one: that are near each other, or, where there are too many, the nearest.
fn nearest(regions: &[Region]) -> Option<(usize, usize)> {
    let pairs = (0..regions.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
    // How many times larger than both the region around them is.
    let waste = |(a, b): &(usize, usize)| volume(&hull(&regions[*a], &regions[*b])) / (volume(&regions[*a]) + volume(&regions[*b]));
    let best = pairs.map(|pair| (waste(&pair), pair)).min_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 <= 2.0 || regions.len() > MOST).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: usize, end: usize) -> Region {
        SmallVec::from_iter([Span { start, end }])
    }

    #[test]
    fn near_regions_are_one_and_far_ones_are_not() {
        let regions = |parts: &[(usize, usize)]| {
            let mut need = Need::default();
            parts.iter().for_each(|(start, end)| need.add(span(*start, *end)));
            let Need::Regions(regions) = need else { panic!("{need:?}") };
            regions.iter().map(|region| (region[0].start, region[0].end)).collect::<Vec<_>>()
        };
        assert_eq!(regions(&[(0, 1), (8, 9)]), [(0, 1), (8, 9)]);
        assert_eq!(regions(&[(0, 1), (3, 4)]), [(0, 4)]);
        assert_eq!(regions(&[(0, 4), (1, 2)]), [(0, 4)]);
        // The last closes the gap.
        assert_eq!(regions(&[(0, 2), (8, 10), (3, 7)]), [(0, 10)]);
        let far: Vec<(usize, usize)> = (0..9).map(|at| (at * 100, at * 100 + 1)).collect();
        let few = regions(&far);
        assert!(few.len() <= MOST && far.iter().all(|one| few.iter().any(|own| own.0 <= one.0 && one.1 <= own.1)), "{few:?}");
    }
}
