//! Rules: what they are called, what they promise, and the record of what they did.

use std::collections::{BTreeMap, BTreeSet};

use irc_ir::diagnostic::Span;

/// What a rule does to the bits of a result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Numerics {
    /// Both sides have the same bits under [`irc_ir::eval`].
    Exact,
    /// They differ in roundings. Applied only where the user allows it ([`Options::fast`]).
    Rounding,
}

/// The part of the pipeline that a rule belongs to, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Pass {
    /// What is strictly better fires as soon as a node is built.
    Canonical,
    /// Nothing is computed that nobody asks for: parts move towards what they are parts of.
    Demand,
    /// Where there are alternatives, the cheapest is taken.
    EGraph,
}

impl Pass {
    /// All of them, in their order.
    pub const ALL: [Pass; 3] = [Pass::Canonical, Pass::Demand, Pass::EGraph];

    /// What the command line calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Pass::Canonical => "canonical",
            Pass::Demand => "demand",
            Pass::EGraph => "e-graph",
        }
    }
}

/// A rewrite rule, without its code: that is beside it in the table of its pass.
#[derive(Debug)]
pub struct Rule {
    /// Its name: `slice-of-slice`.
    pub name: &'static str,
    /// What it promises.
    pub numerics: Numerics,
    /// Where it is applied.
    pub pass: Pass,
    /// The equation, for people: `slice (slice x) = slice x`.
    pub law: &'static str,
    /// A program to which it applies, as text. Its values come from the function `any` of the host and from a small model `m`.
    pub witness: &'static str,
}

/// What the optimizer may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The passes that run; their order is fixed.
    pub passes: BTreeSet<Pass>,
    /// Whether [`Numerics::Rounding`] rules apply, too.
    pub fast: bool,
    /// Rules that do not apply, by name.
    pub disabled: BTreeSet<String>,
    /// How often rules may fire at most: halving it finds the one that breaks something.
    pub fuel: Option<u64>,
    /// Whether the record has proofs of what the e-graph made.
    pub proofs: bool,
}

impl Default for Options {
    /// All passes, all exact rules, without limit.
    fn default() -> Options {
        Options { passes: Pass::ALL.into(), fast: false, disabled: BTreeSet::new(), fuel: None, proofs: false }
    }
}

/// Something that happened, or nearly did, at a place in the program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Firing {
    /// The name of the rule.
    pub rule: &'static str,
    /// Where in the user's program.
    pub span: Span,
    /// For a near miss, why it did not fire.
    pub why_not: Option<String>,
}

/// Why a value may be computed in another way: one rule after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// Where the value stands in the user's program.
    pub span: Span,
    /// The steps in their order, each an equation and the name of its rule.
    pub steps: Vec<String>,
}

/// The most near misses and firings with places that are kept; all are counted.
const MOST_KEPT: usize = 1_000;

/// The record of a compilation: what fired, what nearly did, and how much work it was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// How often each rule fired.
    pub fired: BTreeMap<&'static str, u64>,
    /// The first of them, with their places.
    pub firings: Vec<Firing>,
    /// Important rewrites that did not happen, with the reason: the first of them.
    pub missed: Vec<Firing>,
    /// Counters of work that no clock disturbs: `nodes interned`, `rules tried`, `e-nodes`.
    pub counters: BTreeMap<&'static str, u64>,
    /// Limits that struck, in words for the user.
    pub limits: Vec<String>,
    /// Proofs of what the e-graph made, where they are asked for.
    pub proofs: Vec<Proof>,
}

/// Decides which rules may fire, and keeps the record.
#[derive(Debug)]
pub struct Rewriting<'a> {
    options: &'a Options,
    fuel: u64,
    /// What happened so far.
    pub record: Record,
}

impl<'a> Rewriting<'a> {
    /// With nothing done yet.
    pub fn new(options: &'a Options) -> Rewriting<'a> {
        Rewriting { options, fuel: options.fuel.unwrap_or(u64::MAX), record: Record::default() }
    }

    /// What is allowed.
    pub fn options(&self) -> &'a Options {
        self.options
    }

    /// Whether a rule may fire.
    pub fn allows(&self, rule: &Rule) -> bool {
        self.fuel > 0
            && self.options.passes.contains(&rule.pass)
            && (rule.numerics == Numerics::Exact || self.options.fast)
            && (self.options.disabled.is_empty() || !self.options.disabled.contains(rule.name))
    }

    /// Whether any rule may fire.
    pub fn has_fuel(&self) -> bool {
        self.fuel > 0
    }

    /// Whether a rule may do to bits what it does.
    pub fn allows_numerics(&self, rule: &Rule) -> bool {
        rule.numerics == Numerics::Exact || self.options.fast
    }

    /// Whether a rule may not fire only because it rounds.
    pub fn would_allow_fast(&self, rule: &Rule) -> bool {
        rule.numerics == Numerics::Rounding
            && !self.options.fast
            && self.fuel > 0
            && self.options.passes.contains(&rule.pass)
            && !self.options.disabled.contains(rule.name)
    }

    /// A rule that may fire did.
    pub fn fired(&mut self, rule: &'static Rule, span: &Span) {
        self.spend(rule);
        self.taken(rule, span);
    }

    /// A rule found another form of a value, which may be taken or not: that costs as much fuel as if it was.
    pub fn spend(&mut self, rule: &'static Rule) {
        self.fuel = self.fuel.saturating_sub(1);
        if self.fuel == 0 && self.options.fuel.is_some() {
            self.limited(format!("the fuel is spent: no rule fires after `{}`", rule.name));
        }
    }

    /// A limit struck. The user is told once.
    pub fn limited(&mut self, message: String) {
        if !self.record.limits.contains(&message) {
            self.record.limits.push(message);
        }
    }

    /// What a rule found was taken; its fuel is spent.
    pub fn taken(&mut self, rule: &'static Rule, span: &Span) {
        *self.record.fired.entry(rule.name).or_default() += 1;
        if self.record.firings.len() < MOST_KEPT {
            self.record.firings.push(Firing { rule: rule.name, span: span.clone(), why_not: None });
        }
    }

    /// A rule would have been worth it, but could not fire. The user is told once for a place.
    pub fn missed(&mut self, rule: &'static Rule, span: &Span, why: impl FnOnce() -> String) {
        let known = |firing: &Firing| firing.rule == rule.name && firing.span == *span;
        if self.record.missed.len() < MOST_KEPT && !self.record.missed.iter().any(known) {
            self.record.missed.push(Firing { rule: rule.name, span: span.clone(), why_not: Some(why()) });
        }
    }

    /// Counts work.
    pub fn count(&mut self, what: &'static str, times: u64) {
        *self.record.counters.entry(what).or_default() += times;
    }
}
