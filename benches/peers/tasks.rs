//! The tasks, as a person writes them: plain loops of traces in one session. Which of their work is the same is for the
//! compiler to find out.

use irc::prelude::*;

/// SmolLM2 and what is asked of it.
pub(crate) struct Lab {
    pub(crate) model: Model,
    /// Eight tokens each, which differ in the fourth.
    pub(crate) clean: Vec<i64>,
    pub(crate) corrupt: Vec<i64>,
    /// 128 tokens.
    pub(crate) long: Vec<i64>,
}

const CLEAN: &str = "The capital of France is the city of";
const CORRUPT: &str = "The capital of Japan is the city of";
const LONG: &str = "The sun is the star at the center of the Solar System. It is a massive, nearly perfect sphere of hot plasma, heated to \
    incandescence by nuclear fusion reactions in its core. The Sun radiates this energy mainly as light, ultraviolet, and infrared radiation, \
    and is the most important source of energy for life on Earth. The Sun has been an object of veneration in many cultures and a central \
    subject for astronomical research since antiquity. The Sun orbits the Galactic Center at a distance of many light years. From Earth, it \
    takes light about eight minutes to arrive, and its apparent diameter is close to that of the Moon, which makes total solar eclipses \
    possible on our planet.";

/// The shape of SmolLM2.
const LAYERS: i64 = 30;
const HEADS: i64 = 9;
const HEAD_SIZE: i64 = 64;
const WIDTH: usize = 576;
const VOCABULARY: usize = 49_152;

impl Lab {
    pub(crate) fn new(model: Model) -> Result<Lab, Diagnostic> {
        let ids = |text: &str, count: usize| model.encode(text).map(|ids| ids[..count].to_vec());
        let (clean, corrupt, long) = (ids(CLEAN, 8)?, ids(CORRUPT, 8)?, ids(LONG, 128)?);
        Ok(Lab { model, clean, corrupt, long })
    }
}

/// Something to find out, with irc and with others.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// The program. What it finds is saved under the numbers from 0.
    pub(crate) write: fn(&Lab) -> Session,
    pub(crate) answer: Answer,
    /// The task of the torch peer whose results all others are compared with.
    pub(crate) reference: &'static str,
    pub(crate) rivals: &'static [Rival],
}

/// What a task finds.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// Rows of so many f32.
    Rows(usize),
    /// Token ids that have the largest logits. The reference's other task tells how far each leads.
    Choices { lead: &'static str },
}

/// One way in which a peer does a task.
pub(crate) struct Rival {
    pub(crate) tool: &'static str,
    pub(crate) task: &'static str,
    pub(crate) target: Option<Target>,
    /// It takes so long that it runs once.
    pub(crate) slow: bool,
}

/// What must hold between the CPU time of irc and that of a rival.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// The rival's is so many times irc's.
    Times(f64),
    /// irc's is such a part of the rival's.
    Part(f64),
    /// As [`Target::Times`]: the second where forwards whose tokens begin alike share what is alike, the first where they do not.
    TimesWithoutAndWithPrefixes(f64, f64),
}

const fn torch(task: &'static str, target: Option<Target>) -> Rival {
    Rival { tool: "torch", task, target, slow: false }
}

const fn torch_once(task: &'static str, target: Option<Target>) -> Rival {
    Rival { tool: "torch", task, target, slow: true }
}

const fn nnsight(task: &'static str, target: Option<Target>) -> Rival {
    Rival { tool: "nnsight", task, target, slow: false }
}

use Target::{Part, Times, TimesWithoutAndWithPrefixes};

