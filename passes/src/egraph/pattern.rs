//! Patterns: the shapes of values that rules are about, as text.
//!
//! ```text
//! (matmul ?a (matmul ?b ?c))        operations by their names in program text; attributes are not part of a pattern
//! (UNARY=f (MOVE=m ?x))             any operation of a family; `f` and `m` are the ones that were found, with attributes
//! (select ?c (UNARY=f ?a) (UNARY=f ?b))    the same operation with the same attributes twice
//! (cat (matmul ?a ?w) ...)          any number of further operands
//! ```
//!
//! Two operations on each other are the most that a pattern has: so it is looked for again only where a class, or one of its
//! operands, got new nodes. The same text is what a rule makes of them: `(m (f ?x))`. What has to be computed, or looked at more closely, is a function
//! in Rust, which has the operations with their attributes and the types of all values. That is why attributes are no part of
//! patterns, and why egg's own patterns, which know neither families nor attributes, are not used.

use std::{iter::Peekable, str::SplitWhitespace, sync::LazyLock};

use egg::Id;
use irc_ir::{
    graph::{Graph, NodeId},
    op::{Arity, Op, OpKind},
};
use smallvec::SmallVec;

use super::{
    cost::{Work, work},
    facts::{OpId, Values, add},
    language::{ENode, Operands},
};

/// The most matches of one pattern at one class that are looked at.
const MOST: usize = 256;

/// Operations that are alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    /// Functions of each element.
    Unary,
    /// Functions of two elements each that give a value whatever they are.
    Binary,
    /// All elements at other places, or several times.
    Move,
    /// Elements of the first operand picked by the ids of the second.
    Pick,
    /// Dimensions in another order.
    Permute,
    /// The same elements in the same order.
    View,
}

impl Family {
    const ALL: [(&'static str, Family); 6] = [
        ("UNARY", Family::Unary),
        ("BINARY", Family::Binary),
        ("MOVE", Family::Move),
        ("PICK", Family::Pick),
        ("PERMUTE", Family::Permute),
        ("VIEW", Family::View),
    ];

    /// Whether an operation belongs to it.
    fn has(self, kind: OpKind) -> bool {
        let elementwise = matches!(work(kind), Work::Elementwise(_));
        match self {
            Family::Unary => elementwise && kind.arity() == Arity::Exactly(1),
            // Integers cannot be divided by 0, so these fail for elements that another form may not have.
            Family::Binary => {
                let fails = matches!(kind, OpKind::FloorDiv | OpKind::Remainder | OpKind::Fmod);
                elementwise && !fails && kind.arity() == Arity::Exactly(2)
            }
            Family::Move => matches!(work(kind), Work::Move | Work::View),
            Family::Pick => matches!(kind, OpKind::Gather | OpKind::Embedding | OpKind::IndexSelect),
            Family::Permute => matches!(kind, OpKind::Transpose | OpKind::Permute),
            Family::View => work(kind) == Work::View,
        }
    }

    fn kinds(self) -> &'static [OpKind] {
        static KINDS: LazyLock<Vec<Vec<OpKind>>> = LazyLock::new(|| {
            let of = |family: Family| OpKind::ALL.iter().copied().filter(|kind| family.has(*kind)).collect();
            Family::ALL.iter().map(|(_, family)| of(*family)).collect()
        });
        &KINDS[self as usize]
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Which {
    Kind(OpKind),
    Any(Family),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Node {
    Variable(usize),
    /// An operation that is looked for, and kept at a place of its own; it may have more operands.
    Found {
        which: Which,
        slot: usize,
        operands: Vec<Node>,
        more: bool,
    },
    /// An operation that the other side found, on other operands.
    Again {
        slot: usize,
        operands: Vec<Node>,
        more: bool,
    },
    /// An operation that is made, with its attributes by default.
    Made {
        kind: OpKind,
        operands: Vec<Node>,
    },
}

/// The side of a rule that is looked for, or the one that is made.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    root: Node,
    names: Names,
}

/// The names in a pattern: their place is their number.
#[derive(Clone, Default, Debug)]
struct Names {
    variables: Vec<String>,
    /// The empty name is that of an operation without one.
    ops: Vec<String>,
}

/// Where a pattern was found, with what.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Match {
    /// The class.
    pub(super) class: Id,
    /// The classes of the variables, in the order in which the text names them first.
    pub(super) vars: SmallVec<[Id; 4]>,
    /// The operations, in the order of the text.
    pub(super) ops: SmallVec<[OpId; 4]>,
    /// The operands that `...` stands for.
    pub(super) more: Operands,
}

impl Pattern {
    /// The pattern of a text.
    ///
    /// # Panics
    /// If it is none: patterns stand in the table of rules.
    pub(super) fn new(text: &str) -> Pattern {
        Pattern::parse(text, Names::default(), false)
    }

