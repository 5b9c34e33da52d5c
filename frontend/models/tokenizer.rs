//! Text to token ids and back.
//!
//! Real models use Hugging Face's `tokenizers`, which stays behind [`Tokenizer`]; toy models have a list of words.

use std::{collections::HashMap, fmt, io::Write, ops::Range, path::Path};

use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned, SeqAccess, Visitor},
};
use serde_json::json;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    models::bpe::{BPE, Vocab},
};

use super::{cache, gguf::Gguf};

/// The largest tokenizer.json that is read; the largest that are published have some 35 MB.
const FILE_LIMIT: u64 = 256 << 20;

/// A tokenizer.
#[derive(Clone)]
pub struct Tokenizer(Kind);

#[derive(Clone)]
enum Kind {
    Hugging(Box<tokenizers::Tokenizer>),
    Words { words: Vec<String>, ids: HashMap<String, i64> },
}

impl Tokenizer {
    /// Opens a `tokenizer.json` of Hugging Face's format, with a byte-pair encoding.
    ///
    /// What would cut or fill up texts (`truncation`, `padding`), or make their tokens random (`dropout`), is left aside.
    pub fn open(path: &Path) -> Result<Tokenizer, Diagnostic> {
        Tokenizer::from_json(&cache::read_limited(path, FILE_LIMIT)?, path)
    }

    /// The tokenizer of a GGUF file.
    pub(super) fn from_gguf(path: &Path) -> Result<Tokenizer, Diagnostic> {
        let mut json = Vec::new();
        write_json(&Gguf::open(path)?, &mut json)?;
        Tokenizer::from_json(&json, path)
    }

    /// The tokenizer that a JSON text describes, which comes from the file `path`.
    fn from_json(bytes: &[u8], path: &Path) -> Result<Tokenizer, Diagnostic> {
        // Not `Tokenizer::from_bytes`: it goes through a tree of the whole file, which takes twice the time, and panics on some
        // merges that fit no token.
        let made = serde_json::from_slice(bytes).map_err(|error| ("", error.to_string())).and_then(FromFile::make);
        made.map(|tokenizer| Tokenizer(Kind::Hugging(Box::new(tokenizer)))).map_err(|(field, message)| {
            Diagnostic::error(Code::E0011, format!("the tokenizer cannot be read: {message}"))
                .label(Span::file(path, field), "")
                .help("if it lies in the cache, `irc cache clean` and fetching the model again repair it")
        })
    }

    /// A tokenizer for toy models: words stand between white space, and the id of a word is its place in the list.
    pub fn from_words(words: &[&str]) -> Tokenizer {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut ids = HashMap::new();
        for (id, word) in (0..).zip(&words) {
            ids.entry(word.clone()).or_insert(id);
        }
        Tokenizer(Kind::Words { words, ids })
    }

