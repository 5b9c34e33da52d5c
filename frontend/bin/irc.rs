//! The `irc` command; see [`irc::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    irc::cli::main()
}
