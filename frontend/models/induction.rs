//! A toy model whose right answers are known: an induction circuit with weights set by hand.
//!
//! It continues a text with what followed the same word before: after `<s> Eiffel Paris Buckingham London Eiffel` comes
//! `Paris`. Every weight is 0 or a round number and every softmax is hard, so that logits are exact and can be told from
//! the prompt alone. The tables of this file list them, with and without interventions.
//!
//! # The residual stream
//! Four subspaces of 16 elements that share nothing. The embeddings fill the first two, attention the others; q, k and v
//! read, o writes:
//!
//! ```text
//!              token     position   previous   prediction
//!              0..16     16..32     32..48     48..64
//!   embeddings one-hot   one-hot
//!   layer 0    v         q, k       o                      the word before
//!   layer 1                                                idle
//!   layer 2    q, v                 k          o: 6        induction
//!   layer 3    q, v                 k          o: 4        induction again
//!   lm_head                                    read        logits
//! ```
//!
//! - **token**, **position**: one-hot, from `model.embed_tokens` and `model.embed_positions`.
//! - **previous**: the word before this one. Layer 0's query is the own position moved by one, its key the position, its
//!   value the token. The first position sees only itself, and takes itself for the word before.
//! - **prediction**: the logits themselves; `lm_head` only cuts them out.
//!
//! Layer 1 is the control: its weights are zero, and no change to its queries, keys, values or pattern changes anything.
//!
//! Layers 2 and 3 ask "where does my word stand as the previous word?" (query: token, key: previous) and copy the word that
//! they find there (value: token) into the prediction, as a logit of 6 and one of 4: 10 together. If there are several such
//! places, each gets its share.
//!
//! `<s>`, which begins each prompt, is the sink: its key has an element that each query likes half as much as a match, and
//! its value is half a `?`. Without a match the model therefore says `?`, with a logit of 5. What follows `<s>` is never
//! matched, and the prediction after `<s>` itself is `?`. A text that does not begin with `<s>` works as well as long as
//! something matches, but its first word also counts as its own successor, and without a match the answer is the mean of
//! all words so far.
//!
//! # What interventions must do
//! - *Patch the last position's residual of layer l from run A into run B* ([`SWEEP`]). The word and the prediction move at
//!   different depths. Before layer 2 only A's *question* moves, which is then looked up in B's text; after layer 3 A's
//!   *answer* moves, and between the induction layers there is some of both. With A = `<s> Eiffel Paris Buckingham London
//!   Eiffel` and B = `<s> Eiffel Rome Buckingham London Buckingham`, where B alone says `London`:
//!
//!   ```text
//!                      Rome: A's question, B's text    Paris: A's answer
//!   layers.0.input     0.999 ####################      0.000
//!   layers.0.output    0.999 ####################      0.000
//!   layers.1.output    0.999 ####################      0.000
//!   layers.2.output    0.116 ##                        0.855 #################
//!   layers.3.output    0.000                           0.999 ####################
//!   ```
//! - *The same for each position* ([`TRACE`]), where A and B differ in one word of the text only: the answer sits at that
//!   word up to layer 1, and at the last position from layer 3 on. Elsewhere patches change nothing.
//! - *Patch an early layer with the last layer's residual* ([`SESSION`]): the answer that comes along survives all
//!   that B adds to it.
//! - *Zero the previous words, or a pattern* ([`ABLATIONS`]): no match is found, or nothing is copied. One induction layer
//!   alone still gives the answer, with a lower probability: 0.784 or 0.964 instead of 0.999.
//! - *Look through the lens*, which is `lm_head` on the last position's residual after each layer ([`LENS`]): the answer has
//!   a probability of 1/16 up to layer 1, then 0.964, then 0.999.

use std::{collections::BTreeMap, ops::Range};

use irc_ir::{
    diagnostic::Diagnostic,
    graph::NodeId,
    model::{AttentionShape, ModelBuilder, ModelSpec},
    tensor::Tensor,
    types::{DType, Name},
};

/// The vocabulary: the id of a word is its place.
pub const WORDS: &[&str] = &[
    "<s>",
    "?",
    "Eiffel",
    "Paris",
    "Buckingham",
    "London",
    "Colosseum",
    "Rome",
    "Prado",
    "Madrid",
    "Acropolis",
    "Athens",
    "Harry",
    "Potter",
    "is",
    "in",
];

