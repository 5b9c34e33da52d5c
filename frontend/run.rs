//! From a program to results: prompts become token ids, the program is verified, a backend runs it.

use std::{collections::BTreeMap, fmt, path::Path, sync::OnceLock};

use irc_backends::{
    Backend, Event, Handles, Outcome, Report, Stopped,
    execute::Driven,
    host::{Functions, Host},
    rten::Rten,
};
use irc_ir::{
    attr::Literal,
    code::Code,
    diagnostic::{Diagnostic, Diagnostics, Span},
    eval::Value,
    graph::{Graph, NodeId, Operands},
    infer::Models,
    op::Op,
    tensor::Tensor,
    types::{DType, Name},
    verify::{Verified, verify},
};
use irc_passes::{optimize, rule::Options};

use crate::{generate::Planned, models::Model, names};

/// The backend of this process that programs run on unless they are told otherwise: rten on all cores.
pub fn default_backend() -> &'static Driven {
    static DEFAULT: OnceLock<Driven> = OnceLock::new();
    DEFAULT.get_or_init(|| Driven::new(Rten::new(None)))
}

mod functions;
mod rows;

use functions::WithTokenizers;
pub(crate) use functions::function_of;
pub use rows::Side;

/// Binds the prompts of a program to token ids and its names to those of the models, and checks it.
///
/// # Errors
/// All that is wrong with the program, in its order. No weights are read.
pub fn check(mut graph: Graph, models: &BTreeMap<Name, Model>) -> Result<Verified, Diagnostics> {
    let mut found = bind_prompts(&mut graph, models);
    let specs: Models = models.iter().map(|(name, model)| (name.clone(), model.spec().clone())).collect();
    let misnamed = names::bind(&mut graph, &specs);
    match verify(graph, &specs) {
        Ok(verified) if found.is_empty() => Ok(verified),
        Ok(_) => Err(Diagnostics(found)),
        Err(more) => {
            // A prompt that could not be bound has been reported already. Of a name that could not be, more is known here than
            // the verifier knows, but whether it follows from another mistake the verifier knows.
            let prompt = |diagnostic: &Diagnostic| diagnostic.code == Code::E2008 && !found.is_empty();
            let place =
                |diagnostic: &Diagnostic| diagnostic.labels.first().map(|label| label.span.clone()).filter(|span| *span != Span::None);
            let name = |diagnostic: &Diagnostic| {
                let at = place(diagnostic)?;
                misnamed.iter().find(|other| other.code == diagnostic.code && place(other).as_ref() == Some(&at)).cloned()
            };
            let more: Vec<Diagnostic> = more
                .0
                .into_iter()
                .filter(|diagnostic| !prompt(diagnostic))
                .map(|diagnostic| name(&diagnostic).unwrap_or(diagnostic))
                .collect();
            found.extend(more);
            let mut found = Diagnostics(found);
            found.sort();
            Err(found)
        }
    }
}

/// The program that is run in the place of a checked one: it means the same, and costs less. Places in it are those of the program
/// that was checked.
///
/// # Errors
/// None, unless the optimizer makes a mistake: then what the verifier finds.
pub fn optimized(program: &Verified) -> Result<Verified, Diagnostics> {
    optimize(program, &Options::default()).map(|optimized| optimized.program)
}

/// Checks a program, optimizes it and runs it. What [`check`] gives runs as it is written by [`run_verified`].
///
/// # Errors
/// What is wrong with the program; E0012 if weights are damaged; E4003 if it fails while it runs.
pub fn run(
    graph: Graph,
    models: &BTreeMap<Name, Model>,
    backend: &dyn Backend,
    on_event: &mut (dyn FnMut(Event) + Send),
) -> Result<Results, Diagnostics> {
    run_verified(&optimized(&check(graph, models)?)?, models, backend, on_event).map_err(Diagnostics::from)
}

