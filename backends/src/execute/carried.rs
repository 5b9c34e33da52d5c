//! Forwards that go into loops, around in them, and out of them: what is kept of each.
//!
//! Keys and values stay where they are. They are pages of some tokens each that forwards share: one that goes on from another
//! appends to the last page if nobody else looks at it, and otherwise copies that one page.

use std::{collections::HashMap, sync::Arc};

use irc_ir::{graph::NodeId, tensor::Tensor};

/// Tokens of a page.
const PAGE: usize = 64;

/// A forward without its model's other values.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    /// The number of sequences.
    pub(super) batch: usize,
    /// The number of its own positions.
    pub(super) length: usize,
    /// The number of positions before them.
    pub(super) past: usize,
    /// Its token ids, [batch, length].
    pub(super) tokens: Tensor,
    /// Values of the model: [batch * length, …], those of scores and pattern [batch, heads, length, past + length].
    pub(super) nodes: HashMap<NodeId, Tensor>,
    /// Of each attention stage, keys and values at all positions, where it can be extended.
    pub(super) cache: HashMap<usize, KeyCache>,
}

impl Carried {
    /// Its sizes in the order in which its type has them.
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.batch, self.length, self.past]
    }
}

/// Keys and values of an attention stage that come after those that are there.
pub(super) struct Keys {
    /// Floats of a token.
    pub(super) width: usize,
    /// The tokens of a sequence that are there.
    pub(super) start: usize,
    /// Keys (0), after rotary, and values (1), flat, one after the other.
    pub(super) parts: [Vec<Tensor>; 2],
}

/// Keys (0), after rotary, and values (1) of an attention stage: of each sequence its pages.
#[derive(Clone, Debug)]
pub(super) struct KeyCache {
    /// Floats of a token.
    width: usize,
    pages: [Vec<Pages>; 2],
}

impl KeyCache {
    /// Of so many sequences, nothing yet.
    pub(super) fn new(batch: usize, width: usize) -> KeyCache {
        KeyCache { width, pages: [vec![Pages::default(); batch], vec![Pages::default(); batch]] }
    }

    /// Only the first tokens of each sequence.
    pub(super) fn truncate(&mut self, tokens: usize) {
        self.pages.iter_mut().flatten().for_each(|pages| pages.truncate(tokens * self.width));
    }

    /// Keys (0) or values (1) of all sequences, one after the other.
    pub(super) fn buffers(&self, which: usize) -> impl Iterator<Item = &[f32]> {
        self.pages[which].iter().flat_map(|pages| pages.0.iter().map(|page| page.as_slice()))
    }

    /// Appends tokens of a flat tensor [batch * tokens, width], sequence by sequence.
    pub(super) fn append(&mut self, which: usize, tokens: &[f32]) {
        let (sequences, width) = (&mut self.pages[which], self.width);
        let each = tokens.len() / sequences.len().max(1);
        for (pages, tokens) in sequences.iter_mut().zip(tokens.chunks_exact(each.max(1))) {
            pages.append(tokens, width);
        }
    }
}

/// Floats of tokens: all pages but the last are full.
#[derive(Clone, Default, Debug)]
pub(super) struct Pages(Vec<Arc<Vec<f32>>>);

impl Pages {
    fn append(&mut self, mut floats: &[f32], width: usize) {
        let full = PAGE * width;
        while !floats.is_empty() {
            if self.0.last().is_none_or(|last| last.len() >= full) {
                self.0.push(Arc::new(Vec::with_capacity(full)));
            }
            let Some(last) = self.0.last_mut() else { return };
            if Arc::get_mut(last).is_none() {
                let mut own = Vec::with_capacity(full);
                own.extend_from_slice(last);
                *last = Arc::new(own);
            }
            let Some(page) = Arc::get_mut(last) else { return };
            let (now, later) = floats.split_at(floats.len().min(full - page.len()));
            page.extend_from_slice(now);
            floats = later;
        }
    }

    fn truncate(&mut self, mut floats: usize) {
        self.0.retain_mut(|page| {
            let own = page.len().min(floats);
            floats -= own;
            if own > 0 && own < page.len() {
                *page = Arc::new(page[..own].to_vec());
            }
            own > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(cache: &KeyCache) -> Vec<f32> {
        cache.buffers(0).flatten().copied().collect()
    }

    #[test]
    fn who_appends_changes_nobody_else() {
        let tokens: Vec<f32> = (0..200).map(|at| at as f32).collect();
        let mut one = KeyCache::new(1, 2);
        one.append(0, &tokens[..140]);
        assert_eq!(one.buffers(0).map(<[f32]>::len).collect::<Vec<_>>(), [128, 12]);
        let place = one.buffers(0).nth(1).map(<[f32]>::as_ptr);
        one.append(0, &tokens[140..150]);
        assert_eq!(one.buffers(0).nth(1).map(<[f32]>::as_ptr), place, "nothing moves");
        let mut other = one.clone();
        other.append(0, &[-1.0, -2.0]);
        one.append(0, &tokens[150..]);
        assert_eq!(floats(&one), tokens);
        assert_eq!(floats(&other), [&tokens[..150], &[-1.0, -2.0]].concat());
        assert_eq!(one.buffers(0).next().map(<[f32]>::as_ptr), other.buffers(0).next().map(<[f32]>::as_ptr), "full pages are shared");
        other.truncate(10);
        assert_eq!(floats(&other), tokens[..20]);
        assert_eq!(floats(&one), tokens);
    }

    #[test]
    fn sequences_have_pages_of_their_own() {
        let mut cache = KeyCache::new(2, 1);
        cache.append(0, &[0.0, 1.0, 10.0, 11.0]);
        cache.append(0, &[2.0, 12.0]);
        assert_eq!(floats(&cache), [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
    }
}
