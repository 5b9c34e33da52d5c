//! A whole program as an ONNX model that needs nothing but its weights.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use irc_ir::{
    attr::Literal,
    code::Code,
    diagnostic::{Diagnostic, Span},
    graph::{EffectKind, Graph, NodeId},
    op::Op,
    plan::{Schedule, Step},
    tensor::Tensor,
    types::{Name, Type},
    verify::{Verified, verify},
};
use irc_passes::{Strategy, Target};

use super::{Port, Splice, stage_values};
use crate::{
    Handles, failed, handle_of,
    onnx::{
        lower::{Lowering, WEIGHT_FILE},
        whole::{WeightFile, WholeModel},
    },
    steps::check_ids,
    weights::Weights,
};

/// The most values of a list.
const LONGEST: usize = 4096;

/// A program as an ONNX model.
#[derive(Debug)]
pub struct ProgramModel {
    /// The model.
    pub whole: WholeModel,
    /// The logs of the program, which are left out: a file shows nothing while it runs.
    pub logs: usize,
}

/// A program as an ONNX model.
///
/// What it saves are the outputs, under their names; parts of tuples and lists are `name.0`, `name.1`. Its constants with at
/// least one dimension, such as token ids, are inputs that have the program's values where none are given: other values of
/// the same shape can be fed. An input is called as the constant is, else after the forward that takes it, `a.tokens`, else
/// `tokens` or `constant` with a number; with `.given` where an output has the name. Equal constants are one input. Ids that are
/// fed, or computed, are not looked at: ONNX takes negative ones for places from the end.
///
/// # Errors
/// E4005 at what has no ONNX form: calls of functions, loops, extended forwards, stops, conditions of saves; if nothing is
/// saved. E4003 at an operation that has none for its types, and at token ids that have no row in an embedding. E3001 if two
/// parts of saves have one name. E4001 if a list has more than 4,096 values. E0012 if a weight is missing.
pub fn program_model(program: &Verified, models: &Handles) -> Result<ProgramModel, Diagnostic> {
    let (program, logs) = without_logs(program)?;
    let schedule = irc_passes::schedule(&program, &Target { strategy: Strategy::WHOLE_SEQUENCES, ..Target::default() })?;
    let outputs = outputs(&program, &schedule)?;
    let names: Vec<String> = outputs.iter().map(|(_, name)| name.clone()).collect();
    let inputs = inputs(&program, &schedule, &names);
    let mut reserved: Vec<String> = names.iter().chain(inputs.values().map(|(name, _)| name)).cloned().collect();

    let mut files = Files::new(&program, models, &schedule, &reserved)?;
    reserved.extend(files.names.values().cloned());
    let mut declare = |lowering: &mut Lowering<'_>, model: &Name, id: NodeId| files.declare(lowering, model, id);
    let mut splice = Splice::new(&program, &schedule, None, &reserved, &mut declare);
    for step in &schedule.steps {
        match step {
            Step::Host(id) if let Some((name, value)) = inputs.get(id) => splice.input_with_default(Port::Value(*id, 0), name, value)?,
            Step::Stage(stage) => {
                for given in stage_values(&program, &schedule, stage) {
                    if let Some((_, ids)) = inputs.get(&given.value) {
                        check_ids(&program, &program.models()[&stage.model], given.node, ids, given.value)?;
                    }
                }
                splice.step(step)?;
            }
            Step::Host(_) | Step::Join(_) | Step::Keep(_) | Step::Kernel(_) => splice.step(step)?,
            Step::Effect(_) => {}
        }
    }
    for (port, name) in &outputs {
        splice.output(*port, name)?;
    }
    let model = splice.finish();
    let inputs = schedule.steps.iter().filter_map(|step| if let Step::Host(id) = step { inputs.get(id) } else { None });
    let inputs = inputs.map(|(name, _)| name.clone()).collect();
    let weights = files.files.into_iter().map(|source| source.file).collect();
    Ok(ProgramModel { whole: WholeModel { model, inputs, outputs: names, weights }, logs })
}

