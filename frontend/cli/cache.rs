//! `irc cache`.

use irc_ir::{code::Code, diagnostic::Diagnostic};
use serde_json::{Value as Json, json};

use super::{
    args::CacheCommand,
    failure::Outcome,
    terminal::{Terminal, bytes, columns},
};
use crate::models::cache::{Cache, Entry, Runtime};

pub(super) fn cache(command: &CacheCommand, terminal: &Terminal) -> Outcome {
    let cache = Cache::of_user()?;
    match command {
        CacheCommand::List(args) if args.json => {
            let models: Vec<Json> = cache.list()?.iter().map(entry_json).collect();
            let runtimes: Vec<Json> = cache.list_runtimes()?.iter().map(runtime_json).collect();
            let root = cache.root().display().to_string();
            terminal.print_json(&json!({ "ok": true, "root": root, "models": models, "runtimes": runtimes }))
        }
        CacheCommand::List(_) => {
            let mut rows: Vec<[String; 3]> = cache.list()?.iter().map(row).collect();
            rows.extend(cache.list_runtimes()?.iter().map(runtime_row));
            if rows.is_empty() {
                terminal.say(&format!("nothing is in {}", cache.root().display()));
            }
            terminal.print(&columns(&rows))
        }
        CacheCommand::Clean { name, json } => {
            let freed = match name {
                Some(name) => remove(&cache, name)?,
                None => cache.clean()?,
            };
            match json {
                true => terminal.print_json(&json!({ "ok": true, "freed": freed })),
                false => terminal.print(&format!("{} are free again", bytes(freed))),
            }
        }
    }
}

/// Removes the model or the runtime that is called so.
fn remove(cache: &Cache, name: &str) -> Outcome<u64> {
    let (models, runtimes) = (cache.list()?, cache.list_runtimes()?);
    if models.iter().any(|entry| name_of(entry) == name) {
        return Ok(cache.remove(name)?);
    }
    if runtimes.iter().any(|runtime| runtime.name == name) {
        return Ok(cache.remove_runtime(name)?);
    }
    let names = models.iter().map(name_of).chain(runtimes.iter().map(|runtime| &*runtime.name));
    let error = Diagnostic::error(Code::E4004, format!("there is no `{name}` in the cache")).suggest(name, names);
    Err(error.help("`irc cache list` shows what there is").into())
}

/// The name that an entry is removed by. A damaged one may not be able to tell, but its folder has the name, too.
fn name_of(entry: &Entry) -> &str {
    let folder = entry.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    folder.rsplit_once('-').map_or(folder, |(name, _)| name)
}

fn row(entry: &Entry) -> [String; 3] {
    let state = entry.model.as_ref().map_or_else(|error| format!("damaged: {}", error.message), |_| entry.folder.display().to_string());
    [name_of(entry).to_owned(), bytes(entry.bytes), state]
}

fn entry_json(entry: &Entry) -> Json {
    json!({
        "name": name_of(entry),
        "bytes": entry.bytes,
        "folder": entry.folder.display().to_string(),
        "damage": entry.model.as_ref().err().map(|error| error.message.clone()),
    })
}

fn runtime_row(runtime: &Runtime) -> [String; 3] {
    [runtime.name.clone(), bytes(runtime.bytes), runtime.folder.display().to_string()]
}

fn runtime_json(runtime: &Runtime) -> Json {
    json!({ "name": runtime.name, "bytes": runtime.bytes, "folder": runtime.folder.display().to_string() })
}
