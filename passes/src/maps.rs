//! Maps of this crate's own shapes: few writes of a forward, and values of some nodes of a graph.

use irc_ir::{graph::NodeId, model::HookId};
use smallvec::SmallVec;

/// What is written at which hooks, in the order of hooks. Most forwards have no writes or one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Writes(SmallVec<[(HookId, NodeId); 2]>);

impl Writes {
    pub(crate) fn one(hook: HookId, value: NodeId) -> Writes {
        Writes(SmallVec::from_iter([(hook, value)]))
    }

    fn place(&self, hook: HookId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&hook, |(hook, _)| *hook)
    }

    pub(crate) fn get(&self, hook: HookId) -> Option<NodeId> {
        self.place(hook).ok().map(|place| self.0[place].1)
    }

    pub(crate) fn contains(&self, hook: HookId) -> bool {
        self.place(hook).is_ok()
    }

    /// Writes a value; what was written there before.
    pub(crate) fn insert(&mut self, hook: HookId, value: NodeId) -> Option<NodeId> {
        match self.place(hook) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (hook, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, hook: HookId) {
        if let Ok(place) = self.place(hook) {
            self.0.remove(place);
        }
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(HookId) -> bool) {
        self.0.retain(|(hook, _)| keep(*hook));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (HookId, NodeId)> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn hooks(&self) -> impl DoubleEndedIterator<Item = HookId> + '_ {
        self.0.iter().map(|(hook, _)| *hook)
    }
}

/// What belongs to some nodes of a graph: an index for all, so that nothing is searched, and room for those that have something.
#[derive(Clone, Debug)]
pub(crate) struct NodeMap<T> {
    /// By node, the place of what belongs to it plus one.
    places: Vec<u32>,
    entries: Vec<(NodeId, T)>,
}

impl<T> NodeMap<T> {
    /// Nothing for any node, of which there are about so many.
    pub(crate) fn new(nodes: usize) -> NodeMap<T> {
        NodeMap { places: Vec::with_capacity(nodes), entries: vec![] }
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&T> {
        let place = self.places.get(id.index())?.checked_sub(1)?;
        Some(&self.entries[place as usize].1)
    }

    pub(crate) fn contains(&self, id: NodeId) -> bool {
        self.places.get(id.index()).is_some_and(|place| *place > 0)
    }

    pub(crate) fn insert(&mut self, id: NodeId, value: T) {
        if self.places.len() <= id.index() {
            self.places.resize(id.index() + 1, 0);
        }
        match self.places[id.index()] {
            0 => {
                self.entries.push((id, value));
                self.places[id.index()] = self.entries.len() as u32;
            }
            place => self.entries[place as usize - 1].1 = value,
        }
    }

    /// What belongs to a node, which from now on has something.
    pub(crate) fn or_default(&mut self, id: NodeId) -> &mut T
    where
        T: Default,
    {
        if !self.contains(id) {
            self.insert(id, T::default());
        }
        let place = self.places[id.index()] as usize - 1;
        &mut self.entries[place].1
    }

    /// The nodes that have something, in the order in which they got it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &T)> {
        self.entries.iter().map(|(id, value)| (*id, value))
    }
}

impl<T> std::ops::Index<NodeId> for NodeMap<T> {
    type Output = T;
    fn index(&self, id: NodeId) -> &T {
        self.get(id).unwrap_or_else(|| unreachable!("{id:?} was given something"))
    }
}