    /// The token ids of a text. Nothing is put before or after it; special tokens that are spelled out in it are recognised.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>, Diagnostic> {
        match &self.0 {
            Kind::Hugging(tokenizer) => match tokenizer.encode_fast(text, false) {
                Ok(encoding) => Ok(encoding.get_ids().iter().map(|id| i64::from(*id)).collect()),
                Err(error) => Err(Diagnostic::error(Code::E2004, format!("the text cannot be turned into tokens: {error}"))),
            },
            Kind::Words { words, ids } => {
                let unknown = |word: &str| {
                    let mut list = words.iter().take(32).cloned().collect::<Vec<_>>().join(" ");
                    if words.len() > 32 {
                        list += &format!(" and {} more", words.len() - 32);
                    }
                    Diagnostic::error(Code::E2004, format!("`{word}` is not a word of this model"))
                        .suggest(word, words.iter().map(String::as_str))
                        .note(format!("its words are: {list}"))
                };
                text.split_whitespace().map(|word| ids.get(word).copied().ok_or_else(|| unknown(word))).collect()
            }
        }
    }

    /// The tokens of a text, each with the bytes of the text that it covers. Tokens are those of [`Tokenizer::encode`].
    ///
    /// Of byte-level encodings a space belongs to the word after it, and a character that is several tokens is covered by
    /// each of them.
    pub fn encode_with_places(&self, text: &str) -> Result<Vec<(i64, Range<usize>)>, Diagnostic> {
        match &self.0 {
            Kind::Hugging(tokenizer) => match tokenizer.encode(text, false) {
                Ok(encoding) => {
                    let places = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
                    Ok(encoding.get_ids().iter().map(|id| i64::from(*id)).zip(places).collect())
                }
                Err(error) => Err(Diagnostic::error(Code::E2004, format!("the text cannot be turned into tokens: {error}"))),
            },
            Kind::Words { .. } => {
                let place = |word: &str| {
                    // Words are parts of the text.
                    let start = word.as_ptr() as usize - text.as_ptr() as usize;
                    start..start + word.len()
                };
                Ok(self.encode(text)?.into_iter().zip(text.split_whitespace().map(place)).collect())
            }
        }
    }

    /// The text of token ids, special tokens included. Ids outside the vocabulary are shown as `<id 99999>`.
    pub fn decode(&self, ids: &[i64]) -> String {
        let mut text = String::new();
        for known in ids.chunk_by(|a, b| self.has(*a) == self.has(*b)) {
            let words = known.first().is_some_and(|id| self.has(*id));
            match &self.0 {
                _ if !words => known.iter().for_each(|id| text += &format!("<id {id}>")),
                Kind::Hugging(tokenizer) => {
                    let ids: Vec<u32> = known.iter().filter_map(|id| u32::try_from(*id).ok()).collect();
                    text += &tokenizer.decode(&ids, false).unwrap_or_default();
                }
                Kind::Words { .. } => {
                    text += &known.iter().filter_map(|id| self.piece(*id)).collect::<Vec<_>>().join(" ");
                }
            }
        }
        text
    }

    fn has(&self, id: i64) -> bool {
        self.piece(id).is_some()
    }

    /// How many tokens there are.
    pub fn vocab_size(&self) -> usize {
        match &self.0 {
            Kind::Hugging(tokenizer) => tokenizer.get_vocab_size(true),
            Kind::Words { words, .. } => words.len(),
        }
    }

    /// A token as it is spelled in the vocabulary: `ĠParis`, where [`Tokenizer::decode`] gives ` Paris`.
    pub fn piece(&self, id: i64) -> Option<String> {
        match &self.0 {
            Kind::Hugging(tokenizer) => tokenizer.id_to_token(u32::try_from(id).ok()?),
            Kind::Words { words, .. } => words.get(usize::try_from(id).ok()?).cloned(),
        }
    }

    /// The id of a token as it is spelled in the vocabulary.
    pub fn id(&self, piece: &str) -> Option<i64> {
        match &self.0 {
            Kind::Hugging(tokenizer) => tokenizer.token_to_id(piece).map(i64::from),
            Kind::Words { ids, .. } => ids.get(piece).copied(),
        }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Tokenizer({} tokens)", self.vocab_size())
    }
}

/// What is read of a `tokenizer.json`.
#[derive(Deserialize)]
struct FromFile {
    #[serde(default)]
    added_tokens: Vec<Added>,
    // The library panics on parts that are no JSON (0.23.2, decoders), so they are read as such first.
    #[serde(default)]
    normalizer: serde_json::Value,
    #[serde(default)]
    pre_tokenizer: serde_json::Value,
    #[serde(default)]
    post_processor: serde_json::Value,
    #[serde(default)]
    decoder: serde_json::Value,
    model: BpeFromFile,
}

/// A part of the file in the library's type.
fn part<T: DeserializeOwned>(field: &'static str, value: serde_json::Value) -> Result<Option<T>, (&'static str, String)> {
    serde_json::from_value(value).map_err(|error| (field, error.to_string()))
}

/// A token that is found in the text before anything is merged.
#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

#[derive(Deserialize)]
struct BpeFromFile {
    r#type: Option<String>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    vocab: Vocab,
    #[serde(default)]
    merges: Vec<Merge>,
}

/// Two tokens that become one: `["a", "b"]`, or `"a b"` in older files.
struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Merge, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Merge;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("two tokens, as a list or with a space between them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Merge, E> {
                let pair = text.split_once(' ').ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(Merge(pair.0.to_owned(), pair.1.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Merge, A::Error> {
                let mut next = |at| items.next_element()?.ok_or_else(|| de::Error::invalid_length(at, &self));
                Ok(Merge(next(0)?, next(1)?))
            }
        }
        input.deserialize_any(Either)
    }
}

