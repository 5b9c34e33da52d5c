//! The optimizer: from a verified program to one that means the same and costs less.
//!
//! Dead code and the canonical form first, then the parts that somebody needs, built by the same constructor, so that they are in
//! canonical form, too; then the e-graph, where one thing can be said in several ways. Each pass is a function from a verified program to a graph, which is verified before the next one sees it.

use irc_ir::{
    diagnostic::Diagnostics,
    graph::{Effect, EffectKind, Graph, NodeId},
    verify::{Limits, Verified, verify_within},
};

use crate::{
    canonical, demand, egraph,
    rule::{Options, Pass, Record, Rewriting},
};

/// What came of a program.
#[derive(Clone, Debug)]
pub struct Optimized {
    /// The program that means the same.
    pub program: Verified,
    /// What was done, and what was not.
    pub record: Record,
}

/// Optimizes a program. Deterministic: the same program and options give the same result.
///
/// ```
/// use irc_ir::{infer::Models, text, verify::verify};
/// use irc_passes::{optimize, rule::Options};
///
/// let text = r#"graph @twice { %x = call(1) {name: "measure", returns: tensor<8xf32>}  save neg(neg(%x)) as "x" }"#;
/// let program = verify(text::parse(text).into_result()?, &Models::new())?;
/// let optimized = optimize(&program, &Options::default())?;
/// assert_eq!(optimized.program.graph().len(), 2);
/// assert_eq!(optimized.record.fired["double-negative"], 1);
/// # Ok::<(), irc_ir::diagnostic::Diagnostics>(())
/// ```
///
/// # Errors
/// None for a verified program, unless a pass is wrong: then what the verifier says of its result.
pub fn optimize(program: &Verified, options: &Options) -> Result<Optimized, Diagnostics> {
    optimize_watched(program, options, &mut |_, _| {})
}

/// [`optimize`], which shows the program as each pass leaves it.
///
/// # Errors
/// As [`optimize`].
pub fn optimize_watched(program: &Verified, options: &Options, watch: &mut dyn FnMut(Pass, &Verified)) -> Result<Optimized, Diagnostics> {
    let mut work = Rewriting::new(options);
    let mut current = checked(canonical::run(program, &mut work), program)?;
    watch(Pass::Canonical, &current);
    if options.passes.contains(&Pass::Demand) {
        current = checked(demand::run(&current, &mut work), program)?;
        watch(Pass::Demand, &current);
    }
    if options.passes.contains(&Pass::EGraph) {
        let before = fired(&work.record);
        let graph = egraph::run(&current, &mut work);
        if fired(&work.record) > before {
            current = checked(graph, program)?;
            // What it chose may meet what it was built of elsewhere.
            current = checked(canonical::run(&current, &mut work), program)?;
        }
        watch(Pass::EGraph, &current);
    }
    debug_assert!(shows_the_same_types(program, &current), "what is saved has the type that it had");
    Ok(Optimized { program: current, record: work.record })
}

/// Whether what a program saves and logs has the element types that it had.
fn shows_the_same_types(before: &Verified, after: &Verified) -> bool {
    let shown = |program: &Verified| {
        let shows = |effect: &&Effect| matches!(effect.kind, EffectKind::Save { .. } | EffectKind::Log { .. });
        let ids: Vec<NodeId> = program.graph().effects.iter().filter(shows).flat_map(|effect| effect.operands.clone()).collect();
        ids.into_iter().map(|id| program.ty(id).as_tensor().map(|ty| (ty.dtype, ty.rank()))).collect::<Vec<_>>()
    };
    shown(before) == shown(after)
}

/// How often any rule fired.
fn fired(record: &Record) -> u64 {
    record.fired.values().sum()
}

/// The result of a pass, which may have more nodes than its program was allowed to have.
fn checked(graph: Graph, program: &Verified) -> Result<Verified, Diagnostics> {
    verify_within(graph, program.models(), Limits { nodes: usize::MAX, ..Limits::default() }).map_err(|errors| {
        let blamed = errors.0.into_iter().map(|error| {
            error
                .note("this is a mistake of the optimizer, not of the program")
                .help("`--no-optimize` runs the program as it is written, and `irc opt --disable-rule` tells which rule it is")
        });
        Diagnostics(blamed.collect())
    })
}