/// All of them.
pub(crate) const TASKS: &[Task] = &[
    Task {
        name: "d_sweep30",
        what: "last-token patching, 30 layers: 30 runs, the last logits of each",
        write: sweep30,
        answer: Answer::Rows(VOCABULARY),
        reference: "d_sweep30_loop",
        rivals: &[
            nnsight("d_sweep30_session", Some(Times(40.0))),
            nnsight("d_sweep30_invokes", None),
            torch("d_sweep30_loop", None),
            torch("d_sweep30_batched", None),
            torch("d_sweep30_handopt_causal", Some(Part(0.35))),
        ],
    },
    Task {
        name: "e_sweep240",
        what: "patching, 30 layers x 8 positions: 240 runs, the last logits of each",
        write: sweep240,
        answer: Answer::Rows(VOCABULARY),
        reference: "e_sweep240_loop",
        rivals: &[
            torch_once("e_sweep240_loop", Some(TimesWithoutAndWithPrefixes(25.0, 50.0))),
            torch("e_sweep240_batched", None),
            torch("e_sweep240_handopt_prefix", Some(Part(0.5))),
        ],
    },
    Task {
        name: "heads",
        what: "head patching, 30 layers x 9 heads, all positions: 270 runs, the last logits of each",
        write: |lab| heads(lab, 0),
        answer: Answer::Rows(VOCABULARY),
        reference: "heads_loop",
        rivals: &[
            // All positions from the first that differs are computed anew: no schedule saves more.
            torch_once("heads_loop", None),
            torch("heads_batched", None),
            torch("heads_handopt_prefix", Some(Part(0.5))),
        ],
    },
    Task {
        name: "heads_last",
        what: "head patching, 30 layers x 9 heads, last position: 270 runs, the last logits of each",
        write: |lab| heads(lab, -1),
        answer: Answer::Rows(VOCABULARY),
        reference: "heads_last_loop",
        rivals: &[
            torch_once("heads_last_loop", Some(Times(25.0))),
            torch("heads_last_batched", None),
            torch("heads_last_handopt_causal", Some(Part(0.5))),
        ],
    },
    Task {
        name: "f_lens_last_s8",
        what: "logit lens, 30 layers, last position, 8 tokens",
        write: |lab| lens(lab, &lab.clean, true),
        answer: Answer::Choices { lead: "f_lens_last_s8_lead" },
        reference: "f_lens_last_s8",
        rivals: &[nnsight("f_lens_last_s8", Some(Part(0.3))), torch("f_lens_last_s8", None)],
    },
    Task {
        name: "f_lens_all_s8",
        what: "logit lens, 30 layers, all positions, 8 tokens",
        write: |lab| lens(lab, &lab.clean, false),
        answer: Answer::Choices { lead: "f_lens_all_s8_lead" },
        reference: "f_lens_all_s8",
        rivals: &[nnsight("f_lens_all_s8", Some(Part(0.3))), torch("f_lens_all_s8", None)],
    },
    Task {
        name: "f_lens_last_s128",
        what: "logit lens, 30 layers, last position, 128 tokens",
        write: |lab| lens(lab, &lab.long, true),
        answer: Answer::Choices { lead: "f_lens_last_s128_lead" },
        reference: "f_lens_last_s128",
        rivals: &[nnsight("f_lens_last_s128", None), torch("f_lens_last_s128", None)],
    },
    Task {
        name: "f_lens_all_s128",
        what: "logit lens, 30 layers, all positions, 128 tokens: 3,840 rows of the head",
        write: |lab| lens(lab, &lab.long, false),
        answer: Answer::Choices { lead: "f_lens_all_s128_lead" },
        reference: "f_lens_all_s128",
        rivals: &[nnsight("f_lens_all_s128", None), torch("f_lens_all_s128", None)],
    },
    Task {
        name: "h_save90_s8",
        what: "90 hidden states saved, 8 tokens",
        write: |lab| save90(lab, &lab.clean),
        answer: Answer::Rows(WIDTH),
        reference: "h_save90_s8",
        rivals: &[nnsight("h_save90_s8", None), torch("h_save90_s8", None)],
    },
    Task {
        name: "h_save90_s128",
        what: "90 hidden states saved, 128 tokens",
        write: |lab| save90(lab, &lab.long),
        answer: Answer::Rows(WIDTH),
        reference: "h_save90_s128",
        rivals: &[nnsight("h_save90_s128", None), torch("h_save90_s128", None)],
    },
    Task {
        name: "j_layer3_s8",
        what: "only layer 3 is wanted, 8 tokens",
        write: |lab| layer3(lab, &lab.clean),
        answer: Answer::Rows(WIDTH),
        reference: "j_layer3_s8",
        rivals: &[nnsight("j_layer3_stop_s8", None), torch("j_layer3_stop_s8", None), torch("j_layer3_s8", None)],
    },
    Task {
        name: "j_layer3_s128",
        what: "only layer 3 is wanted, 128 tokens",
        write: |lab| layer3(lab, &lab.long),
        answer: Answer::Rows(WIDTH),
        reference: "j_layer3_s128",
        rivals: &[nnsight("j_layer3_stop_s128", None), torch("j_layer3_stop_s128", None), torch("j_layer3_s128", None)],
    },
    Task {
        name: "k_steered50",
        what: "50 tokens, greedy, layer 10 moved by a contrast of two prompts in every step",
        write: steered50,
        answer: Answer::Choices { lead: "k_steered50_lead" },
        reference: "k_steered50",
        rivals: &[nnsight("k_steered50", Some(Part(0.5))), torch("k_steered50", None)],
    },
];

