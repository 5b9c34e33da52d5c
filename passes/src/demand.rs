//! Demand: nothing is computed that nobody asks for.
//!
//! One walk from the results back to what they are made of finds the regions of each value that somebody needs, and one walk forward
//! builds each value on them. So slices move towards the reads of forwards, where they become positions that are not computed, and
//! through modules that work position by position: one position's logits cost one position. As rewrite rules they would be
//! built again at each step; here every value is looked at twice, however many slices there are.
//!
//! A value of which far-apart parts are needed is built in up to four pieces. Each class of operations is a rule of its own, and
//! can be switched off like one: then its operands are computed whole.

use irc_ir::{
    graph::{Body, Graph, NodeId, Operands},
    infer::Models,
    op::Op,
    tensor::Sizes,
    types::{Dim, TensorType, Type},
    verify::{Types, Verified},
};
use smallvec::SmallVec;

use crate::{
    builder::Builder,
    canonical::{Steps, as_type},
    rule::{Numerics, Pass, Rewriting, Rule},
    scope::{Scope, body_of},
};

mod region;
mod spread;

use region::{Need, Region, Span, holds, whole};
use spread::{Spread, sizes_of};

const fn rule(name: &'static str, law: &'static str, witness: &'static str) -> Rule {
    Rule { name, numerics: Numerics::Exact, pass: Pass::Demand, law, witness }
}

static ELEMENTWISE: Rule = rule(
    "part-of-elementwise",
    "slice (f x y) = f (slice x) (slice y), where f works element by element",
    r#"graph @w {
      %x = call(0) {name: "any", returns: tensor<3x5x4xf32>}
      %y = call(1) {name: "any", returns: tensor<5x1xf64>}
      save slice(add(exp(%x), %y)) {dim: 1, start: 1, end: 4, step: 2} as "slice"
      %s = select(gt(%x, 0.0), %x, cast(%y) {dtype: f32})
      save tuple(index(%s) {dim: 1, index: 0}, index(%s) {dim: 1, index: -1}) as "two"
    }"#,
);

static LINES: Rule = rule(
    "part-of-lines",
    "slice (softmax x) = softmax (slice x), along other dimensions; so norms, running sums, sorting, flips and masks",
    r#"graph @w {
      %x = call(0) {name: "any", returns: tensor<3x5x4xf32>}
      %w = call(1) {name: "any", returns: tensor<4xf32>}
      save index(softmax(%x) {dim: -1}) {dim: 1, index: -1} as "softmax"
      save slice(rms_norm(%x, %w) {eps: 0.001}) {dim: 2, end: 2} as "along it"
      save slice(layer_norm(%x, %w) {eps: 0.001}) {dim: 0, start: 1} as "norm"
      save slice(cumsum(%x) {dim: 1}) {dim: 2, end: 1} as "cumsum"
      save index(get(topk(%x) {k: 2}) {index: 1}) {dim: 1, index: 2} as "topk"
      save slice(get(sort(%x) {dim: 1}) {index: 0}) {dim: 0, end: 1} as "sort"
      save slice(flip(%x) {dims: [2]}) {dim: 1, end: 1} as "flip"
      save index(tril(%x)) {dim: 0, index: 1} as "tril"
    }"#,
);

static REDUCED: Rule = rule(
    "part-of-reduction",
    "slice (sum x) = sum (slice x), along dimensions that stay; so all reductions",
    r#"graph @w {
      %x = call(0) {name: "any", returns: tensor<3x5x4xf32>}
      save index(sum(%x) {dims: [2]}) {dim: 1, index: -1} as "sum"
      save slice(mean(%x) {dims: [0], keepdim: true}) {dim: 1, end: 2} as "mean"
      save slice(argmax(%x) {dim: -1}) {dim: 1, start: 4} as "argmax"
      save index(var(%x) {dims: [1, 2]}) {dim: 0, index: 1} as "var"
    }"#,
);

static UPDATE: Rule = rule(
    "part-across-update",
    "slice (update x v) = update (slice x) (slice v)",
    r#"graph @w {
      %x = call(0) {name: "any", returns: tensor<3x9x4xf32>}
      %u = update(%x, call(1) {name: "any", returns: tensor<3x4x4xf64>}) {dim: 1, start: 2, end: 6}
      save slice(%u) {dim: 1, start: 4, end: 8} as "across"
      save index(update(%x, -1.5) {dim: 1, start: 2, end: 6}) {dim: 0, index: 1} as "other dimension"
      %s = update(%x, call(2) {name: "any", returns: tensor<4xf32>}) {dim: 1, start: 1, step: 3}
      save slice(slice(%s) {dim: 1, end: 5}) {dim: 2, start: 3} as "steps"
    }"#,
);

