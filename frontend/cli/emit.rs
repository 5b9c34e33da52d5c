//! `irc emit`: a program, or a model with its hooks, as a file of another format.

use std::{collections::BTreeSet, fs, path::PathBuf};

use irc_backends::onnx::{
    program::{ProgramModel, program_model},
    whole::{WholeModel, stage_model, whole_model},
};
use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    model::{HookId, ModelSpec, StageKind},
};
use serde_json::json;

use super::{
    args::{EmitArgs, EmitFormat, EmitOnnxArgs, ProgramArgs},
    failure::{Failure, Outcome},
    model::open,
    program::Program,
    progress::ProgressDisplay,
    terminal::{Terminal, bytes, count},
};
use crate::{
    emit::write,
    names::{self, pattern::is_pattern},
    run::handles,
};

pub(super) fn emit(args: &EmitArgs, terminal: &Terminal) -> Outcome {
    match &args.format {
        EmitFormat::Onnx(args) => match (&args.program, &args.models[..]) {
            (Some(file), _) => program(file.clone(), args, terminal),
            (None, [name]) => model(name, args, terminal),
            (None, _) => {
                let error = Diagnostic::error(Code::E4004, "one model is written at a time");
                Err(error.help("with a program, `--model m=NAME` says which model a name of it means").into())
            }
        },
    }
}

fn program(file: PathBuf, args: &EmitOnnxArgs, terminal: &Terminal) -> Outcome {
    let program = Program::open(&ProgramArgs { file, models: args.models.clone() }, terminal)?;
    let verified = program.verify().map_err(|errors| Failure::in_source(errors, &program.source))?;
    program.load_models(&verified, terminal)?;
    let emitted = handles(&verified, &program.models).and_then(|handles| program_model(&verified, &handles));
    let ProgramModel { whole, logs } = emitted.map_err(|error| Failure::in_source(error, &program.source))?;
    let files = written(&whole, args)?;
    if args.json {
        let name = &*verified.graph().name;
        let [inputs, outputs] = [&whole.inputs, &whole.outputs];
        let json = json!({ "ok": true, "program": name, "files": files, "inputs": inputs, "outputs": outputs, "logs_left_out": logs });
        return terminal.print_json(&json);
    }
    if logs > 0 {
        terminal.say(&format!("{} left out: a file shows nothing while it runs", count(logs, "log")));
    }
    summary(&files, &whole, terminal)?;
    if !whole.inputs.is_empty() { terminal.print(&format!("inputs: {}", whole.inputs.join(", "))) } else { Ok(()) }
}

fn model(name: &str, args: &EmitOnnxArgs, terminal: &Terminal) -> Outcome {
    let model = open(name, terminal)?;
    let hooks = wanted(model.spec(), args)
        .map_err(|error| Diagnostic { code: Code::E4004, ..error }.help(format!("`irc model hooks {}` lists all of them", model.name())))?;
    let handle = {
        let mut progress = ProgressDisplay::new(terminal);
        model.handle_with(&mut |now| progress.show(now))?
    };
    let whole = match args.stage {
        Some(stage) => stage_model(&handle.spec, &handle.weights, stage, &hooks)?,
        None => whole_model(&handle.spec, &handle.weights, &hooks)?,
    };
    let files = written(&whole, args)?;
    if args.json {
        let [inputs, outputs] = [&whole.inputs, &whole.outputs];
        return terminal.print_json(&json!({ "ok": true, "model": model.name(), "files": files, "inputs": inputs, "outputs": outputs }));
    }
    summary(&files, &whole, terminal)
}

/// The files that were written, the model's first.
fn written(whole: &WholeModel, args: &EmitOnnxArgs) -> Outcome<Vec<String>> {
    let paths =
        write(whole, &args.out, args.force).map_err(|error| match !args.force && error.code == Code::E0010 && args.out.is_dir() {
            true => error.help("`--force` replaces files that are there"),
            false => error,
        })?;
    Ok(paths.iter().map(|path| path.display().to_string()).collect())
}

fn summary(files: &[String], whole: &WholeModel, terminal: &Terminal) -> Outcome {
    for (at, file) in files.iter().enumerate() {
        let what = match at {
            0 => format!("{}, {}", count(whole.inputs.len(), "input"), count(whole.outputs.len(), "output")),
            _ => bytes(fs::metadata(file).map_or(0, |file| file.len())),
        };
        terminal.print(&format!("{file}: {what}"))?;
    }
    Ok(())
}

/// The hooks that the patterns mean, in the order of the model; without patterns all whose size does not grow with the square
/// of the tokens.
fn wanted(spec: &ModelSpec, args: &EmitOnnxArgs) -> Result<Vec<HookId>, Diagnostic> {
    if args.hooks.is_empty() {
        let square = |stage: &StageKind| match stage {
            StageKind::Attention(attention) => vec![attention.scores, attention.pattern],
            StageKind::Positionwise => vec![],
        };
        let square: BTreeSet<HookId> = spec.stages().iter().flat_map(|stage| square(&stage.kind)).collect();
        return Ok(spec.hook_ids().map(|(hook, _)| hook).filter(|hook| !square.contains(hook)).collect());
    }
    let mut hooks = BTreeSet::new();
    for pattern in &args.hooks {
        match is_pattern(pattern) {
            true => hooks.extend(names::hooks(spec, pattern)?),
            false => drop(hooks.insert(names::hook(spec, pattern)?)),
        }
    }
    Ok(hooks.into_iter().collect())
}