/// Refuses what a file cannot do; the program without what only its logs need, and how many those are.
fn without_logs(program: &Verified) -> Result<(Verified, usize), Diagnostic> {
    let refuse = |what: &str, span: &Span, help: &str| {
        let error = Diagnostic::error(Code::E4005, format!("{what} has no ONNX form")).label(span.clone(), "");
        Err(error.help(help.to_owned()))
    };
    let mut graph: Graph = program.graph().clone();
    let all = graph.effects.len();
    let results = "only what is known without it can be emitted; `irc run` runs the whole program";
    for effect in &graph.effects {
        match &effect.kind {
            EffectKind::Call { name, .. } => return refuse(&format!("the call of your function `{name}`"), &effect.span, results),
            EffectKind::Loop { .. } => return refuse("a loop", &effect.span, "write its iterations out, one after the other"),
            EffectKind::Stop { .. } => return refuse("a stop", &effect.span, "leave it out, and what comes after it"),
            EffectKind::Save { name } if effect.guard.is_some() => {
                let what = format!("the condition of the save \"{name}\"");
                return refuse(&what, &effect.span, "save the value without the condition, and the condition as another value");
            }
            EffectKind::Save { .. } | EffectKind::Log { .. } => {}
        }
    }
    graph.effects.retain(|effect| !matches!(effect.kind, EffectKind::Log { .. }));
    let logs = all - graph.effects.len();
    let live = graph.live();
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        match &node.op {
            Op::Call { name, .. } => return refuse(&format!("the call of your function `{name}`"), graph.span(id), results),
            Op::Loop { .. } => return refuse("a loop", graph.span(id), "write its iterations out, one after the other"),
            Op::Extend {} => {
                let help = "a forward on all the tokens has the same values where nothing is written";
                return refuse("a forward that extends another", graph.span(id), help);
            }
            _ => {}
        }
    }
    // The same program with fewer effects holds to the same invariants.
    let same = |errors: irc_ir::diagnostic::Diagnostics| errors.0.into_iter().next().unwrap_or_else(|| failed("it does not verify"));
    Ok((verify(graph, program.models()).map_err(same)?, logs))
}

/// What is saved, part by part, under its names.
fn outputs(program: &Verified, schedule: &Schedule) -> Result<Vec<(Port, String)>, Diagnostic> {
    let lengths = lengths(program, schedule)?;
    let mut outputs: Vec<(Port, String)> = vec![];
    let mut known = BTreeSet::new();
    for effect in &program.graph().effects {
        let EffectKind::Save { name } = &effect.kind else { continue };
        let value = schedule.values[effect.operands[0].index()];
        let refuse = |what: &str| Err(Diagnostic::error(Code::E4005, format!("{what} has no ONNX form")).label(effect.span.clone(), ""));
        let parts = match program.ty(value) {
            Type::Tensor(_) => vec![name.to_string()],
            Type::Tuple(parts) if parts.iter().all(|part| part.as_tensor().is_some()) => {
                (0..parts.len()).map(|at| format!("{name}.{at}")).collect()
            }
            Type::List(of) if of.as_tensor().is_some() => match lengths.get(&value) {
                Some(&length) => (0..length).map(|at| format!("{name}.{at}")).collect(),
                None => return refuse("a list that is not made of values here"),
            },
            Type::Tuple(_) | Type::List(_) => return refuse("a tuple of tuples"),
            Type::Str => return refuse("a text"),
            Type::Opaque | Type::Forward(_) => return refuse("what is no tensor"),
        };
        for (part, name) in parts.into_iter().enumerate() {
            if !known.insert(name.clone()) {
                let message = format!("two outputs would have the name \"{name}\"");
                return Err(Diagnostic::error(Code::E3001, message).label(effect.span.clone(), ""));
            }
            outputs.push((Port::Value(value, part), name));
        }
    }
    if outputs.is_empty() {
        let error = Diagnostic::error(Code::E4005, "the program saves nothing, and what it saves would be the outputs");
        return Err(error.help("save a value: `save %x as \"x\"`"));
    }
    Ok(outputs)
}

/// How many values each list has that is made of values one by one.
///
/// # Errors
/// E4001 if one has more than a graph is worth: lists of themselves grow quickly, and each value has a name in each list.
fn lengths(program: &Verified, schedule: &Schedule) -> Result<BTreeMap<NodeId, usize>, Diagnostic> {
    let mut lengths: BTreeMap<NodeId, usize> = BTreeMap::new();
    for step in &schedule.steps {
        let Step::Host(id) = step else { continue };
        let node = program.graph().node(*id);
        let of = |operand: usize| lengths.get(&schedule.values[node.operands[operand].index()]).copied();
        let length = match &node.op {
            Op::List { .. } => Some(node.operands.len()),
            Op::Append {} if node.operands.len() == 2 => of(0).map(|length| length + 1),
            Op::Join {} => of(0).zip(of(1)).map(|(first, second)| first + second),
            _ => None,
        };
        if let Some(length) = length {
            if length > LONGEST {
                let message = format!("a list of {length} values has no ONNX form: {LONGEST} are the most");
                return Err(Diagnostic::error(Code::E4001, message).label(program.graph().span(*id).clone(), ""));
            }
            lengths.insert(*id, length);
        }
    }
    Ok(lengths)
}