static ORDER: Rule = rule(
    "part-of-order",
    "slice (transpose x) = transpose (slice x), along the old dimension",
    r#"graph @w {
      %x = call(0) {name: "any", returns: tensor<3x5x4xf32>}
      save slice(transpose(%x) {dim0: 1, dim1: 2}) {dim: 2, start: 2} as "transpose"
      save index(permute(%x) {dims: [2, 0, 1]}) {dim: 1, index: 0} as "permute"
    }"#,
);

static RESHAPE: Rule = rule(
    "part-of-reshape",
    "slice (reshape x) = reshape (slice x), along dimensions that it keeps, and the first of those that it makes of one",
    r#"graph @w {
      %x = call(0) {name: "any", returns: tensor<3x5x8xf32>}
      %h = reshape(%x) {shape: [3, 5, 2, 4]}
      save slice(%h) {dim: 1, start: 4} as "kept"
      save index(reshape(%x) {shape: [3, 5, 4, 2]}) {dim: 2, index: 1} as "a head"
      save slice(slice(reshape(%x) {shape: [3, 5, 2, 2, 2]}) {dim: 3, end: 1}) {dim: 0, end: 2} as "inner"
      save slice(flatten(%x) {start: 1}) {dim: 0, end: 1} as "flatten"
      save index(unsqueeze(%x) {dim: 0}) {dim: 2, index: 3} as "unsqueeze"
    }"#,
);

static EXPAND: Rule = rule(
    "part-of-expand",
    "slice (expand x) = expand (slice x), to a smaller shape",
    r#"graph @w {
      %x = call(0) {name: "any", returns: tensor<5x1xf32>}
      save slice(slice(expand(%x) {shape: [3, 5, 4]}) {dim: 1, start: 3}) {dim: 2, end: 2} as "y"
    }"#,
);

static CAT: Rule = rule(
    "part-across-cat",
    "slice (cat x y) = cat (slice x) (slice y); so stack",
    r#"graph @w {
      %x = call(0) {name: "any", returns: tensor<3x5x4xf32>}
      %y = call(1) {name: "any", returns: tensor<3x2x4xf64>}
      save slice(cat(%x, %y, %x) {dim: 1}) {dim: 1, start: 3, end: 7} as "across"
      save slice(cat(%x, neg(%x), %y) {dim: 1}) {dim: 1, start: 3, end: 7} as "without what it was promoted for"
      save index(cat(%x, %y) {dim: 1}) {dim: 2, index: 0} as "other dimension"
      save slice(stack(%x, %x, neg(%x)) {dim: 1}) {dim: 1, start: 1} as "stack"
    }"#,
);

static MATMUL: Rule = rule(
    "part-of-matmul",
    "slice (matmul x y) = matmul (slice x) y for rows, and matmul x (slice y) for columns",
    r#"graph @w {
      %x = call(0) {name: "any", returns: tensor<3x5x4xf32>}
      %y = call(1) {name: "any", returns: tensor<4x6xf32>}
      save index(matmul(%x, %y)) {dim: 1, index: 2} as "row"
      save slice(matmul(%x, %y)) {dim: -1, end: 2} as "columns"
      save slice(matmul(%x, transpose(%x) {dim0: 1, dim1: 2})) {dim: 0, start: 2} as "matrix"
    }"#,
);

static LOOKUP: Rule = rule(
    "part-of-lookup",
    "slice (embedding w i) = embedding w (slice i); so gather, index_select and one_hot",
    r#"graph @w {
      %x = call(0) {name: "any", returns: tensor<3x5x4xf32>}
      %t = call(1) {name: "any", returns: tensor<7x4xf32>}
      %i = argmax(%x) {dim: 1}
      save slice(embedding(%t, %i)) {dim: 1, start: 3} as "embedding"
      save slice(gather(%x, reshape(%i) {shape: [3, 1, 4]}) {dim: 1}) {dim: 2, start: 2} as "gather"
      save slice(index_select(%x, argmax(%t) {dim: 1}) {dim: 1}) {dim: 1, start: 5} as "index_select"
      save slice(one_hot(%i) {classes: 6}) {dim: 1, start: 3} as "one_hot"
    }"#,
);