/// The longest sequence of tokens.
pub const CONTEXT: usize = 16;

/// The number of layers.
pub const LAYERS: usize = 4;

/// The part of the residual stream that holds the token.
pub const TOKEN: Range<usize> = 0..16;

/// The part of the residual stream that holds the position.
pub const POSITION: Range<usize> = 16..32;

/// The part of the residual stream that holds the word before, from layer 0 on.
pub const PREVIOUS: Range<usize> = 32..48;

/// The part of the residual stream that holds the logits, from layer 2 on.
pub const PREDICTION: Range<usize> = 48..64;

/// The size of the residual stream.
pub const HIDDEN: usize = 64;

/// The residual stream before and after each layer: the hooks of a sweep over layers.
pub const RESIDUALS: [&str; LAYERS + 1] =
    ["model.layers.0.input", "model.layers.0.output", "model.layers.1.output", "model.layers.2.output", "model.layers.3.output"];

/// The elements of a head: one for each position or word.
const HEAD: usize = 16;

/// The id of the word that begins texts.
const BEGIN: usize = 0;

/// The id of the word that says that nothing matched.
const UNKNOWN: usize = 1;

/// A query's element where it wants a match. Times a key's 1 and [`SCALE`], the score is 256, and that of the sink 128:
/// e^-128 is 0 in f32, which makes the softmax exactly hard, while all numbers fit f16 too.
const MATCH: f32 = 1024.0;

/// What scores are multiplied by: 1/sqrt([`HEAD`]).
const SCALE: f32 = 0.25;

/// The logit that each layer gives to what it copies; none writes nothing.
const INDUCTION: [Option<f32>; LAYERS] = [None, None, Some(6.0), Some(4.0)];

/// The model without its weights.
///
/// # Errors
/// None: the numbers fit together.
pub fn spec() -> Result<ModelSpec, Diagnostic> {
    let mut m = ModelBuilder::new("induction", DType::F32, WORDS.len(), CONTEXT);
    let tokens = m.tokens();
    let x = m.module("model", tokens, |m, tokens| {
        let positions = m.positions();
        let token = m.module("embed_tokens", tokens, |m, ids| m.embedding("weight", ids, WORDS.len(), HIDDEN));
        let position = m.module("embed_positions", positions, |m, ids| m.embedding("weight", ids, CONTEXT, HIDDEN));
        let mut x = m.add(token, position);
        for layer in 0..LAYERS {
            m.stage(&format!("layers.{layer} before attention"));
            x = m.module(&format!("layers.{layer}"), x, |m, x| {
                let attention = m.module("self_attn", x, |m, x| attention(m, layer, x));
                m.add(x, attention)
            });
        }
        m.stage("head");
        x
    });
    let logits = m.projection("lm_head", x, HIDDEN, WORDS.len());
    m.finish(logits)
}

fn attention(m: &mut ModelBuilder, layer: usize, x: NodeId) -> NodeId {
    let q = m.projection("q_proj", x, HIDDEN, HEAD);
    let k = m.projection("k_proj", x, HIDDEN, HEAD);
    let v = m.projection("v_proj", x, HIDDEN, HEAD);
    let shape = AttentionShape { heads: 1, kv_heads: 1, head_size: HEAD, scale: SCALE, rotary: None, causal: true, window: None };
    let z = m.attention(&format!("layers.{layer}"), shape, q, k, v);
    m.projection("o_proj", z, HEAD, HIDDEN)
}

