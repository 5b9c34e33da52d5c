//! Token ids to text as they come.

use super::Model;

/// The text of token ids that come one by one: what is shown never changes later.
///
/// A character that is several tokens is held back until it is whole.
///
/// ```
/// use irc::models::{Model, decode_stream::DecodeStream};
/// let model = Model::open("induction")?;
/// let mut text = DecodeStream::new(&model);
/// let ids = model.encode("Eiffel Paris")?;
/// assert_eq!(ids.iter().map(|id| text.push(*id)).collect::<Vec<_>>(), ["Eiffel", " Paris"]);
/// # Ok::<(), irc::ir::diagnostic::Diagnostic>(())
/// ```
pub struct DecodeStream<'a> {
    model: &'a Model,
    ids: Vec<i64>,
    /// From where on tokens are decoded together: those before are shown, and matter to no later ones.
    from: usize,
    /// The text of the tokens from there on that is shown.
    shown: String,
}

/// So many shown tokens stay, so that the next ones are decoded beside what is before them.
const CONTEXT: usize = 8;

impl<'a> DecodeStream<'a> {
    /// No tokens yet.
    pub fn new(model: &'a Model) -> DecodeStream<'a> {
        DecodeStream { model, ids: vec![], from: 0, shown: String::new() }
    }

    /// The token ids so far.
    pub fn ids(&self) -> &[i64] {
        &self.ids
    }

    /// One more token: the text that it adds, if that is whole.
    pub fn push(&mut self, id: i64) -> String {
        self.ids.push(id);
        let text = self.model.decode(&self.ids[self.from..]);
        if text.ends_with('\u{fffd}') {
            return String::new();
        }
        let added = self.added(&text);
        self.shown = text;
        if self.ids.len() - self.from >= 4 * CONTEXT {
            self.from = self.ids.len() - CONTEXT;
            self.shown = self.model.decode(&self.ids[self.from..]);
        }
        added
    }

    /// What was held back.
    pub fn finish(self) -> String {
        self.added(&self.model.decode(&self.ids[self.from..]))
    }

    fn added(&self, text: &str) -> String {
        text.strip_prefix(&*self.shown).unwrap_or(text.get(self.shown.len()..).unwrap_or_default()).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In pieces, all of it comes, whatever is in it; and what is cut is whole.
    #[test]
    fn pieces_are_the_text() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-llama");
        let model = Model::open(path.to_str().unwrap()).unwrap();
        for text in
            ["déjà 日本語 🙂 vu", "plain words of a text that is longer than what is decoded together, which is not much: 日本", "🙂"]
        {
            let ids = model.encode(text).unwrap();
            let mut stream = DecodeStream::new(&model);
            let mut pieces: Vec<String> = ids.iter().map(|id| stream.push(*id)).collect();
            assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{pieces:?}");
            assert_eq!(stream.ids(), ids);
            pieces.push(stream.finish());
            assert_eq!(pieces.concat(), model.decode(&ids));
        }
        // What never becomes whole comes in the end.
        let ids = model.encode("🙂").unwrap();
        let mut stream = DecodeStream::new(&model);
        let pieces: String = ids[..ids.len() - 1].iter().map(|id| stream.push(*id)).collect();
        assert!(pieces.is_empty() && stream.finish().contains('\u{fffd}'));
    }
}