/// [`run`] for a host, whose functions the program may call.
///
/// ```
/// use std::collections::BTreeMap;
/// use irc::{backends::{host::Functions, reference::Reference}, ir::{eval::Value, tensor::Tensor, text}, run};
///
/// let program = r#"graph @ask {
///   %answer = do call("how many?") {name: "ask", returns: tensor<i64>}
///   save add(%answer, 1) as "one more"
/// }"#;
/// let mut host = Functions::new(|event| println!("{}", run::describe(&event)));
/// host.add("ask", |operands| match operands[0].as_str() {
///     Some("how many?") => Ok(Tensor::scalar(41i64).into()),
///     other => Err(format!("I do not understand {other:?}")),
/// });
/// let results = run::run_for(text::parse(program).into_result()?, &BTreeMap::new(), &Reference, &mut host)?;
/// assert_eq!(results.ints("one more")?, [42]);
/// # Ok::<(), irc::ir::diagnostic::Diagnostics>(())
/// ```
///
/// # Errors
/// As [`run`]; E3009 if the host does not have a function that the program calls; E4006 if the host's
/// [`Cancel`](irc_backends::cancel::Cancel) ends the run.
pub fn run_for(graph: Graph, models: &BTreeMap<Name, Model>, backend: &dyn Backend, host: &mut dyn Host) -> Result<Results, Diagnostics> {
    run_verified_for(&optimized(&check(graph, models)?)?, models, backend, host).map_err(Diagnostics::from)
}

/// Runs a checked program as it is.
///
/// # Errors
/// E0012 if weights are damaged; E4003 if it fails while it runs.
pub fn run_verified(
    program: &Verified,
    models: &BTreeMap<Name, Model>,
    backend: &dyn Backend,
    on_event: &mut (dyn FnMut(Event) + Send),
) -> Result<Results, Diagnostic> {
    run_verified_for(program, models, backend, &mut Functions::new(on_event))
}

/// [`run_verified`] for a host, whose functions the program may call, and who may cancel it.
///
/// # Errors
/// As [`run_for`].
pub fn run_verified_for(
    program: &Verified,
    models: &BTreeMap<Name, Model>,
    backend: &dyn Backend,
    host: &mut dyn Host,
) -> Result<Results, Diagnostic> {
    let mut host = WithTokenizers { host, models };
    backend.run_for(program, &handles(program, models)?, &mut host).map(Results::from)
}

/// The weights that a program needs.
pub(crate) fn handles(program: &Verified, models: &BTreeMap<Name, Model>) -> Result<Handles, Diagnostic> {
    let used = program.models().keys().filter_map(|name| Some((name.clone(), models.get(name)?)));
    used.map(|(name, model)| Ok((name, model.handle()?))).collect()
}

/// Replaces the texts that forwards take by their token ids, in the bodies of loops, too.
fn bind_prompts(graph: &mut Graph, models: &BTreeMap<Name, Model>) -> Vec<Diagnostic> {
    let mut found = vec![];
    let mut bound: BTreeMap<NodeId, Op> = BTreeMap::new();
    for (forward, node) in graph.nodes() {
        let (Op::Forward { model }, Some(&operand)) = (&node.op, node.operands.first()) else { continue };
        let (Some(texts), Some(model)) = (texts_of(graph, operand), models.get(model)) else { continue };
        match encode(graph, &texts, model) {
            Ok(ids) => drop(bound.insert(forward, Op::Const { value: (&ids).into() })),
            Err(error) => found.push(error.or_label(graph.span(operand)).or_label(graph.span(forward))),
        }
    }
    // A text that is used for nothing else becomes its ids where it stands. Another stays what it is: it may be saved, or be
    // the prompt of a model with another tokenizer.
    let mut by_text: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    bound.keys().for_each(|forward| by_text.entry(graph.node(*forward).operands[0]).or_default().push(*forward));
    let uses = graph.uses();
    for (text, forwards) in by_text {
        let ids = bound[&forwards[0]].clone();
        let alone = uses[text.index()] as usize == forwards.len() && graph.written_types().iter().all(|(id, ..)| *id != text);
        if alone && forwards.iter().all(|forward| bound[forward] == ids) {
            graph.replace(text, ids, []);
            forwards.iter().for_each(|forward| drop(bound.remove(forward)));
        }
    }
    if !bound.is_empty() {
        *graph = with_own_prompts(graph, &bound);
    }
    for body in graph.bodies_mut() {
        let mut inside = vec![];
        let edited = body.edit(|graph| inside = bind_prompts(graph, models));
        found.extend(inside);
        found.extend(edited.err());
    }
    found
}

