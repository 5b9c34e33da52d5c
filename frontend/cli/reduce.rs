//! `irc reduce`: a smaller program for which a command still succeeds.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use indicatif::{ProgressBar, ProgressStyle};
use irc_ir::{code::Code, diagnostic::Diagnostic, graph::Graph, text, verify::Types};
use irc_passes::reduce::{Judge, reduce as smaller};
use serde_json::json;

use super::{
    args::ReduceArgs,
    failure::{Failure, Outcome},
    program::Program,
    terminal::{Terminal, count},
};

pub(super) fn reduce(args: &ReduceArgs, terminal: &Terminal) -> Outcome {
    let program = Program::open(&args.program, terminal)?;
    program.verify().map_err(|errors| Failure::in_source(errors, &program.source))?;
    let out = match (&args.out, args.program.file.to_str()) {
        (Some(out), _) => out.clone(),
        (None, Some("-")) => {
            let error = Diagnostic::error(Code::E4004, "the program comes from standard input, so it has no name");
            return Err(error.help("say where the reduced one is written: `--out FILE.ig`").into());
        }
        (None, _) => args.program.file.with_extension("reduced.ig"),
    };
    let mut shell =
        Shell { program: &program, command: &args.check, folder: Scratch::new()?, out: &out, tried: 0, taken: 0, bar: bar(terminal) };
    if !shell.succeeds(&program.graph)? {
        let error = Diagnostic::error(Code::E4004, "the check does not succeed for the program itself, so there is nothing to reduce");
        let again = shell.command_for(&args.program.file);
        return Err(error.help(format!("this has to end with the status 0: `{again}`")).into());
    }
    let small = smaller(&program.graph, &mut shell)?;
    shell.write(&small)?;
    let (tried, taken) = (shell.tried, shell.taken);
    drop(shell);
    let (before, after) = (Size::of(&program.graph), Size::of(&small));
    terminal.say(&format!(
        "{} and {} became {} and {}, after {}; written to {}",
        count(before.nodes, "node"),
        count(before.effects, "effect"),
        count(after.nodes, "node"),
        count(after.effects, "effect"),
        count(tried, "check"),
        out.display()
    ));
    if args.json {
        return terminal.print_json(&json!({
            "ok": true,
            "out": out.display().to_string(),
            "before": before.to_json(),
            "after": after.to_json(),
            "checks": tried,
            "steps": taken,
        }));
    }
    terminal.print(text::print(&small, None).trim_end())
}

/// How large a program is, the bodies of its loops included.
struct Size {
    nodes: usize,
    effects: usize,
}

impl Size {
    fn of(graph: &Graph) -> Size {
        let own = Size { nodes: graph.len(), effects: graph.effects.len() };
        graph
            .bodies()
            .map(|(_, body)| Size::of(body.graph()))
            .fold(own, |a, b| Size { nodes: a.nodes + b.nodes, effects: a.effects + b.effects })
    }

    fn to_json(&self) -> serde_json::Value {
        json!({ "nodes": self.nodes, "effects": self.effects })
    }
}

/// Asks a command of the user's.
struct Shell<'a> {
    program: &'a Program,
    command: &'a str,
    /// Where candidates are written.
    folder: Scratch,
    /// Where the smallest program so far is written, so that it is there whenever this is stopped.
    out: &'a Path,
    tried: usize,
    taken: usize,
    bar: Option<ProgressBar>,
}

impl Shell<'_> {
    /// The command, with the path of a candidate in it.
    fn command_for(&self, path: &Path) -> String {
        let quoted = format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        if self.command.contains("{}") { self.command.replace("{}", &quoted) } else { format!("{} {quoted}", self.command) }
    }

    /// Whether the command succeeds for a program.
    fn succeeds(&mut self, candidate: &Graph) -> Outcome<bool> {
        let path = self.folder.0.join("candidate.ig");
        fs::write(&path, text::print(candidate, None)).map_err(|error| unwritten(&path, &error))?;
        self.tried += 1;
        let status = Command::new("sh")
            .arg("-c")
            .arg(self.command_for(&path))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let status = status.map_err(|error| {
            Diagnostic::error(Code::E0010, format!("the check cannot be run: {error}")).help("it is a command of the shell `sh`")
        })?;
        match status.code() {
            // What the shell says of a command that is not there, or is none.
            Some(missing @ (126 | 127)) => {
                let error = Diagnostic::error(Code::E4004, format!("the shell cannot run the check: status {missing}"));
                Err(error.help(format!("this was run: `{}`", self.command_for(&path))).into())
            }
            code => Ok(code == Some(0)),
        }
    }

    fn write(&self, graph: &Graph) -> Outcome {
        fs::write(self.out, text::print(graph, None)).map_err(|error| unwritten(self.out, &error).into())
    }
}

impl Judge for Shell<'_> {
    type Error = Failure;

    fn types(&mut self, candidate: &Graph) -> Option<Types> {
        crate::run::check(candidate.clone(), &self.program.models).ok().map(|verified| verified.types().clone())
    }

    fn is_interesting(&mut self, candidate: &Graph) -> Result<bool, Failure> {
        let succeeds = self.succeeds(candidate)?;
        if succeeds {
            self.taken += 1;
            self.write(candidate)?;
        }
        if let Some(bar) = &self.bar {
            let now = Size::of(candidate);
            if succeeds {
                bar.set_message(format!("{}, {}", count(now.nodes, "node"), count(now.effects, "effect")));
            }
            bar.set_position(self.tried as u64);
        }
        Ok(succeeds)
    }
}

impl Drop for Shell<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What shows how far it is, where somebody watches.
fn bar(terminal: &Terminal) -> Option<ProgressBar> {
    let style = ProgressStyle::with_template("{spinner} {pos} checks: {msg}").ok()?;
    terminal.watched.then(|| ProgressBar::new_spinner().with_style(style))
}

fn unwritten(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error(Code::E0010, format!("{} cannot be written: {error}", path.display()))
}

/// A folder of this process's own; it is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Outcome<Scratch> {
        let path = std::env::temp_dir().join(format!("irc-reduce-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| unwritten(&path, &error))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody needs it, and it is in the way of nothing.
        let _ = fs::remove_dir_all(&self.0);
    }
}