    /// The other side of a rule: it may use the names of this one, and has no others.
    ///
    /// # Panics
    /// As [`Pattern::new`].
    pub(super) fn other_side(&self, text: &str) -> Pattern {
        Pattern::parse(text, self.names.clone(), true)
    }

    fn parse(text: &str, names: Names, made: bool) -> Pattern {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut reader = Reader { words: spaced.split_whitespace().peekable(), names, made };
        match reader.node() {
            Some(root) if reader.words.peek().is_none() => Pattern { root, names: reader.names },
            _ => unreachable!("`{text}` is no pattern"),
        }
    }

    /// Where the pattern is found at a class, with a node of this kind at its root.
    pub(super) fn search(&self, egraph: &Values<'_>, class: Id, kind: OpKind) -> Vec<Match> {
        let (vars, ops) = (vec![None; self.names.variables.len()], vec![None; self.names.ops.len()]);
        let mut search = Search { egraph, root: Some(kind), vars, ops, more: &[], found: vec![], class };
        search.solve(&mut vec![(&self.root, class)]);
        search.found
    }

    /// The kinds that can be at the root.
    pub(super) fn root_kinds(&self) -> &[OpKind] {
        match &self.root {
            Node::Found { which: Which::Kind(kind), .. } => std::slice::from_ref(kind),
            Node::Found { which: Which::Any(family), .. } => family.kinds(),
            Node::Variable(_) | Node::Again { .. } | Node::Made { .. } => &[],
        }
    }

    /// Whether the pattern may be found at a value of a graph, as it stands; `inside` says what is looked into.
    pub(super) fn may_match(&self, graph: &Graph, inside: &dyn Fn(NodeId) -> bool, at: NodeId) -> bool {
        fn fits(pattern: &Node, graph: &Graph, inside: &dyn Fn(NodeId) -> bool, at: NodeId) -> bool {
            let Node::Found { which, operands, more, .. } = pattern else { return true };
            let node = graph.node(at);
            let enough = node.operands.len() == operands.len() || *more && node.operands.len() > operands.len();
            let fit = |(pattern, operand): (&Node, &NodeId)| {
                matches!(pattern, Node::Variable(_)) || inside(*operand) && fits(pattern, graph, inside, *operand)
            };
            enough && which.has(node.op.kind()) && operands.iter().zip(&node.operands).all(fit)
        }
        fits(&self.root, graph, inside, at)
    }

    /// Adds what the pattern stands for: these very nodes, whatever classes they are in. Nothing, if it does not fit.
    pub(super) fn instantiate(&self, egraph: &mut Values<'_>, found: &Match) -> Option<Id> {
        fn add_node(node: &Node, egraph: &mut Values<'_>, found: &Match) -> Option<Id> {
            let (op, operands, more) = match node {
                Node::Variable(at) => return Some(found.vars[*at]),
                Node::Made { kind, operands } => (Op::build(*kind, &mut |_| None).ok()?, operands, false),
                Node::Found { slot, operands, more, .. } | Node::Again { slot, operands, more } => {
                    (egraph.analysis.op(found.ops[*slot]).clone(), operands, *more)
                }
            };
            let mut ids = operands.iter().map(|operand| add_node(operand, egraph, found)).collect::<Option<Operands>>()?;
            if more {
                ids.extend_from_slice(&found.more);
            }
            add(egraph, &op, ids)
        }
        add_node(&self.root, egraph, found)
    }
}

impl Which {
    fn has(&self, kind: OpKind) -> bool {
        match self {
            Which::Kind(own) => *own == kind,
            Which::Any(family) => family.has(kind),
        }
    }
}

/// Reads the words of a pattern.
struct Reader<'t> {
    words: Peekable<SplitWhitespace<'t>>,
    names: Names,
    /// Whether it is the side of a rule that is made.
    made: bool,
}