static MODULE: Rule = rule(
    "part-of-module",
    "slice (apply m x) = apply m (slice x), of positions, where m works position by position",
    r#"graph @w models { m: "m" } {
      %x = call(0) {name: "any", returns: tensor<2x3x32xf32>}
      save index(apply(apply(%x) {model: m, module: "model.norm"}) {model: m, module: "lm_head"}) {dim: 1, index: -1} as "logits"
      save slice(apply(%x) {model: m, module: "model.layers.1.mlp"}) {dim: 1, end: 2} as "mlp"
    }"#,
);

/// The rules of this pass.
pub(crate) fn rules() -> impl Iterator<Item = &'static Rule> {
    [&ELEMENTWISE, &LINES, &REDUCED, &UPDATE, &ORDER, &RESHAPE, &EXPAND, &CAT, &MATMUL, &LOOKUP, &MODULE].into_iter()
}

impl Spread {
    /// The rule that it is; none for what moves nothing, and for slices, which are what moves.
    fn rule(&self) -> Option<&'static Rule> {
        Some(match self {
            Spread::Opaque | Spread::Part { .. } => return None,
            Spread::Elementwise => &ELEMENTWISE,
            Spread::Lines(_) | Spread::OfTuple { .. } => &LINES,
            Spread::Reduced { .. } => &REDUCED,
            Spread::Update { .. } => &UPDATE,
            Spread::Order(_) => &ORDER,
            Spread::Reshape => &RESHAPE,
            Spread::Expand => &EXPAND,
            Spread::Cat { .. } | Spread::Stack { .. } => &CAT,
            Spread::Matmul => &MATMUL,
            Spread::Rows | Spread::Gather { .. } | Spread::Select { .. } | Spread::OneHot => &LOOKUP,
            Spread::Module { .. } => &MODULE,
        })
    }
}

/// The program in which each value is computed where somebody needs it.
pub(crate) fn run(program: &Verified, work: &mut Rewriting<'_>) -> Graph {
    scope(program.graph(), program.types(), program.models(), work).0
}

fn scope(graph: &Graph, types: &Types, models: &Models, work: &mut Rewriting<'_>) -> (Graph, Vec<Type>) {
    let mut scope = Scope::new(graph, types, Builder::new(graph, models, work), looped);
    let wanted = scope.wanted();
    let plan = Plan::new(&mut scope, &wanted);
    let mut pieces = vec![SmallVec::new(); graph.len()];
    for id in wanted {
        scope.builder.at(graph.span(id));
        match &plan.needs[id.index()] {
            // Its user needed nothing of it.
            Need::Nothing => {}
            Need::Whole if plan.is_as_before(&scope, id) => {
                let place = scope.build(id);
                scope.builder.label(place, graph.label(id));
                scope.moved[id.index()] = Some(place);
            }
            need => {
                let sizes = plan.sizes(&scope, id);
                let all = Need::Regions(SmallVec::from_iter([whole(&sizes)]));
                let Need::Regions(regions) = (if *need == Need::Whole { &all } else { need }) else { continue };
                for region in regions {
                    let place = plan.built(&mut scope, &pieces, id, region, &sizes);
                    scope.builder.label(place, graph.label(id));
                    if *need == Need::Whole {
                        scope.moved[id.index()] = Some(place);
                    }
                    pieces[id.index()].push(Piece { region: region.clone(), place });
                }
            }
        }
    }
    scope.finish()
}

fn looped(builder: &mut Builder<'_, '_>, _: i64, body: &Body, types: &Types, operands: Operands) -> (Body, Operands) {
    (body_of(scope(body.graph(), types, builder.models, builder.work).0), operands)
}

/// A region of an old value, as a new value.
#[derive(Clone)]
struct Piece {
    region: Region,
    place: NodeId,
}

type Pieces = [SmallVec<[Piece; 1]>];

/// What is needed of each value, and how that hangs on what is needed of others.
struct Plan {
    needs: Vec<Need>,
    spreads: Vec<Spread>,
}

impl Plan {
    /// From the last value to the first, so that all users of a value have said what they need before it is looked at.
    fn new(scope: &mut Scope<'_, '_, '_>, wanted: &[NodeId]) -> Plan {
        let graph = scope.graph;
        let mut plan = Plan { needs: vec![Need::Nothing; graph.len()], spreads: vec![Spread::Opaque; graph.len()] };
        graph.roots().for_each(|root| plan.needs[root.index()] = Need::Whole);
        // Of slices, all users may have gone.
        for &id in wanted.iter().rev() {
            let node = graph.node(id);
            if matches!(node.op, Op::Param { .. }) {
                plan.needs[id.index()] = Need::Whole;
            }
            if plan.needs[id.index()] == Need::Nothing {
                continue;
            }
            let spread = Spread::of(scope, id);
            plan.decide(scope, id, spread);
        }
        plan
    }

