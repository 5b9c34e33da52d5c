//! The `irc` command: programs in files, models and the cache from a terminal.
//!
//! Results go to standard output, everything else to standard error. With `--json` standard output is exactly one JSON
//! object, on failure too: `{"ok": false, "status": 1, "diagnostics": [...]}`.
//!
//! The exit status tells who has to act: 0 nobody, 1 the program is wrong, 2 the command line is, 3 something is missing or
//! damaged here (a file, a model, a library), 4 the run failed, 130 it was cancelled with Ctrl-C.

mod args;
mod backends;
mod cache;
mod chart;
mod chat;
mod check;
mod demo;
mod dot;
mod dump;
mod emit;
mod explain;
mod explanation;
mod failure;
mod hooks;
mod interrupt;
mod model;
mod opt;
mod program;
mod progress;
mod reduce;
mod run;
#[cfg(feature = "ort")]
mod setup;
mod terminal;
mod token_ids;
mod tokens;
mod value;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command};
use failure::Outcome;
use terminal::Terminal;

/// Runs the command that the arguments of this process ask for.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // Help and usage errors are printed while arguments are read, so what `--color` says is needed before.
    let command = Cli::command().color(args::color_before_parsing(&arguments).for_clap());
    let cli = match command.try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to hear it where it cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let terminal = Terminal::new(cli.color);
    show_log(&terminal);
    let json = cli.command.json();
    match dispatch(cli.command, &terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.report(&terminal, json)),
    }
}

/// Shows the log of this program and of the engines where `IRC_LOG` asks for it: `IRC_LOG=info`, `IRC_LOG=ort=debug`.
fn show_log(terminal: &Terminal) {
    let Some(wanted) = std::env::var("IRC_LOG").ok().filter(|wanted| !wanted.is_empty()) else { return };
    match tracing_subscriber::EnvFilter::try_new(&wanted) {
        Ok(filter) => {
            let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal.color_err);
            // Whoever calls this from a program with a log of its own keeps that.
            let _ = log.try_init();
        }
        Err(error) => terminal.say(&format!("IRC_LOG={wanted} is not understood, so no log is shown: {error}")),
    }
}

fn dispatch(command: Command, terminal: &Terminal) -> Outcome {
    match command {
        Command::Check(args) => check::check(&args, terminal),
        Command::Dump(args) => dump::dump(&args, terminal),
        Command::Opt(args) => opt::opt(&args, terminal),
        Command::Run(args) => run::run(&args, terminal),
        Command::Chat(args) => chat::chat(&args, terminal),
        Command::Emit(args) => emit::emit(&args, terminal),
        Command::Reduce(args) => reduce::reduce(&args, terminal),
        Command::Model(args) => model::model(&args.command, terminal),
        Command::Tokens(args) => tokens::tokens(&args, terminal),
        Command::Cache(args) => cache::cache(&args.command, terminal),
        #[cfg(feature = "ort")]
        Command::Setup(args) => setup::setup(&args, terminal),
        Command::Backends(args) => backends::backends(&args, terminal),
        Command::Explain(args) => explanation::explanation(&args, terminal),
        Command::ExplainCode(args) => explain::explain(&args, terminal),
        Command::Demo(args) => demo::demo(&args, terminal),
        Command::Completions { shell } => {
            // By way of memory: the generator panics when its output is closed.
            let mut script = vec![];
            clap_complete::generate(shell, &mut Cli::command(), "irc", &mut script);
            terminal.print_bytes(&script)
        }
    }
}