impl FromFile {
    /// The tokenizer, or a field and what is wrong with it.
    fn make(self) -> Result<tokenizers::Tokenizer, (&'static str, String)> {
        let FromFile { added_tokens, normalizer, pre_tokenizer, post_processor, decoder, model } = self;
        if let Some(kind) = model.r#type.filter(|kind| kind != "BPE") {
            return Err(("model.type", format!("it is of the kind `{kind}`, and this version reads `BPE`")));
        }
        // The builder looks every merge up in the vocabulary, but cuts the texts up before that, trusting in their lengths.
        let prefix = model.continuing_subword_prefix.as_ref().map_or(0, String::len);
        let longest = model.vocab.keys().map(String::len).max().unwrap_or(0);
        let misfit = |Merge(a, b): &&Merge| !b.is_char_boundary(prefix) || a.len() + b.len() - prefix > longest;
        if let Some(Merge(a, b)) = model.merges.iter().find(misfit) {
            return Err(("model.merges", format!("`{a}` and `{b}` merge to something that is not a token")));
        }
        let merges = model.merges.into_iter().map(|Merge(a, b)| (a, b)).collect();
        let mut builder = BPE::builder()
            .vocab_and_merges(model.vocab, merges)
            .fuse_unk(model.fuse_unk)
            .byte_fallback(model.byte_fallback)
            .ignore_merges(model.ignore_merges);
        if let Some(token) = model.unk_token {
            builder = builder.unk_token(token);
        }
        if let Some(prefix) = model.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = model.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        let mut tokenizer = tokenizers::Tokenizer::new(builder.build().map_err(|error| ("model", error.to_string()))?);
        // Such a table belongs to Unigram models, and the library trusts in its content.
        if normalizer.to_string().contains("precompiled_charsmap") {
            return Err(("normalizer", "it has a precompiled table of characters, which this version does not read".to_owned()));
        }
        let normalizer: Option<NormalizerWrapper> = part("normalizer", normalizer)?;
        tokenizer.with_normalizer(normalizer).map_err(|error| ("normalizer", error.to_string()))?;
        tokenizer.with_pre_tokenizer(part::<PreTokenizerWrapper>("pre_tokenizer", pre_tokenizer)?);
        tokenizer.with_post_processor(part::<PostProcessorWrapper>("post_processor", post_processor)?);
        tokenizer.with_decoder(part::<DecoderWrapper>("decoder", decoder)?);
        let (ids, tokens): (Vec<_>, Vec<_>) =
            added_tokens.into_iter().map(|added| ((added.id, added.token.content.clone()), added.token)).unzip();
        tokenizer.add_tokens(tokens).map_err(|error| ("added_tokens", error.to_string()))?;
        match ids.iter().find(|(id, content)| tokenizer.token_to_id(content) != Some(*id)) {
            Some((id, content)) => Err(("added_tokens", format!("the added token `{content}` cannot have the id {id}"))),
            None => Ok(tokenizer),
        }
    }
}