impl Reader<'_> {
    fn node(&mut self) -> Option<Node> {
        let word = self.words.next()?;
        if let Some(name) = word.strip_prefix('?') {
            let names = &mut self.names.variables;
            let known = names.iter().position(|known| known == name);
            return Some(Node::Variable(known.or_else(|| (!self.made).then(|| push(names, name)))?));
        }
        let head = self.words.next().filter(|_| word == "(")?;
        let (head, name) = head.split_once('=').unwrap_or((head, ""));
        let known = |wanted: &str| self.names.ops.iter().position(|known| known == wanted && !wanted.is_empty());
        if self.made {
            let known = known(head);
            let (operands, more) = self.operands()?;
            return match known {
                Some(slot) => Some(Node::Again { slot, operands, more }),
                None => Some(Node::Made { kind: OpKind::from_name(head)?, operands }).filter(|_| !more),
            };
        }
        let slot = known(name).unwrap_or_else(|| push(&mut self.names.ops, name));
        let family = Family::ALL.iter().find(|(name, _)| *name == head);
        let which = family.map_or_else(|| OpKind::from_name(head).map(Which::Kind), |(_, family)| Some(Which::Any(*family)))?;
        let (operands, more) = self.operands()?;
        Some(Node::Found { which, slot, operands, more })
    }

    /// The operands of an operation, and whether more may follow.
    fn operands(&mut self) -> Option<(Vec<Node>, bool)> {
        let mut operands = vec![];
        while !matches!(self.words.peek(), None | Some(&")" | &"...")) {
            operands.push(self.node()?);
        }
        let more = self.words.next_if_eq(&"...").is_some();
        self.words.next_if_eq(&")").map(|_| (operands, more))
    }
}

fn push(names: &mut Vec<String>, name: &str) -> usize {
    names.push(name.to_owned());
    names.len() - 1
}

/// The search for a pattern at one class: goals are met one after the other, and what was bound on the way is freed again.
struct Search<'s, 'p> {
    egraph: &'s Values<'p>,
    class: Id,
    /// The kind that the root must have: the others have their own turn.
    root: Option<OpKind>,
    vars: Vec<Option<Id>>,
    ops: Vec<Option<OpId>>,
    more: &'s [Id],
    found: Vec<Match>,
}

impl<'s> Search<'s, '_> {
    fn solve(&mut self, goals: &mut Vec<(&'s Node, Id)>) {
        if self.found.len() >= MOST {
            return;
        }
        let Some((pattern, class)) = goals.pop() else {
            let (vars, ops) = (self.vars.iter().flatten().copied().collect(), self.ops.iter().flatten().copied().collect());
            self.found.push(Match { class: self.class, vars, ops, more: self.more.into() });
            return;
        };
        match pattern {
            Node::Variable(at) => {
                let before = self.vars[*at];
                if before.is_none_or(|before| before == class) {
                    self.vars[*at] = Some(class);
                    self.solve(goals);
                    self.vars[*at] = before;
                }
            }
            Node::Found { which, slot, operands, more } => {
                let root = self.root.take();
                for node in &self.egraph[class].nodes {
                    let ENode::Op { kind, op, operands: given } = node else { continue };
                    let before = self.ops[*slot];
                    let fits = root.map_or_else(|| which.has(*kind), |root| root == *kind)
                        && (given.len() == operands.len() || *more && given.len() > operands.len())
                        && before.is_none_or(|before| before == *op);
                    if fits {
                        let (depth, rest) = (goals.len(), self.more);
                        self.ops[*slot] = Some(*op);
                        if *more {
                            self.more = &given[operands.len()..];
                        }
                        goals.extend(operands.iter().zip(given).rev().map(|(pattern, operand)| (pattern, self.egraph.find(*operand))));
                        self.solve(goals);
                        goals.truncate(depth);
                        (self.ops[*slot], self.more) = (before, rest);
                    }
                }
                self.root = root;
            }
            // Nobody looks for what is made.
            Node::Again { .. } | Node::Made { .. } => {}
        }
        goals.push((pattern, class));
    }
}
