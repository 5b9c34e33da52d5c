//! The e-graph of one cone: rules are applied until nothing new is found or a limit strikes, then the cheapest form is taken.

use hashbrown::{HashMap, HashSet};

use egg::{EGraph, Id, Language};
use irc_ir::{
    diagnostic::Span,
    graph::{Graph, NodeId},
    infer::Models,
    op::{Op, OpKind},
    types::Type,
    verify::Types,
};

use super::{
    cones::{Cones, is_constant},
    cost::cost,
    extract::Choices,
    facts::{Facts, Values, add_leaf, add_typed, take_changed, type_of},
    language::{ENode, Operands},
    pattern::Match,
    proof,
    rules::Ready,
};
use crate::rule::Rewriting;

/// How often all rules are applied.
const ROUNDS: usize = 32;

/// How many nodes an e-graph may have: this many, and some for each node of its cone.
const NODES: usize = 2_000;
const NODES_EACH: usize = 8;

/// A part of a program that gets an e-graph.
pub(super) struct Cone<'p> {
    pub(super) graph: &'p Graph,
    pub(super) types: &'p Types,
    pub(super) models: &'p Models,
    pub(super) cones: &'p Cones,
    pub(super) root: NodeId,
}

/// A cheaper form of a cone.
#[derive(Debug)]
pub(super) struct Form {
    /// Where it comes from.
    pub(super) root: NodeId,
    /// Its values, operands before users, the root last.
    pub(super) nodes: Vec<Source>,
    /// What it costs.
    pub(super) cost: i64,
    /// What the cone cost as it was.
    pub(super) before: i64,
}

/// A value of a form.
#[derive(Debug)]
pub(super) enum Source {
    /// A value of the graph that stays as it is.
    Given(NodeId),
    /// An operation on earlier values of the form; `was` has the same value in the old graph.
    Made { op: Op, operands: Vec<usize>, was: Option<NodeId> },
}

/// What is known beside the e-graph while it grows.
struct Growth {
    /// The nodes of the cone in the e-graph, by their nodes in the graph.
    ids: HashMap<NodeId, Id>,
    /// Values that are not looked into.
    leaves: Vec<(NodeId, Id)>,
    /// How often each rule found something new, by its place among the rules.
    found: Vec<u64>,
}