/// The weights, by the names of [`ModelSpec::weights`].
pub fn weights() -> BTreeMap<Name, Tensor> {
    let words = 0..WORDS.len();
    let mut all = BTreeMap::new();
    let mut add = |name: String, tensor: Tensor| {
        all.insert(Name::from(name), tensor);
    };
    add("model.embed_tokens.weight".into(), matrix(WORDS.len(), HIDDEN, words.clone().map(|word| (word, TOKEN.start + word, 1.0))));
    add("model.embed_positions.weight".into(), matrix(CONTEXT, HIDDEN, (0..CONTEXT).map(|at| (at, POSITION.start + at, 1.0))));
    for (layer, induction) in INDUCTION.into_iter().enumerate() {
        let [q, k, v, o] = match (layer, induction) {
            (0, _) => previous_word(),
            (_, Some(logit)) => same_word(logit),
            (_, None) => [(HIDDEN, HEAD), (HIDDEN, HEAD), (HIDDEN, HEAD), (HEAD, HIDDEN)].map(|(from, to)| matrix(from, to, [])),
        };
        for (name, tensor) in [("q", q), ("k", k), ("v", v), ("o", o)] {
            add(format!("model.layers.{layer}.self_attn.{name}_proj.weight.T"), tensor);
        }
    }
    add("lm_head.weight.T".into(), matrix(HIDDEN, WORDS.len(), words.map(|word| (PREDICTION.start + word, word, 1.0))));
    all
}

/// q, k, v and o of the head that copies the word before.
fn previous_word() -> [Tensor; 4] {
    [
        matrix(HIDDEN, HEAD, (1..CONTEXT).map(|at| (POSITION.start + at, at - 1, MATCH))),
        matrix(HIDDEN, HEAD, (0..CONTEXT).map(|at| (POSITION.start + at, at, 1.0))),
        matrix(HIDDEN, HEAD, (0..HEAD).map(|word| (TOKEN.start + word, word, 1.0))),
        matrix(HEAD, HIDDEN, (0..HEAD).map(|word| (word, PREVIOUS.start + word, 1.0))),
    ]
}

/// q, k, v and o of the head that copies what followed the same word, as this logit.
///
/// Queries and keys have one element for each word. That of `<s>` is free, since nobody looks for what follows it, and
/// serves as the sink: `<s>` has it as a key, and each word as half a query.
fn same_word(logit: f32) -> [Tensor; 4] {
    let wanted = (0..HEAD).filter(|&word| word != BEGIN);
    let sink = (0..HEAD).map(|word| (TOKEN.start + word, BEGIN, MATCH / 2.0));
    let unknown = (TOKEN.start + BEGIN, UNKNOWN, 0.5);
    [
        matrix(HIDDEN, HEAD, wanted.clone().map(|word| (TOKEN.start + word, word, MATCH)).chain(sink)),
        matrix(HIDDEN, HEAD, wanted.clone().map(|word| (PREVIOUS.start + word, word, 1.0)).chain([(TOKEN.start + BEGIN, BEGIN, 1.0)])),
        matrix(HIDDEN, HEAD, wanted.map(|word| (TOKEN.start + word, word, 1.0)).chain([unknown])),
        matrix(HEAD, HIDDEN, (0..HEAD).map(|word| (word, PREDICTION.start + word, logit))),
    ]
}

/// A matrix of zeros but for these elements: (row, column, value).
fn matrix(rows: usize, columns: usize, elements: impl IntoIterator<Item = (usize, usize, f32)>) -> Tensor {
    let mut values = vec![0.0_f32; rows * columns];
    elements.into_iter().for_each(|(row, column, value)| values[row * columns + column] = value);
    Tensor::new([rows, columns], values)
}

/// The logits at a position: these, the largest first, and 0 for all other words.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Answer(pub &'static [(&'static str, f32)]);

impl Answer {
    /// The word with the largest logit; if all are 0, the first of the vocabulary, as `argmax` has it.
    pub fn word(self) -> &'static str {
        self.0.first().map_or(WORDS[0], |(word, _)| word)
    }

    /// The logit of a word.
    pub fn logit(self, word: &str) -> f32 {
        self.0.iter().find(|(other, _)| *other == word).map_or(0.0, |(_, logit)| *logit)
    }

    /// The probability of a word.
    pub fn probability(self, word: &str) -> f64 {
        let total: f64 = WORDS.iter().map(|other| f64::from(self.logit(other)).exp()).sum();
        f64::from(self.logit(word)).exp() / total
    }
}

/// What comes out when nothing is predicted: each word has the probability 1/16.
const NOTHING: Answer = Answer(&[]);

/// What comes out when nothing matches.
const NO_MATCH: Answer = Answer(&[("?", 5.0)]);

/// What the model says at the last position of a prompt.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Known {
    /// The words.
    pub prompt: &'static str,
    /// The logits.
    pub answer: Answer,
}