/// The texts that a forward takes: one, or a list of them.
fn texts_of(graph: &Graph, operand: NodeId) -> Option<Vec<(NodeId, &str)>> {
    let text = |id: NodeId| if let Op::Const { value: Literal::Str(text) } = &graph.node(id).op { Some((id, &**text)) } else { None };
    match &graph.node(operand).op {
        Op::Tuple {} => graph.node(operand).operands.iter().map(|part| text(*part)).collect(),
        _ => Some(vec![text(operand)?]),
    }
}

/// Token ids of texts, i64 [texts, tokens].
fn encode(graph: &Graph, texts: &[(NodeId, &str)], model: &Model) -> Result<Tensor, Diagnostic> {
    let mut rows: Vec<Vec<i64>> = vec![];
    for (id, text) in texts {
        let ids = model.encode(text).map_err(|error| error.or_label(graph.span(*id)))?;
        if ids.is_empty() {
            let error = Diagnostic::error(Code::E2004, "the prompt is empty: a forward needs at least one token");
            return Err(error.or_label(graph.span(*id)));
        }
        rows.push(ids);
    }
    let length = rows.first().map_or(0, Vec::len);
    if let Some((other, (id, _))) = rows.iter().zip(texts).find(|(row, _)| row.len() != length) {
        let message = format!("the prompts of one forward have {length} and {} tokens", other.len());
        return Err(Diagnostic::error(Code::E2004, message)
            .label(graph.span(*id).clone(), format!("{} tokens", other.len()))
            .label(graph.span(texts[0].0).clone(), format!("{length} tokens"))
            .note("there is no padding: it would move tokens to other positions, and change what the model computes")
            .help("give each prompt a forward of its own, `%a = forward(\"…\")`, `%b = forward(\"…\")`: they run together all the same"));
    }
    Ok(Tensor::new([rows.len(), length], rows.concat()))
}

/// The graph with an operand of its own for each of these forwards.
fn with_own_prompts(graph: &Graph, prompts: &BTreeMap<NodeId, Op>) -> Graph {
    let mut new = Graph::new(graph.name.clone());
    new.models = graph.models.clone();
    let mut moved: Vec<NodeId> = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        let mut operands: Operands = node.operands.iter().map(|operand| moved[operand.index()]).collect();
        if let Some(prompt) = prompts.get(&id) {
            operands[0] = new.add(prompt.clone(), [], graph.span(node.operands[0]).clone());
        }
        let place = new.add(node.op.clone(), operands, graph.span(id).clone());
        if let Some(label) = graph.label(id) {
            new.set_label(place, label.clone());
        }
        moved.push(place);
    }
    graph.written_types().iter().for_each(|(id, ty, span)| new.write_type(moved[id.index()], ty.clone(), span.clone()));
    new.effects = graph.effects.iter().map(|effect| effect.map(|value| moved[value.index()])).collect();
    new.results = graph.results.iter().map(|result| moved[result.index()]).collect();
    new.until = graph.until.map(|until| moved[until.index()]);
    new
}

/// What a program saved.
#[derive(Clone, Debug)]
pub struct Results {
    outcome: Outcome,
    /// The generations of the session, in their order.
    pub(crate) generations: Vec<Planned>,
}

impl From<Outcome> for Results {
    fn from(outcome: Outcome) -> Results {
        Results { outcome, generations: vec![] }
    }
}