/// Token types of llama.cpp that are found in the text before anything is merged.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// The expression of OpenAI's cl100k and its relatives, as transformers writes it (`convert_slow_tokenizer.py`); they differ in
/// how many digits belong together.
fn tiktoken(digits: &str) -> String {
    format!(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
}

/// Writes the tokenizer of a GGUF file in Hugging Face's format.
pub(super) fn write_json(file: &Gguf, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let need = |key: &str| file.text(key)?.ok_or_else(|| file.missing(key));
    let model = need("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(
            file.fault("tokenizer.ggml.model", format!("has a tokenizer of the kind `{model}`; byte-level BPE, `gpt2`, is supported"))
        );
    }
    let byte_level =
        |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let sequence = |first: serde_json::Value, use_regex: bool| json!({"type": "Sequence", "pretokenizers": [first, byte_level(use_regex)]});
    let split = |regex: String| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let (normalizer, pre_tokenizer, ignore_merges) = match need("tokenizer.ggml.pre")? {
        "gpt-2" => (None, byte_level(true), false),
        // llama.cpp's name for digits one by one, then GPT-2's expression.
        "smollm" => (None, sequence(json!({"type": "Digits", "individual_digits": true}), true), false),
        "qwen2" => (Some(json!({"type": "NFC"})), sequence(split(tiktoken(r"\p{N}")), false), false),
        "llama-bpe" => (None, sequence(split(tiktoken(r"\p{N}{1,3}")), false), true),
        other => {
            let message = format!("splits text in the manner of `{other}`; this version knows `gpt-2`, `smollm`, `qwen2` and `llama-bpe`");
            return Err(file.fault("tokenizer.ggml.pre", message));
        }
    };
    let key = "tokenizer.ggml.tokens";
    let pieces = file.texts(key)?.ok_or_else(|| file.missing(key))?;
    let key = "tokenizer.ggml.merges";
    let merges = file.texts(key)?.ok_or_else(|| file.missing(key))?;
    if merges.clone().any(|merge| !merge.contains(' ')) {
        return Err(file.fault(key, "has a merge that is not two tokens with a space between"));
    }
    let mut added = Vec::new();
    let key = "tokenizer.ggml.token_type";
    if let Some(types) = file.ints(key)? {
        if types.len() != pieces.len() {
            return Err(file.fault(key, format!("has {} token types for {} tokens", types.len(), pieces.len())));
        }
        for ((id, piece), kind) in pieces.clone().enumerate().zip(types) {
            if kind == CONTROL || kind == USER_DEFINED {
                added.push(json!({
                    "id": id, "content": piece, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                    "special": kind == CONTROL,
                }));
            }
        }
    }
    let tokenizer = TokenizerJson {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens: added,
        normalizer,
        pre_tokenizer,
        post_processor: None,
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        model: Bpe {
            r#type: "BPE",
            dropout: None,
            unk_token: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges,
            vocab: Pieces(pieces),
            merges: Merges(merges),
        },
    };
    let written = serde_json::to_writer(out, &tokenizer);
    written.map_err(|error| Diagnostic::error(Code::E0010, format!("cannot write {}: {error}", cache::TOKENIZER)))
}

/// The file, in the order of its keys.
#[derive(Serialize)]
struct TokenizerJson<V: Serialize, M: Serialize> {
    version: &'static str,
    truncation: Option<()>,
    padding: Option<()>,
    added_tokens: Vec<serde_json::Value>,
    normalizer: Option<serde_json::Value>,
    pre_tokenizer: serde_json::Value,
    post_processor: Option<()>,
    decoder: serde_json::Value,
    model: Bpe<V, M>,
}

#[derive(Serialize)]
struct Bpe<V: Serialize, M: Serialize> {
    r#type: &'static str,
    dropout: Option<f32>,
    unk_token: Option<&'static str>,
    continuing_subword_prefix: Option<&'static str>,
    end_of_word_suffix: Option<&'static str>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: V,
    merges: M,
}

/// Token to id, in the order of the ids.
struct Pieces<I>(I);

impl<'a, I: Iterator<Item = &'a str> + Clone> Serialize for Pieces<I> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.0.clone().zip(0u32..))
    }
}

/// Pairs of tokens, the strongest first.
struct Merges<I>(I);