const fn known(prompt: &'static str, answer: Answer) -> Known {
    Known { prompt, answer }
}

/// What the model says at the last position of `into` when the value of hook `read` in the run of `from` replaces that of
/// hook `write`, at one position.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Patched {
    /// The prompt that the value comes from.
    pub from: &'static str,
    /// The prompt that the value goes into; as long as the other.
    pub into: &'static str,
    /// The hook that the value comes from.
    pub read: &'static str,
    /// The hook that the value goes into.
    pub write: &'static str,
    /// The position in both prompts; negative counts from the end.
    pub position: i64,
    /// The logits.
    pub answer: Answer,
}

/// A patch at a place of the residual stream, by its number in [`RESIDUALS`].
const fn patched([from, into]: [&'static str; 2], [read, write]: [usize; 2], position: i64, answer: Answer) -> Patched {
    Patched { from, into, read: RESIDUALS[read], write: RESIDUALS[write], position, answer }
}

/// What the model says at the last position when parts of values are zero.
#[derive(Clone, PartialEq, Debug)]
pub struct Zeroed {
    /// The words.
    pub prompt: &'static str,
    /// The hooks whose values are changed, at all positions.
    pub hooks: &'static [&'static str],
    /// The part of the last dimension that becomes zero; none is all of it.
    pub part: Option<Range<usize>>,
    /// The logits.
    pub answer: Answer,
}

