//! `irc setup`.

use serde_json::json;

use super::{
    args::{SetupArgs, SetupEngine},
    failure::Outcome,
    progress::ProgressDisplay,
    terminal::{Terminal, columns},
};
use crate::ort::{self, Target, cuda::Cuda};

pub(super) fn setup(args: &SetupArgs, terminal: &Terminal) -> Outcome {
    let SetupEngine::Ort = args.engine;
    let target = if args.cuda { Target::Cuda } else { Target::Cpu };
    let library = {
        let mut progress = ProgressDisplay::new(terminal);
        ort::setup(target, args.from.as_deref(), &mut |now| progress.show(now))?
    };
    let why_not_cuda = args.cuda.then(|| Cuda::find(Some(&library.path)).usable().err()).flatten();
    let unchecked = ort::unchecked(target);
    if args.json {
        return terminal.print_json(&json!({
            "ok": true,
            "path": library.path.display().to_string(),
            "version": library.version,
            "providers": library.providers,
            "sha256_checked": unchecked.is_none(),
            "why_not_cuda": why_not_cuda.map(|error| error.message),
        }));
    }
    let mut rows = vec![["ONNX Runtime".to_owned(), library.version], ["library".to_owned(), library.path.display().to_string()]];
    if !library.providers.is_empty() {
        rows.push(["providers".to_owned(), library.providers.join(", ")]);
    }
    if let Some(why) = unchecked {
        rows.push(["not checked".to_owned(), format!("{why}; it is taken as it is")]);
    }
    if let Some(error) = why_not_cuda {
        rows.push(["not yet".to_owned(), error.message]);
        rows.extend(error.help.into_iter().map(|help| ["help".to_owned(), help]));
    }
    terminal.print(&columns(&rows))
}
