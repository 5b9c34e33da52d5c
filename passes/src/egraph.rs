//! The e-graph: where there are several ways to compute a value, the cheapest is taken.
//!
//! ```text
//! graph -> cones -> e-graph of a cone -> rules, until nothing new is found -> the cheapest form -> graph
//! ```
//!
//! The canonical form and the demand for parts come first, and make what is better in any case. Left are equations of which
//! neither side always wins: whether rows are cut from a product or from its factors, what is turned before what, in what
//! order three matrices are multiplied. [`rules()`] lists them. A program is taken apart into cones, each of which gets an
//! e-graph of its own, so that the work grows with the program; most cones get none, because no rule fits anything in them.
//!
//! Limits are numbers of nodes and of rounds, never the clock, and the user is told where one struck. What is taken is never
//! dearer than what was there.

mod cones;
mod cost;
mod extract;
mod facts;
mod language;
mod pattern;
mod proof;
mod rules;
mod saturate;

pub(crate) use cost::is_elementwise;

use hashbrown::HashMap;

use irc_ir::{
    graph::{Body, Effect, EffectKind, Graph, NodeId},
    infer::Models,
    op::{Op, OpKind},
    verify::{LoopId, Types, Verified},
};

use crate::rule::{Numerics, Options, Rewriting, Rule};
use cones::Cones;
use rules::Ready;
use saturate::{Cone, Form, Source};

/// The most nodes of a cone. A larger value is taken apart.
const LARGEST: usize = 4_000;

/// How many values at most are looked at for what rules that are not allowed would save.
const NEAR_MISSES: usize = 64;

/// What a rule that is not allowed must save at least to be mentioned, of a hundred.
const WORTH_MENTIONING: i64 = 10;

/// The rules of the e-graph.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    rules::headers()
}

/// A program whose values are computed in the cheapest way that the rules find, its loops included. What nobody needs is left
/// out. Names, places and written types stay where the values do.
///
/// It means the same as the program, and verifies as the program did.
pub fn run(program: &Verified, work: &mut Rewriting<'_>) -> Graph {
    let mut pass = Pass { models: program.models(), work, looked_at: 0 };
    pass.graph(program.graph(), program.types())
}

struct Pass<'p, 'w, 'o> {
    models: &'p Models,
    work: &'w mut Rewriting<'o>,
    /// How many values were looked at for near misses.
    looked_at: usize,
}

/// What may be found in a cone.
#[derive(Clone, Copy, Default)]
struct Hits {
    /// By rules that are allowed.
    allowed: bool,
    /// By important ones that would be with `--fast`.
    nearly: bool,
}

