//! Files that somebody else wrote, damaged in many ways: each ends in a value or in a diagnostic, quickly and without large
//! allocations. The runs are bounded and the same every time; `tests/fuzz` goes on from here without an end.

#[path = "hostile/targets.rs"]
mod targets;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use irc::ir::random::Dice;

/// Counts the bytes that are allocated, and remembers the most there ever were.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One damaged copy: bytes changed, cut out, doubled, or replaced by what parsers stumble over.
fn damaged(bytes: &[u8], words: &[&[u8]], dice: &mut Dice) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    for _ in 0..1 + dice.below(3) {
        let at = dice.below(damaged.len() + 1);
        let end = (at + dice.below(24)).min(damaged.len());
        match dice.below(6) {
            0 => damaged.truncate(at),
            1 => drop(damaged.drain(at..end)),
            2 => {
                let part = damaged[at..end].to_vec();
                damaged.splice(at..at, part);
            }
            3 => drop(damaged.splice(at..end, dice.pick(words).iter().copied())),
            4 if at < damaged.len() => damaged[at] ^= 1 << dice.below(8),
            _ if at < damaged.len() => damaged[at] = dice.pick(&[0, 0xff, 0x7f, 0x80, b'9', b'{', b'[']),
            _ => {}
        }
    }
    damaged
}

/// Runs a target on a seed and on damaged copies of it. `most` is how many bytes a copy may allocate at once, over what the
/// untouched seed does.
fn attack(name: &str, seeds: &[&[u8]], words: &[&[u8]], copies: usize, most: usize, target: fn(&[u8])) {
    let mut dice = Dice::new(0);
    let peak = |data: &[u8]| {
        let before = NOW.load(Relaxed);
        PEAK.store(before, Relaxed);
        target(data);
        PEAK.load(Relaxed).saturating_sub(before)
    };
    for seed in seeds {
        let usual = peak(seed);
        for copy in 0..copies {
            let data = damaged(seed, words, &mut dice);
            let used = peak(&data);
            assert!(used <= usual + most, "{name}: copy {copy} allocates {used} bytes at once; the seed {usual}");
        }
    }
}

/// One test, so that nothing else allocates while it counts.
#[test]
fn damaged_files_are_refused_cheaply() {
    attack("program_text", PROGRAMS, WORDS, 4_000, 1 << 20, targets::program_text);
    let programs: Vec<Vec<u8>> = PROGRAMS.iter().map(|text| encoded(text)).collect();
    let programs: Vec<&[u8]> = programs.iter().map(Vec::as_slice).collect();
    attack("program_cbor", &programs, BYTES, 4_000, 1 << 20, targets::program_cbor);
    attack("config", CONFIGS, JSON, 150, 16 << 20, targets::config);
    attack("tokenizer", &[include_bytes!("data/tiny-gpt2/tokenizer.json")], JSON, 150, 16 << 20, targets::tokenizer);
    // Damage to numbers is none; what counts is the header.
    let checkpoint = include_bytes!("data/tiny-gpt2/model.safetensors");
    let header = &checkpoint[..8 + u64::from_le_bytes(*checkpoint.first_chunk().unwrap()) as usize];
    attack("safetensors", &[checkpoint, header], JSON, 60, 16 << 20, targets::safetensors);
    attack("shards", &[&index(header)], JSON, 60, 16 << 20, targets::shards);
    attack(
        "gguf",
        &[&a_gguf()],
        &[b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\0\0\0\0\0\0\0\0", b"\x09\0\0\0"],
        1_000,
        16 << 20,
        targets::gguf,
    );
    targets::clean();
}

/// A program as CBOR.
fn encoded(text: &[u8]) -> Vec<u8> {
    irc::ir::cbor::encode(&irc::ir::text::parse(std::str::from_utf8(text).unwrap()).into_result().unwrap())
}

/// An index that says that all tensors of a header are in one shard.
fn index(header: &[u8]) -> Vec<u8> {
    let tensors: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&header[8..]).unwrap();
    let map = tensors.keys().filter(|name| *name != "__metadata__").map(|name| (name.clone(), "model-00001-of-00001.safetensors".into()));
    serde_json::to_vec(&serde_json::json!({ "weight_map": map.collect::<serde_json::Map<_, _>>() })).unwrap()
}

/// The head of a GGUF file, with values of several kinds and a tensor.
fn a_gguf() -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend(1u64.to_le_bytes());
    out.extend(4u64.to_le_bytes());
    text(&mut out, "general.architecture");
    out.extend(8u32.to_le_bytes());
    text(&mut out, "llama");
    text(&mut out, "llama.block_count");
    out.extend(4u32.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    text(&mut out, "llama.rope.freq_base");
    out.extend(6u32.to_le_bytes());
    out.extend(10_000f32.to_le_bytes());
    text(&mut out, "tokenizer.ggml.tokens");
    out.extend([9u32, 8].map(u32::to_le_bytes).concat());
    out.extend(2u64.to_le_bytes());
    ["a", "b"].iter().for_each(|piece| text(&mut out, piece));
    text(&mut out, "token_embd.weight");
    out.extend(2u32.to_le_bytes());
    out.extend([8u64, 2].map(u64::to_le_bytes).concat());
    out.extend(0u32.to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.resize(out.len().next_multiple_of(32) + 64, 0);
    out
}

const WORDS: &[&[u8]] = &[
    b"99999999999999999999",
    b"-1",
    b"tensor<1099511627776x1099511627776xf32>()",
    b"((((((((((((((((",
    b"[[[[[[[[[[[[[[[[",
    b"}",
    b"{",
    b"%x",
    b"save",
    b"loop(",
    b"yield",
    b"until",
    b"do ",
    b"{trip: 1048576}",
    b"nan(0x7fc00001)",
    b"\"",
    b"\\u{110000}",
    b"//",
    b"N*N*N*N",
    b"forward<m, 1xT after P>",
    b"read(%a) {hook: \"\"}",
    b"\xe2\x80\x9c",
];

/// Heads of CBOR items with lengths that are not there, and items within items.
const BYTES: &[&[u8]] = &[
    b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x5b\0\0\0\xff\xff\xff\xff\xff",
    b"\xbf",
    b"\xff",
    b"\x9f",
    b"\xf6",
    b"\x80",
    b"\xa0",
    b"\x81\x81\x81\x81\x81\x81\x81\x81",
    b"\x1a\xff\xff\xff\xff",
    b"\x3b\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\xfb\x7f\xf8\0\0\0\0\0\0",
];

const JSON: &[&[u8]] = &[
    b"99999999999999999999",
    b"-1",
    b"0",
    b"1e400",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"\"\"",
    b"1048576",
    b"4294967296",
    b"0.5",
    b"[[[[[[[[",
    b"{\"a\":",
];

const PROGRAMS: &[&[u8]] = &[
    include_bytes!("cases/parse/good_literals.ig"),
    include_bytes!("cases/parse/good_types.ig"),
    include_bytes!("cases/parse/good_patch.ig"),
    include_bytes!("cases/parse/good_loops.ig"),
    include_bytes!("cases/parse/good_effects.ig"),
    include_bytes!("cases/run/generate_until.ig"),
];

/// In a folder with the weights of the second.
const CONFIGS: &[&[u8]] = &[include_bytes!("data/tiny-llama/config.json"), include_bytes!("data/tiny-gpt2/config.json")];
