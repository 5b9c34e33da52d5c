//! Sets of a few nodes by number: thousands of tasks ask for the same ones.

use hashbrown::HashMap;
use irc_ir::graph::NodeId;
use smallvec::SmallVec;

/// A set. Equal sets have one number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct SetId(u32);

impl SetId {
    /// The set of nothing.
    pub(super) const EMPTY: SetId = SetId(0);
}

type Nodes = SmallVec<[NodeId; 4]>;

/// All sets that there are.
pub(super) struct Sets {
    /// The nodes of each, in their order.
    all: Vec<Nodes>,
    numbers: HashMap<Nodes, SetId>,
    /// What sets become with one node more.
    grown: HashMap<(SetId, NodeId), SetId>,
}

impl Default for Sets {
    fn default() -> Sets {
        Sets { all: vec![Nodes::new()], numbers: HashMap::from_iter([(Nodes::new(), SetId::EMPTY)]), grown: HashMap::new() }
    }
}

impl Sets {
    /// The nodes of a set, in their order.
    pub(super) fn get(&self, set: SetId) -> &[NodeId] {
        &self.all[set.0 as usize]
    }

    /// The set with this node, too.
    pub(super) fn with(&mut self, set: SetId, node: NodeId) -> SetId {
        let Err(place) = self.get(set).binary_search(&node) else { return set };
        let (all, numbers) = (&mut self.all, &mut self.numbers);
        *self.grown.entry((set, node)).or_insert_with(|| {
            let mut nodes = all[set.0 as usize].clone();
            nodes.insert(place, node);
            *numbers.entry(nodes).or_insert_with_key(|nodes| {
                all.push(nodes.clone());
                SetId(all.len() as u32 - 1)
            })
        })
    }
}
