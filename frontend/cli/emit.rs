//! `irc emit`: a model with its hooks as a file of another format.

use std::{collections::BTreeSet, fs};

use irc_backends::onnx::whole::{stage_model, whole_model};
use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    model::{HookId, ModelSpec, StageKind},
};
use serde_json::json;

use super::{
    args::{EmitArgs, EmitFormat, EmitOnnxArgs},
    failure::Outcome,
    model::open,
    progress::ProgressDisplay,
    terminal::{Terminal, bytes, count},
};
use crate::names::{self, pattern::is_pattern};

pub(super) fn emit(args: &EmitArgs, terminal: &Terminal) -> Outcome {
    match &args.format {
        EmitFormat::Onnx(args) => onnx(args, terminal),
    }
}

fn onnx(args: &EmitOnnxArgs, terminal: &Terminal) -> Outcome {
    let model = open(&args.model, terminal)?;
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
    let [onnx, weights] = whole.write(&args.out, args.force).map_err(|error| match args.force {
        true => error,
        false => error.help("`--force` replaces files that are there"),
    })?;
    if args.json {
        let files = [&onnx, &weights].map(|path| path.display().to_string());
        let [inputs, outputs] = [&whole.inputs, &whole.outputs];
        return terminal.print_json(&json!({ "ok": true, "model": model.name(), "files": files, "inputs": inputs, "outputs": outputs }));
    }
    let size = fs::metadata(&weights).map_or(0, |file| file.len());
    let (inputs, outputs) = (count(whole.inputs.len(), "input"), count(whole.outputs.len(), "output"));
    terminal.print(&format!("{}: {inputs}, {outputs}\n{}: {}", onnx.display(), weights.display(), bytes(size)))
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