impl Cone<'_> {
    /// Where the user asked for the value.
    pub(super) fn span(&self) -> &Span {
        self.graph.span(self.root)
    }

    /// The cheapest form that these rules find, unless it is no cheaper than the one that is there.
    pub(super) fn optimize(&self, rules: &[&'static Ready], work: &mut Rewriting<'_>) -> Option<Form> {
        let mut egraph = EGraph::new(Facts::new(self.models)).with_explanations_enabled().without_explanation_length_optimization();
        let mut growth = self.fill(&mut egraph);
        growth.found = vec![0; rules.len()];
        let before = self.input_cost(&mut egraph, &growth);
        self.saturate(&mut egraph, rules, &mut growth.found, work);
        work.count("e-graphs", 1);
        work.count("e-nodes", egraph.nodes().len() as u64);
        work.count("e-classes", egraph.number_of_classes() as u64);
        if growth.found.iter().all(|found| *found == 0) {
            return None;
        }
        self.cheapest(&mut egraph, &growth, rules, before, work)
    }

    /// Adds the cone to an e-graph.
    fn fill<'p>(&self, egraph: &mut Values<'p>) -> Growth {
        let mut growth = Growth { ids: HashMap::new(), leaves: vec![], found: vec![] };
        let mut leaves: HashMap<NodeId, Id> = HashMap::new();
        for id in self.cones.nodes(self.root) {
            let node = self.graph.node(*id);
            let mut operands = Operands::new();
            for operand in &node.operands {
                let known = growth.ids.get(operand).or_else(|| leaves.get(operand)).copied();
                operands.push(known.unwrap_or_else(|| {
                    let (op, ty) = (&self.graph.node(*operand).op, self.ty(*operand));
                    let leaf = if is_constant(op) { add_typed(egraph, op, Operands::new(), ty) } else { add_leaf(egraph, *operand, ty) };
                    leaves.insert(*operand, leaf);
                    growth.leaves.push((*operand, leaf));
                    leaf
                }));
            }
            growth.ids.insert(*id, add_typed(egraph, &node.op, operands, self.ty(*id)));
        }
        egraph.rebuild();
        growth
    }

    fn ty(&self, id: NodeId) -> &Type {
        &self.types.nodes[id.index()]
    }

    /// What the cone costs as it is, equal operations on equal values counted once.
    fn input_cost(&self, egraph: &mut Values<'_>, growth: &Growth) -> i64 {
        let mut seen = HashSet::new();
        let nodes = self.cones.nodes(self.root).iter().filter(|id| seen.insert(egraph.find(growth.ids[*id])));
        let cost = |id: &NodeId| {
            let node = self.graph.node(*id);
            cost(&node.op, &node.operands.iter().map(|operand| self.ty(*operand)).collect::<Vec<_>>(), self.ty(*id))
        };
        nodes.map(cost).fold(0, i64::saturating_add)
    }

    /// Applies the rules, round after round, wherever something changed in the last one.
    fn saturate(&self, egraph: &mut Values<'_>, rules: &[&'static Ready], found: &mut [u64], work: &mut Rewriting<'_>) {
        let most = NODES + NODES_EACH * self.cones.nodes(self.root).len();
        let by_root = by_root(rules);
        // What was tried is not tried again, as long as its classes stay what they are.
        let mut tried: HashSet<(usize, Match)> = HashSet::new();
        for _ in 0..ROUNDS {
            let matches = self.matches(egraph, rules, &by_root, work);
            for (at, place) in matches {
                let ready = rules[at];
                if !work.allows(&ready.entry.rule) || !tried.insert((at, place.clone())) {
                    continue;
                }
                if egraph.nodes().len() > most {
                    work.limited("an e-graph reached its limit of nodes: there may be cheaper forms of its value".to_owned());
                    egraph.rebuild();
                    return;
                }
                let Some(made) = ready.make(egraph, &place).filter(|made| egraph.find(*made) != egraph.find(place.class)) else { continue };
                // For the proof, the very nodes that were found, not any of their classes.
                let Some(was) = ready.left.instantiate(egraph, &place) else { continue };
                egraph.union_trusted(was, made, ready.entry.rule.name);
                work.spend(&ready.entry.rule);
                found[at] += 1;
            }
            egraph.rebuild();
            work.count("iterations", 1);
            if egraph.analysis.unchanged() {
                return;
            }
        }
        work.limited(format!("an e-graph was not done after {ROUNDS} rounds: there may be cheaper forms of its value"));
    }

    /// All matches at classes that changed, in an order that depends on the e-graph only.
    fn matches(
        &self,
        egraph: &mut Values<'_>,
        rules: &[&'static Ready],
        by_root: &HashMap<OpKind, Vec<usize>>,
        work: &mut Rewriting<'_>,
    ) -> Vec<(usize, Match)> {
        let mut matches = vec![];
        let mut looked = 0;
        for class in take_changed(egraph) {
            let mut kinds: Vec<OpKind> = egraph[class].nodes.iter().filter_map(ENode::kind).collect();
            // Nodes of one kind stand together.
            kinds.dedup();
            for kind in kinds {
                for at in by_root.get(&kind).into_iter().flatten() {
                    looked += 1;
                    matches.extend(rules[*at].left.search(egraph, class, kind).into_iter().map(|place| (*at, place)));
                }
            }
        }
        work.count("rules tried", looked);
        matches
    }

    /// The cheapest form, if it is cheaper than `before`.
    fn cheapest(
        &self,
        egraph: &mut Values<'_>,
        growth: &Growth,
        rules: &[&'static Ready],
        before: i64,
        work: &mut Rewriting<'_>,
    ) -> Option<Form> {
        let mut classes: Vec<Id> = egraph.classes().map(|class| class.id).collect();
        classes.sort_unstable();
        let places: HashMap<Id, usize> = classes.iter().copied().zip(0..).collect();
        let mut choices = Choices::new(classes.iter().map(|class| self.nodes(egraph, *class, &places)).collect());
        let root = places[&egraph.find(growth.ids[&self.root])];
        choices.choose(root);
        let cost = choices.total(root);
        if cost >= before || type_of(egraph, classes[root]) != self.ty(self.root) {
            return None;
        }

        // The first node of the graph that has a value gives it its name and its place.
        let values = self.cones.nodes(self.root).iter().rev().chain([&self.root]);
        let was: HashMap<Id, NodeId> = values.map(|id| (egraph.find(growth.ids[id]), *id)).collect();
        let given: HashMap<Id, NodeId> = growth.leaves.iter().rev().map(|(node, id)| (egraph.find(*id), *node)).collect();

        let order = choices.order(root);
        let mut at: HashMap<usize, usize> = HashMap::new();
        let mut nodes = vec![];
        // The same term in the e-graph, to be explained.
        let mut terms: Vec<Id> = vec![];
        for class in order {
            let (node, operands) = choices.chosen(class);
            let operands: Vec<usize> = operands.iter().map(|operand| at[operand]).collect();
            at.insert(class, nodes.len());
            terms.push(match node {
                ENode::Leaf(_) => egraph.add_uncanonical(node.clone()),
                ENode::Op { kind, op, .. } => {
                    egraph.add_uncanonical(ENode::Op { kind: *kind, op: *op, operands: operands.iter().map(|at| terms[*at]).collect() })
                }
            });
            nodes.push(match node {
                ENode::Leaf(id) => Source::Given(*id),
                ENode::Op { op, .. } => match given.get(&classes[class]).filter(|_| operands.is_empty()) {
                    Some(constant) => Source::Given(*constant),
                    None => Source::Made { op: egraph.analysis.op(*op).clone(), operands, was: was.get(&classes[class]).copied() },
                },
            });
        }
        let made = *terms.last()?;
        self.explain(egraph, growth, rules, made, work);
        Some(Form { root: self.root, nodes, cost, before })
    }

    /// The nodes of a class, each with its cost and the places of its operands.
    fn nodes(&self, egraph: &Values<'_>, class: Id, places: &HashMap<Id, usize>) -> Vec<(ENode, i64, Vec<usize>)> {
        let result = type_of(egraph, class);
        let choice = |node: &ENode| {
            let operands: Vec<Id> = node.children().iter().map(|child| egraph.find(*child)).collect();
            let cost = match node {
                // All forms have the same values from outside, which are computed in any case.
                ENode::Leaf(_) => 0,
                ENode::Op { op, .. } => {
                    let types: Vec<&Type> = operands.iter().map(|operand| type_of(egraph, *operand)).collect();
                    cost(egraph.analysis.op(*op), &types, result)
                }
            };
            (node.clone(), cost, operands.iter().map(|operand| places[operand]).collect())
        };
        egraph[class].nodes.iter().map(choice).collect()
    }

    /// Records which rules lead from the cone to what was made of it.
    fn explain(&self, egraph: &mut Values<'_>, growth: &Growth, rules: &[&'static Ready], made: Id, work: &mut Rewriting<'_>) {
        let rule = |name: &str| rules.iter().map(|ready| &ready.entry.rule).find(|rule| rule.name == name);
        match proof::steps(egraph, growth.ids[&self.root], made) {
            Some(steps) => {
                steps.iter().filter_map(|step| rule(step.rule.as_str())).for_each(|rule| work.taken(rule, self.span()));
                if work.options().proofs {
                    let proof = proof::written(egraph, self.graph, self.span(), &steps);
                    work.record.proofs.push(proof);
                }
            }
            None => {
                // All that was found may have a part in it.
                for (ready, times) in rules.iter().zip(&growth.found) {
                    (0..*times).for_each(|_| work.taken(&ready.entry.rule, self.span()));
                }
            }
        }
    }
}

/// The places of the rules that look for something with a kind of operation at its root.
fn by_root(rules: &[&'static Ready]) -> HashMap<OpKind, Vec<usize>> {
    let mut by_root: HashMap<OpKind, Vec<usize>> = HashMap::new();
    for (at, ready) in rules.iter().enumerate() {
        ready.left.root_kinds().iter().for_each(|kind| by_root.entry(*kind).or_default().push(at));
    }
    by_root
}