    fn sizes(&self, scope: &Scope<'_, '_, '_>, id: NodeId) -> Sizes {
        sizes_of(&scope.graph.node(id).op, &scope.types.nodes[id.index()]).unwrap_or_default()
    }

    fn operand_sizes(&self, scope: &Scope<'_, '_, '_>, id: NodeId) -> SmallVec<[Sizes; 3]> {
        scope.graph.node(id).operands.iter().map(|operand| self.sizes(scope, *operand)).collect()
    }

    /// Decides which regions of a value are computed, and says what they need of its operands.
    fn decide(&mut self, scope: &mut Scope<'_, '_, '_>, id: NodeId, mut spread: Spread) {
        let operands = &scope.graph.node(id).operands;
        if let Need::Regions(wanted) = std::mem::take(&mut self.needs[id.index()]) {
            let allowed = match spread.rule() {
                Some(rule) => scope.builder.work.allows(rule),
                None => spread != Spread::Opaque,
            };
            if !allowed {
                spread = Spread::Opaque;
            }
            let (sizes, of) = (self.sizes(scope, id), self.operand_sizes(scope, id));
            let mut need = Need::Nothing;
            wanted.into_iter().for_each(|region| need.add(spread.computed(region, &sizes, &of)));
            let all = matches!(&need, Need::Regions(regions) if regions.iter().any(|region| *region == whole(&sizes)));
            if all || spread == Spread::Opaque {
                if let Op::Apply { module, .. } = &scope.graph.node(id).op
                    && spread == Spread::Opaque
                    && scope.builder.work.allows(&MODULE)
                {
                    let why = || format!("`{module}` looks at other positions, too");
                    scope.builder.work.missed(&MODULE, scope.graph.span(id), why);
                }
                need = Need::Whole;
            } else if let Some(rule) = spread.rule() {
                scope.builder.work.fired(rule, scope.graph.span(id));
            }
            self.needs[id.index()] = need;
        } else {
            self.needs[id.index()] = Need::Whole;
            // Of a whole value the operands are whole, but for slices.
            if !matches!(spread, Spread::Part { .. }) {
                spread = Spread::Opaque;
            }
        }
        if spread == Spread::Opaque {
            operands.iter().for_each(|operand| self.needs[operand.index()] = Need::Whole);
        } else {
            let (sizes, of) = (self.sizes(scope, id), self.operand_sizes(scope, id));
            let regions = match &self.needs[id.index()] {
                Need::Regions(regions) => regions.clone(),
                Need::Whole => SmallVec::from_iter([whole(&sizes)]),
                Need::Nothing => SmallVec::new(),
            };
            for region in regions {
                for (at, operand) in operands.iter().enumerate() {
                    if let Some(needed) = spread.needs(&region, &sizes, at, &of) {
                        match needed == whole(&of[at]) {
                            true => self.needs[operand.index()] = Need::Whole,
                            false => self.needs[operand.index()].add(needed),
                        }
                    }
                }
            }
        }
        self.spreads[id.index()] = spread;
    }

    /// Whether a value that is needed whole is built as it was, on whole operands.
    fn is_as_before(&self, scope: &Scope<'_, '_, '_>, id: NodeId) -> bool {
        self.spreads[id.index()] == Spread::Opaque
            || scope.graph.node(id).operands.iter().all(|operand| self.needs[operand.index()] == Need::Whole)
    }