impl Pass<'_, '_, '_> {
    fn graph(&mut self, graph: &Graph, types: &Types) -> Graph {
        let allowed: Vec<&'static Ready> = rules::all().iter().filter(|ready| self.work.allows(&ready.entry.rule)).collect();
        let options = self.work.options();
        let nearly: Vec<&'static Ready> = match options.fast {
            true => vec![],
            false => rules::all().iter().filter(|ready| ready.entry.important && is_nearly_allowed(&ready.entry.rule, options)).collect(),
        };
        let cones = Cones::new(graph, LARGEST);
        if cones.cut > 0 {
            self.work.limited(format!(
                "values of more than {LARGEST} operations are optimized in parts: no rewrite across the parts is found in the e-graph"
            ));
        }
        let mut forms = HashMap::new();
        for (root, hits) in self.hits(graph, &cones, &allowed, &nearly) {
            let cone = Cone { graph, types, models: self.models, cones: &cones, root };
            let form = if hits.allowed { cone.optimize(&allowed, self.work) } else { None };
            if hits.nearly && self.looked_at < NEAR_MISSES {
                self.looked_at += 1;
                self.near_miss(&cone, &allowed, &nearly, form.as_ref());
            }
            if let Some(form) = form {
                forms.insert(root, form);
            }
        }
        self.rebuild(graph, types, &cones, &forms)
    }

    /// The roots of the cones in which a rule may find something, in the order of the program.
    ///
    /// What no rule fits as it stands, none fits later: rules make new forms only of those that they fit.
    fn hits(&mut self, graph: &Graph, cones: &Cones, allowed: &[&'static Ready], nearly: &[&'static Ready]) -> Vec<(NodeId, Hits)> {
        let (allowed, nearly) = (by_root(allowed), by_root(nearly));
        let mut hits = vec![Hits::default(); graph.len()];
        let mut tried = 0;
        for (id, node) in graph.nodes() {
            let Some(root) = cones.root(id) else { continue };
            let inside = |operand: NodeId| cones.root(operand) == Some(root);
            let mut any = |rules: &HashMap<OpKind, Vec<&Ready>>| {
                let fits = |ready: &&Ready| {
                    tried += 1;
                    ready.left.may_match(graph, &inside, id)
                };
                rules.get(&node.op.kind()).into_iter().flatten().any(fits)
            };
            let hits = &mut hits[root.index()];
            hits.allowed = hits.allowed || any(&allowed);
            hits.nearly = hits.nearly || any(&nearly);
        }
        self.work.count("rules tried", tried);
        let roots = graph.nodes().map(|(id, _)| (id, hits[id.index()]));
        roots.filter(|(_, hits)| hits.allowed || hits.nearly).collect()
    }

    /// Tells the user what an important rule would save that is not allowed.
    fn near_miss(&mut self, cone: &Cone<'_>, allowed: &[&'static Ready], nearly: &[&'static Ready], form: Option<&Form>) {
        let options = Options { fast: true, proofs: false, fuel: None, ..self.work.options().clone() };
        let mut work = Rewriting::new(&options);
        let with: Vec<&'static Ready> = allowed.iter().chain(nearly).copied().collect();
        let Some(better) = cone.optimize(&with, &mut work) else { return };
        let now = form.map_or(better.before, |form| form.cost);
        let saved = now.saturating_sub(better.cost).saturating_mul(100) / now.max(1);
        let rule = nearly.iter().map(|ready| &ready.entry.rule).find(|rule| work.record.fired.contains_key(rule.name));
        if let Some(rule) = rule.filter(|_| saved >= WORTH_MENTIONING) {
            let why =
                || format!("it would save {saved} % of the arithmetic and bytes of this value, but rounds differently: `--fast` allows it");
            self.work.missed(rule, cone.span(), why);
        }
    }

    /// The graph with the cheaper forms in the place of the cones that have one.
    fn rebuild(&mut self, graph: &Graph, types: &Types, cones: &Cones, forms: &HashMap<NodeId, Form>) -> Graph {
        let mut new = Graph::new(graph.name.clone());
        new.models = graph.models.clone();
        let live = graph.live();
        let mut moved: Vec<Option<NodeId>> = vec![None; graph.len()];
        for (id, node) in graph.nodes() {
            let form = cones.root(id).and_then(|root| forms.get(&root));
            match (form, &node.op) {
                (Some(form), _) if cones.root(id) == Some(id) => moved[id.index()] = place(form, graph, &mut new, &mut moved),
                (Some(_), _) => {}
                (None, Op::Param { .. }) => moved[id.index()] = Some(copy(graph, id, node.op.clone(), &mut new, &moved)),
                (None, _) if !live[id.index()] => {}
                (None, Op::Loop { trip, body }) => {
                    let op = Op::Loop { trip: *trip, body: self.body(body, types.bodies.get(&LoopId::Node(id))) };
                    moved[id.index()] = Some(copy(graph, id, op, &mut new, &moved));
                }
                (None, op) => moved[id.index()] = Some(copy(graph, id, op.clone(), &mut new, &moved)),
            }
        }
        // Whatever something outside asks for is a root, and so has its place.
        let value = |id: NodeId| moved[id.index()].unwrap_or_else(|| unreachable!("{id:?} is asked for, but has no place"));
        for (at, effect) in graph.effects.iter().enumerate() {
            let mut effect: Effect = effect.map(value);
            if let EffectKind::Loop { body, .. } = &mut effect.kind {
                *body = self.body(body, types.bodies.get(&LoopId::Effect(at)));
            }
            new.effects.push(effect);
        }
        new.results = graph.results.iter().map(|id| value(*id)).collect();
        new.until = graph.until.map(value);
        for (id, ty, span) in graph.written_types() {
            if let Some(moved) = moved[id.index()] {
                new.write_type(moved, ty.clone(), span.clone());
            }
        }
        new
    }

    fn body(&mut self, body: &Body, types: Option<&Types>) -> Body {
        let Some(types) = types else { return body.clone() };
        // What was a body stays one: its parameters come first, and it has as many results.
        Body::new(self.graph(body.graph(), types)).unwrap_or_else(|_| body.clone())
    }
}

/// Whether nothing but rounding keeps a rule from being applied.
fn is_nearly_allowed(rule: &Rule, options: &Options) -> bool {
    rule.numerics == Numerics::Rounding && !options.disabled.contains(rule.name)
}

fn by_root(rules: &[&'static Ready]) -> HashMap<OpKind, Vec<&'static Ready>> {
    let mut by_root: HashMap<OpKind, Vec<&'static Ready>> = HashMap::new();
    for ready in rules {
        ready.left.root_kinds().iter().for_each(|kind| by_root.entry(*kind).or_default().push(ready));
    }
    by_root
}

/// Copies a node to its place among those that are there.
fn copy(graph: &Graph, id: NodeId, op: Op, new: &mut Graph, moved: &[Option<NodeId>]) -> NodeId {
    let operands = graph.node(id).operands.iter().filter_map(|operand| moved[operand.index()]).collect::<Vec<_>>();
    let made = new.add(op, operands, graph.span(id).clone());
    if let Some(label) = graph.label(id) {
        new.set_label(made, label.clone());
    }
    made
}

/// Builds the new form of a cone; where its root is then.
fn place(form: &Form, graph: &Graph, new: &mut Graph, moved: &mut [Option<NodeId>]) -> Option<NodeId> {
    let mut placed: Vec<NodeId> = Vec::with_capacity(form.nodes.len());
    for source in &form.nodes {
        placed.push(match source {
            Source::Given(id) => moved[id.index()]?,
            Source::Made { op, operands, was } => {
                let operands: Vec<NodeId> = operands.iter().map(|at| placed[*at]).collect();
                let made = new.add(op.clone(), operands, graph.span(was.unwrap_or(form.root)).clone());
                if let Some(was) = was {
                    moved[was.index()] = Some(made);
                    if let Some(label) = graph.label(*was) {
                        new.set_label(made, label.clone());
                    }
                }
                made
            }
        });
    }
    placed.last().copied()
}
