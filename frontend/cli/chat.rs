//! `irc chat`: a conversation with a model, line by line.

use std::io::{self, BufRead, IsTerminal, Write};

use irc_backends::{Backend, Event, cancel::Cancel, host::Functions};
use irc_ir::{code::Code, diagnostic::Diagnostics, graph::Graph};

use super::{
    args::ChatArgs,
    failure::{Failure, Outcome},
    interrupt::Answer,
    program::Program,
    progress::ProgressDisplay,
    run::backend,
    terminal::Terminal,
};
use crate::models::{Model, decode_stream::DecodeStream, generation::GenerationConfig};

/// What each step logs its token as.
const TOKEN: &str = "token";

/// What stands before and after a turn of ChatML, which are tokens of their own.
const TURN: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

pub(super) fn chat(args: &ChatArgs, terminal: &Terminal) -> Outcome {
    let backend = backend(&args.engine, terminal)?;
    let mut progress = ProgressDisplay::new(terminal);
    let model = Model::open_with(&args.model, &mut |now| progress.show(now))?;
    model.handle_with(&mut |now| progress.show(now))?;
    drop(progress);
    model.tokenizer()?;
    let intervention = args.intervention.as_deref().map(|file| Intervention::open(file, &model, terminal)).transpose()?;
    let mut chat = Chat::new(&model, args, intervention)?;
    let answer = Answer::default();
    answer.listen(terminal);

    let asks = io::stdin().is_terminal() && terminal.watched;
    let mut lines = io::stdin().lock().lines();
    loop {
        if asks {
            write!(io::stdout(), "{} ", terminal.accent(">"))?;
            io::stdout().flush()?;
        }
        let Some(line) = lines.next() else { break };
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        match chat.turn(&line, &*backend, &answer, terminal) {
            // A word that the model does not know ends no conversation.
            Err(Failure::Diagnostics(errors, _)) if errors.0.iter().all(|error| error.code == Code::E2004) => {
                terminal.say(&errors.to_string());
            }
            done => done?,
        }
    }
    if asks {
        terminal.print("\n")?;
    }
    Ok(())
}

/// A program whose writes are made in every step.
struct Intervention {
    program: Program,
    graph: Graph,
}

impl Intervention {
    fn open(file: &std::path::Path, model: &Model, terminal: &Terminal) -> Outcome<Intervention> {
        let mut program = Program::read(file)?;
        // Its model is this one, whatever it says.
        program.models.extend(program.graph.models.iter().map(|decl| (decl.name.clone(), model.clone())));
        let verified = program.verify().map_err(|errors| Failure::in_source(errors, &program.source))?;
        if !verified.graph().effects.is_empty() {
            terminal.say("what the intervention saves and logs is left aside: its writes happen in every step");
        }
        let graph = verified.graph().clone();
        let intervention = Intervention { program, graph };
        // Whether all of it can be done in a step is said before anybody types.
        let session = model.session();
        let generation = session.generate([0i64], 2);
        let fits = generation.all().intervene(&intervention.graph).and_then(|()| session.program());
        let fits = fits.and_then(|graph| crate::run::check(graph, &[("m".into(), model.clone())].into()));
        fits.map_err(|errors| intervention.wrong(errors))?;
        Ok(intervention)
    }

    fn wrong(&self, errors: impl Into<Diagnostics>) -> Failure {
        Failure::in_source(errors, &self.program.source)
    }
}

/// A conversation.
struct Chat<'a> {
    model: &'a Model,
    intervention: Option<Intervention>,
    config: GenerationConfig,
    /// Whether turns have roles.
    roles: bool,
    /// What is said before everything else.
    system: Vec<i64>,
    /// The turns, each with its answer.
    turns: Vec<Vec<i64>>,
    /// The tokens that end an answer.
    ends: Vec<i64>,
}

