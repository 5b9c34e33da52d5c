//! `irc` reads, changes and saves the activations of language models: programs are written as traces, compiled as
//! dataflow graphs, and run on an engine that computes only what they need.
//!
//! ```
//! use irc::prelude::*;
//!
//! // A toy with planted weights; `Model::open("smollm2")` is a real one.
//! let model = Model::open("induction")?;
//! let session = model.session();
//!
//! // Read the residual at the last token of one run …
//! let t1 = session.trace("<s> Eiffel Paris Buckingham London Eiffel");
//! let hs = t1.hook("model.layers.3.output").at((.., -1));
//! t1.hook("lm_head.output").at((.., -1)).argmax(-1).save("t1");
//!
//! // … and put it into an early layer of another.
//! let t2 = session.trace("<s> Colosseum Rome Prado Madrid Colosseum");
//! t2.hook("model.layers.1.output").at((.., -1)).set(&hs);
//! t2.hook("lm_head.output").at((.., -1)).argmax(-1).save("t2");
//!
//! let results = session.run()?;
//! assert_eq!(model.decode(results.ints("t1")?), "Paris");
//! assert_eq!(model.decode(results.ints("t2")?), "Paris"); // by itself it says "Rome"
//! # Ok::<(), irc::ir::diagnostic::Diagnostics>(())
//! ```
//!
//! The layers, each a crate of its own: [`ir`] is the language, [`passes`] decides what runs, [`backends`] run it, and this
//! crate is for people: [`trace`] to write programs in Rust, [`models`] to find them, the `irc` command for files.

pub mod cli;
pub mod emit;
pub mod generate;
pub mod models;
pub mod names;
#[cfg(feature = "ort")]
pub mod ort;
pub mod recorder;
pub mod run;
pub mod trace;

pub use irc_backends as backends;
pub use irc_ir as ir;
pub use irc_passes as passes;

/// What most programs need.
pub mod prelude {
    pub use irc_ir::{
        attr::Reduction,
        diagnostic::{Diagnostic, Diagnostics},
        eval::Value as HostValue,
        tensor::Tensor,
        types::DType,
    };

    pub use crate::{
        generate::{Generation, Step},
        models::{Model, generation::GenerationConfig},
        run::Results,
        trace::{Batch, Ellipsis, Prompt, Rows, Session, Trace, TracedModel, Value, every, keep},
    };
}