fn sweep30(lab: &Lab) -> Session {
    let session = lab.model.session();
    let clean = session.trace(&lab.clean[..]);
    for layer in 0..LAYERS {
        let hook = format!("model.layers.{layer}.output");
        let patched = session.trace(&lab.corrupt[..]);
        patched.hook(&hook).at((.., -1)).set(clean.hook(&hook).at((.., -1)));
        patched.hook("lm_head.output").at((.., -1)).save(layer.to_string());
    }
    session
}

fn sweep240(lab: &Lab) -> Session {
    let session = lab.model.session();
    let positions = lab.clean.len() as i64;
    let clean = session.trace(&lab.clean[..]);
    for layer in 0..LAYERS {
        let hook = format!("model.layers.{layer}.output");
        for position in 0..positions {
            let patched = session.trace(&lab.corrupt[..]);
            patched.hook(&hook).at((.., position)).set(clean.hook(&hook).at((.., position)));
            patched.hook("lm_head.output").at((.., -1)).save((layer * positions + position).to_string());
        }
    }
    session
}

/// Head by head: what the head gives the output projection is that of the clean run, from a position on.
fn heads(lab: &Lab, from: i64) -> Session {
    let session = lab.model.session();
    let clean = session.trace(&lab.clean[..]);
    for layer in 0..LAYERS {
        let hook = format!("model.layers.{layer}.self_attn.o_proj.input");
        for head in 0..HEADS {
            let place = (.., from.., head * HEAD_SIZE..(head + 1) * HEAD_SIZE);
            let patched = session.trace(&lab.corrupt[..]);
            patched.hook(&hook).at(place.clone()).set(clean.hook(&hook).at(place));
            patched.hook("lm_head.output").at((.., -1)).save((layer * HEADS + head).to_string());
        }
    }
    session
}

fn lens(lab: &Lab, ids: &[i64], last: bool) -> Session {
    let session = lab.model.session();
    let trace = session.trace(ids);
    for layer in 0..LAYERS {
        let mut hidden = trace.hook(format!("model.layers.{layer}.output"));
        if last {
            hidden = hidden.at((.., -1..));
        }
        trace.apply("lm_head", trace.apply("model.norm", hidden)).argmax(-1).save(layer.to_string());
    }
    session
}

fn save90(lab: &Lab, ids: &[i64]) -> Session {
    let session = lab.model.session();
    let trace = session.trace(ids);
    for layer in 0..LAYERS {
        for (at, module) in [".self_attn", ".mlp", ""].iter().enumerate() {
            trace.hook(format!("model.layers.{layer}{module}.output")).save((layer * 3 + at as i64).to_string());
        }
    }
    session
}

fn layer3(lab: &Lab, ids: &[i64]) -> Session {
    let session = lab.model.session();
    session.trace(ids).hook("model.layers.3.output").save("0");
    session
}

fn steered50(lab: &Lab) -> Session {
    let session = lab.model.session();
    let last = |ids: &Vec<i64>| session.trace(&ids[..]).hook("model.layers.10.output").at((.., -1..));
    let vector = last(&lab.clean) - last(&lab.corrupt);
    // Not to the end of the text: all sides make as many tokens.
    let config = GenerationConfig::new().greedy().max_new_tokens(50).eos([]).named("0");
    session.generate(&lab.clean[..], config).all().hook("model.layers.10.output").add_(&vector);
    session
}