impl Results {
    /// The names and values, in the order of the program.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.outcome.saves.iter().map(|(name, value)| (&**name, value))
    }

    /// The value of a name.
    ///
    /// # Errors
    /// E4004 if nothing was saved under it.
    pub fn get(&self, name: &str) -> Result<&Value, Diagnostic> {
        self.outcome.get(name).ok_or_else(|| {
            let error = Diagnostic::error(Code::E4004, format!("nothing was saved as \"{name}\""));
            if let Some(why) = self.why_unset(name) {
                return error.note(why);
            }
            error.suggest(name, self.iter().map(|(name, _)| name))
        })
    }

    /// The tensor of a name.
    ///
    /// # Errors
    /// E4004 if nothing was saved under it, or not a tensor.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, Diagnostic> {
        let value = self.get(name)?;
        value.as_tensor().ok_or_else(|| Diagnostic::error(Code::E4004, format!("\"{name}\" is {}, not a tensor", value.ty())))
    }

    /// The elements of a tensor of f32, row-major.
    ///
    /// # Errors
    /// E4004 if nothing was saved under the name, or something else.
    pub fn floats(&self, name: &str) -> Result<&[f32], Diagnostic> {
        let tensor = self.tensor(name)?;
        tensor.values().ok_or_else(|| Diagnostic::error(Code::E4004, format!("\"{name}\" is {}, not of f32", tensor.ty())))
    }

    /// The elements of a tensor of i64, row-major: token ids, indices.
    ///
    /// # Errors
    /// E4004 if nothing was saved under the name, or something else.
    pub fn ints(&self, name: &str) -> Result<&[i64], Diagnostic> {
        let tensor = self.tensor(name)?;
        tensor.values().ok_or_else(|| Diagnostic::error(Code::E4004, format!("\"{name}\" is {}, not of i64", tensor.ty())))
    }

    /// Whether the program stopped itself, and why: what would have come after that is not here.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.outcome.stopped.as_ref()
    }

    /// What was done to get them.
    pub fn report(&self) -> &Report {
        &self.outcome.report
    }

    /// Writes the tensors as a safetensors file, one key a save, parts of tuples as `name.0`; what is no tensor, and the
    /// numeric class, go to the metadata.
    ///
    /// # Errors
    /// E0010 if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Diagnostic> {
        let mut tensors = vec![];
        let mut metadata = std::collections::HashMap::from([("irc.numeric_class".to_owned(), self.report().numeric_class.clone())]);
        self.iter().for_each(|(name, value)| flatten(name, value, &mut tensors, &mut metadata));
        safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|error| {
            Diagnostic::error(Code::E0010, format!("the results cannot be written: {error}")).label(Span::file(path, ""), "")
        })
    }
}

fn flatten(name: &str, value: &Value, tensors: &mut Vec<(String, Stored)>, metadata: &mut std::collections::HashMap<String, String>) {
    match value {
        Value::Tensor(tensor) => tensors.push((name.to_owned(), Stored { bytes: tensor.to_le_bytes(), tensor: tensor.clone() })),
        Value::Tuple(parts) => parts.iter().enumerate().for_each(|(at, part)| flatten(&format!("{name}.{at}"), part, tensors, metadata)),
        Value::List { items, .. } => {
            items.iter().enumerate().for_each(|(at, item)| flatten(&format!("{name}.{at}"), item, tensors, metadata))
        }
        Value::Str(text) => drop(metadata.insert(name.to_owned(), text.to_string())),
        // It is never saved: only the user's functions understand it.
        Value::Opaque(_) => {}
    }
}

/// A tensor as safetensors wants it.
struct Stored {
    tensor: Tensor,
    bytes: Vec<u8>,
}

impl safetensors::View for Stored {
    fn dtype(&self) -> safetensors::Dtype {
        match self.tensor.dtype() {
            DType::F64 => safetensors::Dtype::F64,
            DType::F32 => safetensors::Dtype::F32,
            DType::F16 => safetensors::Dtype::F16,
            DType::BF16 => safetensors::Dtype::BF16,
            DType::I64 => safetensors::Dtype::I64,
            DType::I32 => safetensors::Dtype::I32,
            DType::U8 => safetensors::Dtype::U8,
            DType::Bool => safetensors::Dtype::BOOL,
        }
    }
    fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }
    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.bytes.as_slice().into()
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// An event in one line, as a person reads it.
pub fn describe(event: &Event) -> String {
    let value = Shown(event.value());
    event.label().map_or_else(|| value.to_string(), |label| format!("{label}: {value}"))
}

/// A value as a person reads it: type and first elements.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Tensor(tensor) => write!(out, "{tensor:?}"),
            Value::Tuple(parts) => {
                out.write_str("(")?;
                for (at, part) in parts.iter().enumerate() {
                    write!(out, "{}{}", if at > 0 { ", " } else { "" }, Shown(part))?;
                }
                out.write_str(")")
            }
            Value::List { items, .. } => {
                out.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(out, "{}{}", if at > 0 { ", " } else { "" }, Shown(item))?;
                }
                out.write_str("]")
            }
            Value::Str(text) => out.write_str(text),
            Value::Opaque(_) => out.write_str("opaque"),
        }
    }
}