impl<'a, I: Iterator<Item = &'a str> + Clone> Serialize for Merges<I> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(self.0.clone().filter_map(|merge| merge.split_once(' ')))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::gguf::build::Builder, cache::Scratch, *};

    fn toy() -> Builder {
        Builder::default()
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "smollm")
            .texts("tokenizer.ggml.tokens", &["<|end|>", "a", "b", "Ġ", "1", "2", "ab", "Ġa", "Ã", "©", "Ã©"])
            .ints("tokenizer.ggml.token_type", &[3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
            .texts("tokenizer.ggml.merges", &["a b", "Ġ a", "Ã ©", "1 2"])
    }

    fn write(builder: &Builder) -> Result<Vec<u8>, Diagnostic> {
        let scratch = Scratch::new(&format!("tokenizer-{:?}", std::thread::current().id()));
        let path = scratch.0.join("toy.gguf");
        std::fs::write(&path, builder.bytes()).unwrap();
        let mut json = Vec::new();
        write_json(&Gguf::open(&path)?, &mut json).map(|()| json)
    }

    #[test]
    fn from_gguf_to_ids_and_back() {
        // A merge whose result is no token, or is longer than all tokens, is an error of the file; without it all is well.
        let scratch = Scratch::new("tokenizer");
        let path = scratch.0.join("tokenizer.json");
        std::fs::write(&path, write(&toy()).unwrap()).unwrap();
        assert_eq!(Tokenizer::open(&path).unwrap_err().code, Code::E0011);
        let json = String::from_utf8(write(&toy()).unwrap()).unwrap();
        std::fs::write(&path, json.replace(r#"["1","2"]"#, r#"["<|end|>","<|end|>"]"#)).unwrap();
        assert_eq!(Tokenizer::open(&path).unwrap_err().code, Code::E0011);
        std::fs::write(&path, json.replace(r#""id":0"#, r#""id":5"#)).unwrap();
        assert_eq!(Tokenizer::open(&path).unwrap_err().code, Code::E0011);
        let json = json.replace(r#",["1","2"]"#, "");
        std::fs::write(&path, json).unwrap();
        let tokenizer = Tokenizer::open(&path).unwrap();
        let ids = tokenizer.encode("ab ab1é<|end|>").unwrap();
        assert_eq!(ids, [6, 3, 6, 4, 10, 0]);
        assert_eq!(tokenizer.decode(&ids), "ab ab1é<|end|>");
        let places = tokenizer.encode_with_places("ab ab1é<|end|>").unwrap();
        assert_eq!(places, [(6, 0..2), (3, 2..3), (6, 3..5), (4, 5..6), (10, 6..8), (0, 8..15)]);
        assert_eq!(tokenizer.decode(&[1, -1, 99, 7]), "a<id -1><id 99> a");
        assert_eq!((tokenizer.vocab_size(), tokenizer.piece(7), tokenizer.id("Ġa")), (11, Some("Ġa".into()), Some(7)));
        assert_eq!(Tokenizer::open(&scratch.0.join("none.json")).unwrap_err().code, Code::E0010);
    }

    /// A tokenizer of Hugging Face, cut short and with bytes changed: it opens and works, or ends in a diagnostic.
    #[test]
    fn damaged_files_end_in_diagnostics() {
        let good = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny-llama/tokenizer.json")).unwrap();
        // The same without white space, so that more of the bytes matter.
        let good = serde_json::to_vec(&serde_json::from_slice::<serde_json::Value>(&good).unwrap()).unwrap();
        let scratch = Scratch::new("tokenizer-damaged");
        let path = scratch.0.join("tokenizer.json");
        let open = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let tokenizer = Tokenizer::open(&path)?;
            let ids = tokenizer.encode("The Eiffel Tower, 1889: Ünïcode <|endoftext|> \u{1F5FC}")?;
            tokenizer.decode(&ids);
            Ok::<usize, Diagnostic>(ids.len())
        };
        let whole = open(&good).unwrap();
        assert!(whole > 10);
        for length in (0..good.len()).step_by(211) {
            assert_eq!(open(&good[..length]).unwrap_err().code, Code::E0011, "{length}");
        }
        // What stands before and behind the vocabulary closely, the vocabulary and the merges here and there.
        let vocabulary = good.windows(7).position(|bytes| bytes == b"\"vocab\"").unwrap();
        let merges = good.windows(8).position(|bytes| bytes == b"\"merges\"").unwrap();
        let first = vocabulary.min(merges);
        for (at, flip) in (0..first).step_by(2).chain((first..good.len()).step_by(61)).zip([0x01, 0x02, 0x10, 0x80].into_iter().cycle()) {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            if let Err(error) = open(&bytes) {
                assert!(matches!(error.code, Code::E0011 | Code::E2004), "{at}: {error}");
            }
        }
        // Parts that are well-formed and hostile.
        let value: serde_json::Value = serde_json::from_slice(&good).unwrap();
        let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let precompiled = |map: &str| json!({"type": "Precompiled", "precompiled_charsmap": map});
        for (field, part) in [
            ("normalizer", precompiled("AAAA")),
            ("normalizer", json!({"type": "Sequence", "normalizers": [precompiled("CAAAAAEAAAABAAAAYWJj")]})),
            ("normalizer", json!({"precompiled_charsmap": "/////w=="})),
            ("pre_tokenizer", split("(")),
            ("pre_tokenizer", split("((a{1000}){1000}){1000}")),
            (
                "added_tokens",
                json!([{"id": 4_294_967_295u32, "content": "zz", "single_word": false, "lstrip": true, "rstrip": true,
                "normalized": true, "special": false}]),
            ),
        ] {
            let mut value = value.clone();
            value[field] = part;
            let error = open(&serde_json::to_vec(&value).unwrap()).unwrap_err();
            let place = error.labels.first().map(|label| label.span.clone());
            assert!(error.code == Code::E0011 && place == Some(Span::file(&path, field)), "{error}");
        }
        // Fancy expressions go back and forth only so often.
        for regex in ["((a|e| |f|T|h|i)*)*$x(?=q)", r"((a|e| |f|T|h|i)*)*\1$x(?=q)"] {
            let mut value = value.clone();
            value["pre_tokenizer"] = split(regex);
            let _ = open(&serde_json::to_vec(&value).unwrap());
        }
        assert_eq!(open(&b"[".repeat(100_000)).unwrap_err().code, Code::E0011);
        assert_eq!(open(&[b"{\"model\":".repeat(50_000), b"1".to_vec()].concat()).unwrap_err().code, Code::E0011);
    }

    /// How texts fall into pieces by llama.cpp's names: all merges of digits are there, and a pre-tokenizer keeps them apart.
    #[test]
    fn digits_and_forms() {
        let scratch = Scratch::new("tokenizer-digits");
        let path = scratch.0.join("tokenizer.json");
        let pieces = |pre: &str, text: &str| {
            let builder = Builder::default()
                .text("tokenizer.ggml.model", "gpt2")
                .text("tokenizer.ggml.pre", pre)
                .texts("tokenizer.ggml.tokens", &["1", "11", "111", "1111", "e", "Ì", "ģ", "Ã", "©", "Ã©", "Ģ", "Ìģ"])
                .texts("tokenizer.ggml.merges", &["1 1", "11 1", "111 1", "Ã ©", "Ì ģ"]);
            std::fs::write(&path, write(&builder).unwrap()).unwrap();
            let tokenizer = Tokenizer::open(&path).unwrap();
            let ids = tokenizer.encode(text).unwrap();
            ids.iter().map(|id| tokenizer.piece(*id).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(pieces("gpt-2", "1111"), ["11", "11"]);
        assert_eq!(pieces("smollm", "11"), ["1", "1"]);
        assert_eq!(pieces("qwen2", "11"), ["1", "1"]);
        assert_eq!(pieces("llama-bpe", "1111"), ["111", "1"]);
        // Qwen composes: e and an acute accent become one character.
        assert_eq!(pieces("qwen2", "e\u{301}"), ["Ã©"]);
        assert_eq!(pieces("gpt-2", "e\u{301}"), ["e", "Ìģ"]);
    }

    #[test]
    fn what_is_not_known_is_named() {
        let field = |builder: Builder| match write(&builder).unwrap_err().labels.remove(0).span {
            Span::File(of) => of.field.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(field(Builder::default()), "tokenizer.ggml.model");
        assert_eq!(field(Builder::default().text("tokenizer.ggml.model", "llama")), "tokenizer.ggml.model");
        let odd = Builder::default().text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "odd");
        assert_eq!(field(odd), "tokenizer.ggml.pre");
    }

    #[test]
    fn words() {
        let tokenizer = Tokenizer::from_words(&["the", "cat", "sat"]);
        assert_eq!(tokenizer.encode(" the cat  sat\n").unwrap(), [0, 1, 2]);
        assert_eq!(tokenizer.encode_with_places(" the cat  sat\n").unwrap(), [(0, 1..4), (1, 5..8), (2, 10..13)]);
        assert_eq!(tokenizer.decode(&[0, 2]), "the sat");
        assert!(tokenizer.encode("").unwrap().is_empty());
        let error = tokenizer.encode("the cats").unwrap_err();
        assert!(error.message.contains("`cats`") && error.help[0].contains("`cat`") && error.notes[0].contains("the cat sat"));
    }
}