    /// Builds a region of a value.
    fn built(&self, scope: &mut Scope<'_, '_, '_>, pieces: &Pieces, id: NodeId, region: &Region, sizes: &[usize]) -> NodeId {
        let (graph, spread) = (scope.graph, &self.spreads[id.index()]);
        let (node, of) = (graph.node(id), self.operand_sizes(scope, id));
        if let Spread::Part { dim, steps, index } = spread {
            return self.part_of_part(scope, pieces, id, region, (*dim, *steps, *index));
        }
        let dtype = scope.types.nodes[id.index()].as_tensor().map(|ty| ty.dtype);
        let ty = dtype.map(|dtype| Type::Tensor(TensorType::new(dtype, region.iter().map(|span| Dim::from(span.size())))));
        let mut on = Operands::new();
        for (at, operand) in node.operands.iter().enumerate() {
            match spread.needs(region, sizes, at, &of) {
                // A tuple is not cut, but its parts are.
                Some(_) if matches!(spread, Spread::OfTuple { .. }) => {
                    let whole_part = self.part_of_tuple(scope, pieces, *operand, &node.op, region);
                    return whole_part;
                }
                Some(needed) => on.push(self.part(scope, pieces, *operand, &needed)),
                None => {}
            }
        }
        let kept = match (spread, on.as_slice(), &ty) {
            // All of it comes from one operand: from the value of an update, or from what it leaves, or from a part of a `cat`.
            (Spread::Update { .. } | Spread::Cat { .. }, &[only], Some(ty)) => as_type(&mut scope.builder, only, ty),
            _ => None,
        };
        if let Some(kept) = kept {
            return kept;
        }
        if let (Spread::Cat { .. } | Spread::Stack { .. }, Some(dtype)) = (spread, dtype)
            && on.len() < node.operands.len()
        {
            // What is left out may be what the others were promoted for.
            for operand in &mut on {
                let own = scope.builder.ty(*operand).as_tensor().map(|ty| ty.dtype);
                if own != Some(dtype) {
                    *operand = self.made(scope, Op::Cast { dtype }, &[*operand]);
                }
            }
        }
        let op = spread.op(&node.op, region);
        match ty {
            Some(ty) => {
                let may_fold = scope.may_fold(id);
                scope.builder.add_with(op, on, ty, may_fold)
            }
            None => self.made(scope, op, &on),
        }
    }

    /// Builds an operation whose type follows from known sizes.
    fn made(&self, scope: &mut Scope<'_, '_, '_>, op: Op, on: &[NodeId]) -> NodeId {
        let made = scope.builder.make(op, on);
        made.unwrap_or_else(|| unreachable!("sizes of what is cut are known, and parts fit as the whole does"))
    }

    /// A region of a slice or of an index.
    fn part_of_part(
        &self,
        scope: &mut Scope<'_, '_, '_>,
        pieces: &Pieces,
        id: NodeId,
        region: &Region,
        (dim, steps, index): (usize, Steps, bool),
    ) -> NodeId {
        let node = scope.graph.node(id);
        let (sizes, of) = (self.sizes(scope, id), self.operand_sizes(scope, id));
        let needed = Spread::Part { dim, steps, index }.needs(region, &sizes, 0, &of);
        let needed = needed.unwrap_or_else(|| unreachable!("a part is a part of something"));
        let x = self.part(scope, pieces, node.operands[0], &needed);
        if index {
            self.made(scope, Op::Index { dim: dim as i64, index: 0 }, &[x])
        } else if steps.step > 1 {
            let steps = Steps { start: 0, step: steps.step, count: region[dim].size() };
            self.made(scope, steps.slice(dim), &[x])
        } else {
            x
        }
    }

    /// A region of a part of what sorting gives.
    fn part_of_tuple(&self, scope: &mut Scope<'_, '_, '_>, pieces: &Pieces, tuple: NodeId, get: &Op, region: &Region) -> NodeId {
        let sizes = self.sizes(scope, tuple);
        let piece = self.piece(scope, pieces, tuple, region, &sizes);
        let part = self.made(scope, get.clone(), &[piece.place]);
        self.cut(scope, part, &piece.region, region)
    }

    /// The piece of a value that has all of a region.
    fn piece(&self, scope: &Scope<'_, '_, '_>, pieces: &Pieces, id: NodeId, region: &Region, sizes: &[usize]) -> Piece {
        let piece = pieces[id.index()].iter().find(|piece| holds(&piece.region, region)).cloned();
        piece.unwrap_or_else(|| Piece { region: whole(sizes), place: scope.moved(id) })
    }

    /// A region of an operand, cut out of the piece that has it.
    fn part(&self, scope: &mut Scope<'_, '_, '_>, pieces: &Pieces, id: NodeId, region: &Region) -> NodeId {
        let sizes = self.sizes(scope, id);
        let piece = self.piece(scope, pieces, id, region, &sizes);
        self.cut(scope, piece.place, &piece.region, region)
    }

    /// A region of a value that is itself a region: first along dimension 1, where models have positions.
    fn cut(&self, scope: &mut Scope<'_, '_, '_>, mut value: NodeId, outer: &[Span], inner: &[Span]) -> NodeId {
        let mut dims: SmallVec<[usize; 4]> = (0..inner.len()).filter(|dim| outer[*dim] != inner[*dim]).collect();
        dims.sort_by_key(|dim| (*dim != 1, *dim));
        for dim in dims {
            let span = inner[dim].from(outer[dim].start);
            let steps = Steps { start: span.start, step: 1, count: span.size() };
            value = self.made(scope, steps.slice(dim), &[value]);
        }
        value
    }
}
