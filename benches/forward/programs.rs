//! What a few programs take on one engine: `-- programs ENGINE DEVICE PRECISION`, such as `programs ort cuda f16`.
//!
//! Wall time in milliseconds, the median of the runs after two that warm up, one line a program: `NAME<tab>MILLISECONDS`, after
//! the engine's numeric class. Only what is saved leaves the engine: the logits of a last token, not of all.

use std::time::Instant;

use irc::{
    backends::{Backend, Handles, execute::Driven, rten::Rten},
    ir::verify::Verified,
    models::Model,
    trace::Session,
};

use super::ids;

pub(crate) fn measure(model: &Model, words: &[&str], rounds: usize) {
    let backend = match backend(words) {
        Ok(backend) => backend,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    let handles = Handles::from([("m".into(), model.handle().expect("the weights are whole"))]);
    let run = |program: &Verified| backend.run(program, &handles, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    for (at, (name, program)) in programs(model).into_iter().enumerate() {
        let class = run(&program).report.numeric_class;
        if at == 0 {
            println!("numeric class\t{class}");
        }
        run(&program);
        let time = || {
            let start = Instant::now();
            run(&program);
            start.elapsed().as_secs_f64() * 1e3
        };
        let mut times: Vec<f64> = (0..rounds.max(1)).map(|_| time()).collect();
        times.sort_by(f64::total_cmp);
        println!("{name}\t{:.2}", times[times.len() / 2]);
    }
}

/// The engine that the words ask for.
fn backend(words: &[&str]) -> Result<Box<dyn Backend>, String> {
    match *words {
        ["rten", "cpu", "f32"] => Ok(Box::new(Driven::new(Rten::new(None)))),
        #[cfg(feature = "ort")]
        ["ort", device, precision] => {
            use irc::{
                backends::ort::Device,
                ort::{Target, library_or_setup},
            };
            let (device, precision) = (device.parse()?, precision.parse()?);
            let target = if device == Device::Cpu { Target::Cpu } else { Target::Cuda };
            let library = library_or_setup(target, &mut |_| {}).map_err(|error| error.to_string())?;
            irc::ort::backend(&library, None, device, precision, false).map_err(|error| error.to_string())
        }
        _ => Err(format!("this version of irc has no engine for `{}`", words.join(" "))),
    }
}

/// What is measured, by name.
fn programs(model: &Model) -> Vec<(String, Verified)> {
    let check = |session: Session| {
        let models = [("m".into(), model.clone())].into();
        irc::run::check(session.program().expect("the program is right"), &models).expect("the program is right")
    };
    let mut programs = vec![];
    for tokens in [8, 128, 1024] {
        let session = model.session();
        session.trace(ids(tokens)).hook("lm_head.output").at((.., -1)).save("logits");
        programs.push((format!("forward of {tokens} tokens"), check(session)));
    }
    let session = model.session();
    let trace = session.trace(ids(128));
    for layer in 0..30 {
        for hook in ["self_attn.output", "mlp.output", "output"] {
            let hook = format!("model.layers.{layer}.{hook}");
            trace.hook(&*hook).save(hook.clone());
        }
    }
    trace.hook("lm_head.output").at((.., -1)).save("logits");
    programs.push(("forward of 128 tokens, 90 saved hooks".to_owned(), check(session)));

    let session = model.session();
    let source = session.trace(ids(8));
    for layer in 0..30 {
        let hook = format!("model.layers.{layer}.output");
        let trace = session.trace(ids(9)[1..].to_vec());
        trace.hook(&*hook).at((.., -1)).set(source.hook(&*hook).at((.., -1)));
        trace.hook("lm_head.output").at((.., -1)).save(format!("layer {layer}"));
    }
    programs.push(("sweep of 30 patches, 8 tokens".to_owned(), check(session)));
    programs
}