impl<'a> Chat<'a> {
    fn new(model: &'a Model, args: &ChatArgs, intervention: Option<Intervention>) -> Outcome<Chat<'a>> {
        let tokenizer = model.tokenizer()?;
        let own = model.generation_config()?;
        let mut ends = own.eos.clone().unwrap_or_default();
        let end_of_turn = tokenizer.id(TURN[1]).filter(|_| tokenizer.id(TURN[0]).is_some() && !args.plain);
        ends.extend(end_of_turn.filter(|end| !ends.contains(end)));
        let mut config = GenerationConfig::new().max_new_tokens(args.max_new_tokens).eos(ends.clone());
        if args.greedy {
            config = config.greedy();
        }
        config = args.temperature.map_or(config.clone(), |temperature| config.temperature(temperature));
        config = args.top_k.map_or(config.clone(), |k| config.top_k(k));
        config = args.top_p.map_or(config.clone(), |p| config.top_p(p));
        config = args.min_p.map_or(config.clone(), |p| config.min_p(p));
        config = args.seed.map_or(config.clone(), |seed| config.seed(seed));
        config = args.repetition_penalty.map_or(config.clone(), |penalty| config.repetition_penalty(penalty));
        let roles = end_of_turn.is_some();
        let system = match (&args.system, roles) {
            (Some(system), true) => model.encode(&format!("{}system\n{system}{}\n", TURN[0], TURN[1]))?,
            (Some(system), false) => model.encode(system)?,
            (None, _) => vec![],
        };
        Ok(Chat { model, intervention, config, roles, system, turns: vec![], ends })
    }

    /// A line and its answer, whose words appear as they are chosen.
    fn turn(&mut self, line: &str, backend: &dyn Backend, answer: &Answer, terminal: &Terminal) -> Outcome {
        let turn = match self.roles {
            true => self.model.encode(&format!("{0}user\n{line}{1}\n{0}assistant\n", TURN[0], TURN[1]))?,
            false => self.model.encode(line)?,
        };
        let prompt = self.prompt(&turn, terminal);
        let session = self.model.session();
        let generation = session.generate(prompt, self.config.clone());
        let all = generation.all();
        if let Some(intervention) = &self.intervention {
            all.intervene(&intervention.graph).map_err(|errors| intervention.wrong(errors))?;
        }
        all.token().log(TOKEN);

        let cancel = Cancel::new();
        answer.begins(&cancel);
        let mut words = DecodeStream::new(self.model);
        let mut out = io::stdout();
        let mut closed: io::Result<()> = Ok(());
        let ends = &self.ends;
        let mut host = Functions::new(|event| {
            let Event::Log { label: Some(label), value } = &event else { return };
            let token = value.as_tensor().and_then(|token| token.values::<i64>()?.first().copied());
            if let Some(token) = token.filter(|token| &**label == TOKEN && !ends.contains(token)) {
                let text = words.push(token);
                closed = std::mem::replace(&mut closed, Ok(())).and_then(|()| write!(out, "{text}")).and_then(|()| out.flush());
                if closed.is_err() {
                    // Nobody reads it any more.
                    cancel.cancel();
                }
            }
        })
        .with_cancel(&cancel);
        let run = session.run_for(backend, &mut host);
        drop(host);
        answer.ended();
        closed?;
        let ids = words.ids().to_vec();
        writeln!(out, "{}", words.finish())?;
        match run {
            Err(errors) if errors.0.iter().all(|error| error.code == Code::E4006) => terminal.say("(stopped)"),
            Err(errors) => {
                return Err(self.intervention.as_ref().map_or_else(|| errors.clone().into(), |of| of.wrong(errors.clone())));
            }
            Ok(_) => {}
        }
        let close = if self.roles { self.model.encode(&format!("{}\n", TURN[1]))? } else { vec![] };
        self.turns.push([turn, ids, close].concat());
        Ok(())
    }

    /// The conversation with a new turn, without the oldest ones if it is too long.
    fn prompt(&mut self, turn: &[i64], terminal: &Terminal) -> Vec<i64> {
        let context = self.model.spec().context();
        // An answer gets an eighth of the context at least, where turns can be left out.
        let room = context - context / 8;
        let mut dropped = 0;
        while self.system.len() + self.turns.iter().map(Vec::len).sum::<usize>() + turn.len() > room && !self.turns.is_empty() {
            self.turns.remove(0);
            dropped += 1;
        }
        if dropped > 0 {
            terminal.say(&format!(
                "the conversation is longer than the model's context of {context} tokens: the first {dropped} turns are left out"
            ));
        }
        [&self.system[..], &self.turns.concat(), turn].concat()
    }
}