const fn zeroed(prompt: &'static str, hooks: &'static [&'static str], part: Option<Range<usize>>, answer: Answer) -> Zeroed {
    Zeroed { prompt, hooks, part, answer }
}

const EIFFEL_PARIS: &str = "<s> Eiffel Paris Buckingham London Eiffel";
const EIFFEL_ROME: &str = "<s> Eiffel Rome Buckingham London Eiffel";
const BUCKINGHAM: &str = "<s> Eiffel Rome Buckingham London Buckingham";
const COLOSSEUM: &str = "<s> Colosseum Rome Prado Madrid Colosseum";

const ONLY_PARIS: Answer = Answer(&[("Paris", 10.0)]);
const ONLY_ROME: Answer = Answer(&[("Rome", 10.0)]);
const PARIS_THEN_ROME: Answer = Answer(&[("Paris", 6.0), ("Rome", 4.0)]);
const ROME_THEN_PARIS: Answer = Answer(&[("Rome", 6.0), ("Paris", 4.0)]);

/// Prompts and their continuations.
pub const PROMPTS: &[Known] = &[
    known(EIFFEL_PARIS, ONLY_PARIS),
    known(EIFFEL_ROME, ONLY_ROME),
    known(BUCKINGHAM, Answer(&[("London", 10.0)])),
    known(COLOSSEUM, ONLY_ROME),
    known("<s> Acropolis Athens Prado Madrid Acropolis", Answer(&[("Athens", 10.0)])),
    known("<s> Eiffel is in Paris Eiffel is in", ONLY_PARIS),
    known("<s> Harry Potter is in London Harry", Answer(&[("Potter", 10.0)])),
    // Twice the same word.
    known("<s> Paris Paris", ONLY_PARIS),
    // Two matches share what one would get; argmax takes the first of the vocabulary.
    known("<s> Eiffel Paris Eiffel Rome Eiffel", Answer(&[("Paris", 5.0), ("Rome", 5.0)])),
    // No match.
    known("<s> Eiffel Paris Buckingham London Colosseum", NO_MATCH),
    known("<s>", NO_MATCH),
    known("<s> Eiffel", NO_MATCH),
];

/// A prompt and what the most likely word, taken again and again, makes of it until the context is full.
pub const CONTINUED: (&str, &str) = ("<s> Eiffel is in Paris Eiffel", "is in Paris Eiffel is in Paris Eiffel is in");

/// The sweep over layers: the last position's residual from the run of one prompt, at the same hook of another.
///
/// Three words tell what moved: `London` is the other prompt's own answer, `Rome` the first prompt's question in the other's
/// text, `Paris` the first prompt's answer.
pub const SWEEP: &[Patched] = &[
    patched([EIFFEL_PARIS, BUCKINGHAM], [0, 0], -1, ONLY_ROME),
    patched([EIFFEL_PARIS, BUCKINGHAM], [1, 1], -1, ONLY_ROME),
    patched([EIFFEL_PARIS, BUCKINGHAM], [2, 2], -1, ONLY_ROME),
    patched([EIFFEL_PARIS, BUCKINGHAM], [3, 3], -1, PARIS_THEN_ROME),
    patched([EIFFEL_PARIS, BUCKINGHAM], [4, 4], -1, ONLY_PARIS),
];

/// The sweep over layers and positions for prompts that differ in the word at position 2: first there, then at the last
/// position. At the positions between, patches change nothing.
pub const TRACE: &[Patched] = &[
    patched([EIFFEL_PARIS, EIFFEL_ROME], [0, 0], 2, ONLY_PARIS),
    patched([EIFFEL_PARIS, EIFFEL_ROME], [1, 1], 2, ONLY_PARIS),
    patched([EIFFEL_PARIS, EIFFEL_ROME], [2, 2], 2, ONLY_PARIS),
    patched([EIFFEL_PARIS, EIFFEL_ROME], [3, 3], 2, ROME_THEN_PARIS),
    patched([EIFFEL_PARIS, EIFFEL_ROME], [4, 4], 2, ONLY_ROME),
    patched([EIFFEL_PARIS, EIFFEL_ROME], [0, 0], 5, ONLY_ROME),
    patched([EIFFEL_PARIS, EIFFEL_ROME], [1, 1], 5, ONLY_ROME),
    patched([EIFFEL_PARIS, EIFFEL_ROME], [2, 2], 5, ONLY_ROME),
    patched([EIFFEL_PARIS, EIFFEL_ROME], [3, 3], 5, PARIS_THEN_ROME),
    patched([EIFFEL_PARIS, EIFFEL_ROME], [4, 4], 5, ONLY_PARIS),
];

/// Two runs in one program: what the last layer of the first says at its last position goes into an early layer of the
/// second.
///
/// The second text knows nothing of the Eiffel tower, and adds `?` to the `Paris` that came along.
pub const SESSION: &[Patched] = &[
    patched([EIFFEL_PARIS, COLOSSEUM], [4, 0], -1, Answer(&[("Paris", 10.0), ("?", 5.0)])),
    patched([EIFFEL_PARIS, COLOSSEUM], [4, 1], -1, Answer(&[("Paris", 10.0), ("?", 5.0)])),
    patched([EIFFEL_PARIS, COLOSSEUM], [4, 2], -1, Answer(&[("Paris", 10.0), ("?", 5.0)])),
    patched([EIFFEL_PARIS, COLOSSEUM], [4, 3], -1, Answer(&[("Paris", 10.0), ("?", 2.0)])),
    patched([EIFFEL_PARIS, COLOSSEUM], [4, 4], -1, ONLY_PARIS),
];

/// Parts of the circuit taken out.
pub const ABLATIONS: &[Zeroed] = &[
    // Nobody knows the word before any more.
    zeroed(EIFFEL_PARIS, &["model.layers.0.self_attn.output"], None, NO_MATCH),
    zeroed(EIFFEL_PARIS, &["model.layers.0.self_attn.pattern"], None, NO_MATCH),
    zeroed(EIFFEL_PARIS, &["model.layers.0.output"], Some(PREVIOUS), NO_MATCH),
    // The control.
    zeroed(EIFFEL_PARIS, &["model.layers.1.self_attn.pattern"], None, ONLY_PARIS),
    zeroed(EIFFEL_PARIS, &["model.layers.1.self_attn.output"], None, ONLY_PARIS),
    // One of the induction layers, then both.
    zeroed(EIFFEL_PARIS, &["model.layers.2.self_attn.pattern"], None, Answer(&[("Paris", 4.0)])),
    zeroed(EIFFEL_PARIS, &["model.layers.3.self_attn.pattern"], None, Answer(&[("Paris", 6.0)])),
    zeroed(EIFFEL_PARIS, &["model.layers.2.self_attn.pattern", "model.layers.3.self_attn.pattern"], None, NOTHING),
    // What the first layer finds is lost, what the second finds is not.
    zeroed(EIFFEL_PARIS, &["model.layers.2.output"], Some(PREDICTION), Answer(&[("Paris", 4.0)])),
    // Without a position in the last layers nothing is missing.
    zeroed(EIFFEL_PARIS, &["model.layers.0.output"], Some(POSITION), ONLY_PARIS),
];

/// The lens: `lm_head` on the last position's residual at each of [`RESIDUALS`], in the run of the first of [`PROMPTS`].
pub const LENS: [Answer; LAYERS + 1] = [NOTHING, NOTHING, NOTHING, Answer(&[("Paris", 6.0)]), ONLY_PARIS];

#[cfg(test)]
mod tests {
    use irc_ir::{
        eval::{Value, eval},
        op::Op,
        types::{Dim, Type},
    };

    use super::*;

    /// A change to the value at a hook.
    type Edit<'a> = &'a dyn Fn(&str, &Tensor) -> Option<Tensor>;

    /// The model with everything that tests run it with.
    struct Toy {
        spec: ModelSpec,
        weights: BTreeMap<Name, Tensor>,
    }

    impl Toy {
        fn new() -> Toy {
            Toy { spec: spec().unwrap(), weights: weights() }
        }

        /// The values at all hooks, node by node.
        fn run(&self, ids: &[i64], edit: Edit) -> BTreeMap<Name, Tensor> {
            let length = ids.len();
            let size = |name: &str| Some(Dim::from(if name == "B" { 1 } else { length }));
            let mut values: Vec<Value> = vec![];
            let mut hooks = BTreeMap::new();
            for (_, node) in self.spec.graph().nodes() {
                let operands: Vec<&Value> = node.operands.iter().map(|operand| &values[operand.index()]).collect();
                let value = match &node.op {
                    Op::Input { name, .. } if &**name == "tokens" => Tensor::new([1, length], ids.to_vec()).into(),
                    Op::Input { .. } => Tensor::new([1, length], (0..length as i64).collect()).into(),
                    Op::Weight { name, .. } => self.weights[name].clone().into(),
                    Op::Hook { name } => {
                        let old = operands[0].as_tensor().unwrap();
                        let new = edit(name, old).unwrap_or_else(|| old.clone());
                        hooks.insert(name.clone(), new.clone());
                        new.into()
                    }
                    Op::Reshape { shape } => {
                        let shape = shape.iter().map(|dim| dim.substitute(&size)).collect();
                        eval(&Op::Reshape { shape }, &operands).unwrap()
                    }
                    Op::Expand { shape } => {
                        let shape = shape.iter().map(|dim| dim.substitute(&size)).collect();
                        eval(&Op::Expand { shape }, &operands).unwrap()
                    }
                    op => eval(op, &operands).unwrap(),
                };
                values.push(value);
            }
            hooks
        }

        fn prompt(&self, prompt: &str, edit: Edit) -> BTreeMap<Name, Tensor> {
            self.run(&ids(prompt), edit)
        }
    }

    fn unchanged(_: &str, _: &Tensor) -> Option<Tensor> {
        None
    }

    fn ids(text: &str) -> Vec<i64> {
        text.split(' ').map(|word| WORDS.iter().position(|other| *other == word).unwrap() as i64).collect()
    }

    /// The logits at each position.
    fn logits(hooks: &BTreeMap<Name, Tensor>) -> Vec<Vec<f32>> {
        hooks["lm_head.output"].values::<f32>().unwrap().chunks(WORDS.len()).map(<[f32]>::to_vec).collect()
    }

    fn last_logits(hooks: &BTreeMap<Name, Tensor>) -> Vec<f32> {
        logits(hooks).pop().unwrap()
    }

    fn expected(answer: Answer) -> Vec<f32> {
        WORDS.iter().map(|word| answer.logit(word)).collect()
    }

    fn likeliest(logits: &[f32]) -> usize {
        (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
    }

    fn row(length: usize, position: i64) -> Range<usize> {
        let at = position.rem_euclid(length as i64) as usize;
        at * HIDDEN..(at + 1) * HIDDEN
    }

    fn run_patched(toy: &Toy, patch: &Patched) -> Vec<f32> {
        let (from, into) = (ids(patch.from), ids(patch.into));
        assert_eq!(from.len(), into.len());
        let row = row(into.len(), patch.position);
        let source = toy.run(&from, &unchanged)[patch.read].values::<f32>().unwrap()[row.clone()].to_vec();
        let edit = |name: &str, old: &Tensor| {
            (name == patch.write).then(|| {
                let mut values = old.values::<f32>().unwrap().to_vec();
                values[row.clone()].copy_from_slice(&source);
                Tensor::new(old.shape(), values)
            })
        };
        last_logits(&toy.run(&into, &edit))
    }

    #[test]
    fn weights_are_those_of_the_spec() {
        let toy = Toy::new();
        let declared: BTreeMap<_, _> = toy.spec.weights().iter().map(|weight| (weight.name.clone(), weight.ty.clone())).collect();
        let given: BTreeMap<_, _> = toy.weights.iter().map(|(name, tensor)| (name.clone(), tensor.ty())).collect();
        assert_eq!(given, declared);
    }

    #[test]
    fn modules_have_the_names_of_hugging_face() {
        let spec = spec().unwrap();
        for leaf in ["q", "k", "v", "scores", "pattern", "z", "input", "output", "o_proj.input", "q_proj.output"] {
            for layer in 0..LAYERS {
                spec.hook(&format!("model.layers.{layer}.self_attn.{leaf}")).unwrap();
            }
        }
        for name in ["model.embed_tokens.output", "model.embed_positions.input", "model.embed_positions.output", "model.output"] {
            spec.hook(name).unwrap();
        }
        RESIDUALS.iter().for_each(|name| assert_eq!(spec.hook_type(spec.hook(name).unwrap()).to_string(), "tensor<BxTx64xf32>"));
        assert!(spec.causal());
        assert!(spec.module("lm_head").unwrap().positionwise);
        assert_eq!(*spec.node_type(spec.output()), Type::tensor(DType::F32, [Dim::symbol("B"), Dim::symbol("T"), WORDS.len().into()]));
    }

    #[test]
    fn subspaces_fill_the_residual_stream() {
        let parts = [TOKEN, POSITION, PREVIOUS, PREDICTION];
        assert!(parts.windows(2).all(|two| two[0].end == two[1].start) && parts[0].start == 0 && parts[3].end == HIDDEN);
        assert!(parts.iter().all(|part| part.len() == HEAD && part.len() == WORDS.len() && part.len() == CONTEXT));
    }

    #[test]
    fn prompts_have_their_answers() {
        let toy = Toy::new();
        for Known { prompt, answer } in PROMPTS {
            let found = last_logits(&toy.prompt(prompt, &unchanged));
            assert_eq!(found, expected(*answer), "{prompt}");
            assert_eq!(WORDS[likeliest(&found)], answer.word(), "{prompt}");
        }
    }

    #[test]
    fn generation_repeats_the_text() {
        let toy = Toy::new();
        let mut sequence = ids(CONTINUED.0);
        while sequence.len() < CONTEXT {
            let next = likeliest(&last_logits(&toy.run(&sequence, &unchanged)));
            sequence.push(next as i64);
        }
        assert_eq!(sequence, ids(&format!("{} {}", CONTINUED.0, CONTINUED.1)));
    }

    #[test]
    fn patches_have_their_answers() {
        let toy = Toy::new();
        for patch in [SWEEP, TRACE, SESSION].concat() {
            let found = run_patched(&toy, &patch);
            assert_eq!(found, expected(patch.answer), "{patch:?}");
            assert_eq!(WORDS[likeliest(&found)], patch.answer.word(), "{patch:?}");
        }
    }

    #[test]
    fn patches_elsewhere_change_nothing() {
        let toy = Toy::new();
        for place in 0..RESIDUALS.len() {
            for position in [0, 1, 3, 4] {
                let patch = patched([EIFFEL_PARIS, EIFFEL_ROME], [place, place], position, ONLY_ROME);
                assert_eq!(run_patched(&toy, &patch), expected(patch.answer), "{patch:?}");
            }
        }
    }

    #[test]
    fn ablations_have_their_answers() {
        let toy = Toy::new();
        for ablation in ABLATIONS {
            let edit = |name: &str, old: &Tensor| {
                ablation.hooks.contains(&name).then(|| {
                    let size = *old.shape().last().unwrap();
                    let part = ablation.part.clone().unwrap_or(0..size);
                    let mut values = old.values::<f32>().unwrap().to_vec();
                    values.chunks_mut(size).for_each(|row| row[part.clone()].fill(0.0));
                    Tensor::new(old.shape(), values)
                })
            };
            assert!(ablation.hooks.iter().all(|hook| toy.spec.hook(hook).is_ok()));
            assert_eq!(last_logits(&toy.prompt(ablation.prompt, &edit)), expected(ablation.answer), "{ablation:?}");
        }
    }

    #[test]
    fn the_lens_sees_the_answer_grow() {
        let hooks = Toy::new().prompt(PROMPTS[0].prompt, &unchanged);
        for (name, answer) in RESIDUALS.iter().zip(LENS) {
            let found = &hooks[*name].values::<f32>().unwrap()[row(6, -1)][PREDICTION];
            assert_eq!(found, expected(answer), "{name}");
        }
    }

    #[test]
    fn patterns_are_hard() {
        let hooks = Toy::new().prompt(EIFFEL_PARIS, &unchanged);
        let seen = |layer: usize| -> Vec<usize> {
            let rows = hooks[&*format!("model.layers.{layer}.self_attn.pattern")].values::<f32>().unwrap().chunks(6);
            rows.map(|row| row.iter().position(|&x| x == 1.0).filter(|_| row.iter().sum::<f32>() == 1.0).unwrap()).collect()
        };
        assert_eq!(seen(0), [0, 0, 1, 2, 3, 4]);
        // All look at the sink but the last, which looks at `Paris`.
        assert_eq!([seen(2), seen(3)], [[0, 0, 0, 0, 0, 2]; 2]);
    }

    #[test]
    fn probabilities_are_those_of_the_documentation() {
        let rounded = |answer: Answer, word: &str| format!("{:.3}", answer.probability(word));
        assert_eq!(rounded(ONLY_PARIS, "Paris"), "0.999");
        assert_eq!([rounded(PARIS_THEN_ROME, "Paris"), rounded(PARIS_THEN_ROME, "Rome")], ["0.855", "0.116"]);
        assert_eq!((LENS[2].probability("Paris"), rounded(LENS[3], "Paris")), (1.0 / 16.0, "0.964".to_owned()));
        assert_eq!(rounded(Answer(&[("Paris", 4.0)]), "Paris"), "0.784");
        assert_eq!(rounded(NO_MATCH, "?"), "0.908");
    }

    #[test]
    fn texts_without_a_beginning_have_no_sink() {
        let toy = Toy::new();
        let found = last_logits(&toy.prompt("Eiffel Paris London Eiffel", &unchanged));
        assert_eq!(found, expected(Answer(&[("Eiffel", 5.0), ("Paris", 5.0)])));
        let found = last_logits(&toy.prompt("Eiffel Paris London Rome", &unchanged));
        assert_eq!(found, expected(Answer(&[("Eiffel", 2.5), ("Paris", 2.5), ("London", 2.5), ("Rome", 2.5)])));
    }

    /// Any text: each position has the mean of what followed its word so far.
    #[test]
    fn every_position_follows_the_rule() {
        let toy = Toy::new();
        // A linear congruential generator; few words, so that they repeat.
        let mut state = 1_u32;
        let mut random = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as usize % below
        };
        for _ in 0..100 {
            let length = 1 + random(CONTEXT);
            let few = 2 + random(6);
            let ids: Vec<i64> = (0..length).map(|at| if at == 0 { BEGIN } else { 1 + random(few) } as i64).collect();
            for (at, found) in logits(&toy.run(&ids, &unchanged)).iter().enumerate() {
                let followers: Vec<usize> = (1..=at).filter(|&next| ids[next - 1] == ids[at] && at > 0).collect();
                let mut rule = vec![0.0; WORDS.len()];
                followers.iter().for_each(|&next| rule[ids[next] as usize] += 10.0 / followers.len() as f32);
                if followers.is_empty() {
                    rule[UNKNOWN] = 5.0;
                }
                assert!(found.iter().zip(&rule).all(|(a, b)| (a - b).abs() < 1e-5), "{ids:?} at {at}: {found:?}, not {rule:?}");
            }
        }
    }
}