/// The constants that can be replaced, with their names.
fn inputs(program: &Verified, schedule: &Schedule, outputs: &[String]) -> BTreeMap<NodeId, (String, Tensor)> {
    let graph = program.graph();
    let mut taken: BTreeSet<String> = outputs.iter().cloned().collect();
    let mut found = BTreeMap::new();
    // Of equal values any may have a name, and any forward may take it.
    let mut labels: BTreeMap<NodeId, &Name> = BTreeMap::new();
    let mut forwards: BTreeMap<NodeId, Option<&Name>> = BTreeMap::new();
    for (id, node) in graph.nodes() {
        if let Some(label) = graph.label(id) {
            labels.entry(schedule.values[id.index()]).or_insert(label);
        }
        if let Op::Forward { .. } = node.op {
            let first = forwards.entry(schedule.values[node.operands[0].index()]).or_default();
            *first = first.or(graph.label(id));
        }
    }
    let values = schedule.steps.iter().filter_map(|step| if let Step::Host(id) = step { Some(*id) } else { None });
    for id in values {
        let Op::Const { value: Literal::Tensor(value) } = &graph.node(id).op else { continue };
        if value.shape().is_empty() {
            continue;
        }
        let free = |name: &String| !taken.contains(name);
        let numbered = |word: &str| (0..).map(|at| format!("{word}.{at}")).find(free).unwrap_or_else(|| word.to_owned());
        let own = match (labels.get(&id), forwards.get(&id)) {
            (Some(label), _) => Some(label.to_string()),
            (None, Some(Some(forward))) => Some(format!("{forward}.tokens")),
            (None, _) => None,
        };
        let name = match own {
            Some(name) if free(&name) => name,
            Some(name) if free(&format!("{name}.given")) => format!("{name}.given"),
            _ => numbered(if forwards.contains_key(&id) { "tokens" } else { "constant" }),
        };
        taken.insert(name.clone());
        found.insert(id, (name, value.to_tensor()));
    }
    found
}

/// The weights of the models that the program computes with, and the files that they come from.
struct Files<'a> {
    program: &'a Verified,
    files: Vec<Source>,
    /// The file of each model of the program.
    of: BTreeMap<Name, usize>,
    /// What each weight is called, by its file and its own name.
    names: BTreeMap<(usize, Name), String>,
    declared: BTreeSet<(usize, Name)>,
}

struct Source {
    weights: Arc<Weights>,
    file: WeightFile,
}

impl<'a> Files<'a> {
    /// Weights keep their names, after that of a model where there are several files; with a mark where an input or an output,
    /// those in `taken`, has the name.
    fn new(program: &'a Verified, models: &Handles, schedule: &Schedule, taken: &[String]) -> Result<Files<'a>, Diagnostic> {
        let mut files = Files { program, files: vec![], of: BTreeMap::new(), names: BTreeMap::new(), declared: BTreeSet::new() };
        let used: BTreeSet<&Name> =
            schedule.steps.iter().filter_map(|step| if let Step::Stage(step) = step { Some(&step.model) } else { None }).collect();
        for &name in &used {
            let handle = handle_of(models, name)?;
            let known = files.files.iter().position(|source| Arc::ptr_eq(&source.weights, &handle.weights));
            let at = known.unwrap_or_else(|| {
                let at = files.files.len();
                let file = if at == 0 { WEIGHT_FILE.to_owned() } else { format!("weights.{at}.data") };
                let file = WeightFile::new(file, &handle.weights);
                files.files.push(Source { weights: handle.weights.clone(), file });
                at
            });
            files.of.insert(name.clone(), at);
        }
        let mut taken: BTreeSet<String> = taken.iter().cloned().collect();
        for model in used {
            let at = files.of[model];
            for decl in program.models()[model].weights() {
                files.names.entry((at, decl.name.clone())).or_insert_with(|| {
                    let mut name = if files.files.len() == 1 { decl.name.to_string() } else { format!("{model}/{}", decl.name) };
                    while !taken.insert(name.clone()) {
                        name.push('\'');
                    }
                    name
                });
            }
        }
        Ok(files)
    }

    fn declare(&mut self, lowering: &mut Lowering<'_>, model: &Name, id: NodeId) -> Result<(), Diagnostic> {
        let spec = &self.program.models()[model];
        let Op::Weight { name, .. } = &spec.graph().node(id).op else { return Err(failed(format!("{id:?} is not a weight"))) };
        let key = (self.of[model], name.clone());
        let full = &self.names[&key];
        let source = &mut self.files[key.0];
        let decl = spec.weights().iter().find(|decl| decl.name == *name).ok_or_else(|| failed(format!("`{name}` is no weight")))?;
        // Several architectures may share weights: each has to be of the type that this one says.
        let place = source.weights.place(decl)?;
        if self.declared.contains(&key) {
            lowering.bind(id, vec![full.clone()]);
            return Ok(());
        }
        let place = source.file.place(place);
        lowering.weight(id, &place, full, &source.file.name)?;
        self.declared.insert(key);
        Ok(())
    }
}
