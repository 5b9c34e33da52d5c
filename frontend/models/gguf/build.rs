//! Writes small GGUF files for tests.

/// A file in the making.
#[derive(Clone, Default)]
pub(crate) struct Builder {
    metadata: Vec<u8>,
    keys: u64,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Builder {
    fn key(&mut self, key: &str, kind: u32) -> &mut Vec<u8> {
        text(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
        self.keys += 1;
        &mut self.metadata
    }

    pub(crate) fn uint(mut self, key: &str, value: u32) -> Self {
        self.key(key, super::UINT32).extend(value.to_le_bytes());
        self
    }

    pub(crate) fn float(mut self, key: &str, value: f32) -> Self {
        self.key(key, 6).extend(value.to_le_bytes());
        self
    }

    pub(crate) fn flag(mut self, key: &str, value: bool) -> Self {
        self.key(key, super::BOOL).push(value.into());
        self
    }

    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        text(self.key(key, super::STRING), value);
        self
    }

    pub(crate) fn texts(mut self, key: &str, values: &[&str]) -> Self {
        let out = self.key(key, super::ARRAY);
        out.extend(super::STRING.to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| text(out, value));
        self
    }

    pub(crate) fn ints(mut self, key: &str, values: &[i32]) -> Self {
        let out = self.key(key, super::ARRAY);
        out.extend(super::INT32.to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| out.extend(value.to_le_bytes()));
        self
    }

    /// A tensor with its shape in PyTorch's order.
    pub(crate) fn tensor(mut self, name: &str, shape: &[u64], type_id: u32, bytes: Vec<u8>) -> Self {
        self.tensors.push((name.into(), shape.iter().rev().copied().collect(), type_id, bytes));
        self
    }

    pub(crate) fn floats(self, name: &str, shape: &[u64], values: impl IntoIterator<Item = f32>) -> Self {
        self.tensor(name, shape, 0, values.into_iter().flat_map(f32::to_le_bytes).collect())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend(self.keys.to_le_bytes());
        out.extend(&self.metadata);
        let mut offset = 0u64;
        for (name, shape, type_id, bytes) in &self.tensors {
            text(&mut out, name);
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(type_id.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset = (offset + bytes.len() as u64).next_multiple_of(32);
        }
        for (.., bytes) in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(bytes);
        }
        out
    }

    /// One layer, hidden 8, two heads of 4 with one key-value head, 5 tokens. `value` numbers the elements of all tensors.
    pub(crate) fn llama(tied: bool) -> Builder {
        let mut value = 0.0;
        let mut next = move || {
            value += 1.0;
            value
        };
        let mut builder = Builder::default()
            .text("general.architecture", "llama")
            .uint("llama.embedding_length", 8)
            .uint("llama.feed_forward_length", 35)
            .uint("llama.block_count", 1)
            .uint("llama.attention.head_count", 2)
            .uint("llama.attention.head_count_kv", 1)
            .uint("llama.context_length", 16)
            .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
            .float("llama.rope.freq_base", 10_000.0)
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "gpt-2")
            .texts("tokenizer.ggml.tokens", &["<s>", "a", "b", "ab", "Ġ"])
            .ints("tokenizer.ggml.token_type", &[3, 1, 1, 1, 1])
            .texts("tokenizer.ggml.merges", &["a b"])
            .uint("tokenizer.ggml.bos_token_id", 0);
        for (name, shape) in [
            ("token_embd", &[5, 8][..]),
            ("blk.0.attn_norm", &[8]),
            ("blk.0.attn_q", &[8, 8]),
            ("blk.0.attn_k", &[4, 8]),
            ("blk.0.attn_v", &[4, 8]),
            ("blk.0.attn_output", &[8, 8]),
            ("blk.0.ffn_norm", &[8]),
            ("blk.0.ffn_gate", &[35, 8]),
            ("blk.0.ffn_up", &[35, 8]),
            ("blk.0.ffn_down", &[8, 35]),
            ("output_norm", &[8]),
            ("output", &[5, 8]),
        ] {
            if name != "output" || !tied {
                let count = shape.iter().product::<u64>();
                builder = builder.floats(&format!("{name}.weight"), shape, (0..count).map(|_| next()));
            }
        }
        builder
    }
}
