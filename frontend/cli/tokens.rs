//! `irc tokens`: what a prompt is to a model.

use serde_json::json;

use super::{
    args::TokensArgs,
    failure::Outcome,
    progress::ProgressDisplay,
    terminal::{Terminal, columns},
};
use crate::models::Model;

pub(super) fn tokens(args: &TokensArgs, terminal: &Terminal) -> Outcome {
    let mut progress = ProgressDisplay::new(terminal);
    let model = Model::open_with(&args.model, &mut |now| progress.show(now))?;
    drop(progress);
    let tokenizer = model.tokenizer()?;
    let tokens = tokenizer.encode_with_places(&args.prompt)?;
    if args.json {
        let one = |(position, (id, place)): (usize, &(i64, std::ops::Range<usize>))| {
            json!({
                "position": position,
                "id": id,
                "text": tokenizer.decode(&[*id]),
                "piece": tokenizer.piece(*id),
                "start": place.start,
                "end": place.end,
            })
        };
        let tokens: Vec<_> = tokens.iter().enumerate().map(one).collect();
        return terminal.print_json(&json!({ "ok": true, "model": model.name(), "tokens": tokens }));
    }
    let row = |(position, (id, _)): (usize, &(i64, _))| [position.to_string(), id.to_string(), format!("{:?}", tokenizer.decode(&[*id]))];
    let rows: Vec<[String; 3]> = tokens.iter().enumerate().map(row).collect();
    terminal.print(&columns(&rows))
}
