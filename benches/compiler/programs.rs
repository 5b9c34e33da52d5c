//! The programs whose compilation is measured.

use irc::{ir::graph::Graph, models::Model};

/// A sweep of `traces` patches on the toy model, written as a plain loop of traces.
pub fn sweep(traces: usize) -> Graph {
    let model = Model::open("induction").expect("it is built in");
    let session = model.session();
    let source = session.trace("<s> Eiffel Paris Buckingham London Eiffel");
    for at in 0..traces {
        let (layer, position) = (at % 4, (at / 4 % 6) as i64);
        let h = source.hook(format!("model.layers.{layer}.output")).at((.., position));
        let trace = session.trace("<s> Colosseum Rome Prado Madrid Colosseum");
        trace.hook(format!("model.layers.{layer}.output")).at((.., position)).set(&h * (at as f64));
        trace.hook("lm_head.output").at((.., -1)).softmax(-1).save(format!("p{at}"));
    }
    session.program().expect("the program is right")
}

/// Head patching over 80 layers of 64 heads on a handle of that geometry: `patches` plain traces, of which every 5,120 have prompts
/// of their own.
pub fn heads(model: &Model, patches: usize) -> Graph {
    let session = model.session();
    let mut at = 0..patches;
    for group in 0..patches.div_ceil(80 * 64) {
        let prompt = |word: i64| vec![791i64, 6864, 315, word, 9822 + group as i64, 374, 279, 3363, 315];
        let source = session.trace(vec![prompt(9822)]);
        for at in at.by_ref().take(80 * 64) {
            let (layer, head) = (at % 80, at as i64 / 80 % 64);
            let hook = format!("model.layers.{layer}.self_attn.o_proj.input");
            let columns = head * 128..(head + 1) * 128;
            let z = source.hook(&*hook).at((.., .., columns.clone()));
            let trace = session.trace(vec![prompt(6457)]);
            trace.hook(&*hook).at((.., .., columns)).set(&z);
            let logits = trace.hook("lm_head.output").at((.., -1));
            (logits.at((.., 9822)) - logits.at((.., 6457))).save(format!("{at}"));
        }
    }
    session.program().expect("the program is right")
}

/// A Llama of 80 layers that is known by its configuration alone.
pub fn seventy_billion() -> Model {
    let folder = std::env::temp_dir().join(format!("irc-70b-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the configuration");
    let config = r#"{"model_type": "llama", "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": false}"#;
    std::fs::write(folder.join("config.json"), config).expect("the configuration is written");
    let model = Model::open(&folder.to_string_lossy());
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    model.unwrap_or_else(|error| panic!("{error}"))
}
