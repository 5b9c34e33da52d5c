//! `irc explain-code`.

use irc_ir::{code::Code, diagnostic::Diagnostic};
use serde_json::json;

use super::{
    args::ExplainArgs,
    failure::{Outcome, status},
    terminal::Terminal,
};

pub(super) fn explain(args: &ExplainArgs, terminal: &Terminal) -> Outcome {
    let one = |code: Code| json!({ "code": code.name(), "explanation": in_one_line(code), "status": status(code) });
    let Some(name) = &args.code else {
        if args.json {
            return terminal.print_json(&json!({ "ok": true, "codes": Code::ALL.iter().map(|code| one(*code)).collect::<Vec<_>>() }));
        }
        let lines: String = Code::ALL.iter().map(|code| format!("{}  {}\n", terminal.strong(code.name()), in_one_line(*code))).collect();
        return terminal.print(&lines);
    };
    let code = Code::from_name(name.trim_start_matches("error[").trim_end_matches(']')).ok_or_else(|| {
        let error = Diagnostic::error(Code::E4004, format!("there is no diagnostic code `{name}`"));
        error
            .suggest(&name.to_ascii_uppercase(), Code::ALL.iter().map(|code| code.name()))
            .help("`irc explain-code` alone lists all of them")
    })?;
    match args.json {
        true => terminal.print_json(&json!({ "ok": true, "codes": [one(code)] })),
        false => terminal.print(&format!("{}: {}", terminal.strong(code.name()), in_one_line(code))),
    }
}

fn in_one_line(code: Code) -> String {
    code.explanation().split_whitespace().collect::<Vec<_>>().join(" ")
}
