//! What the C library does with memory that comes and goes.

/// Lets the C library's allocator learn that large buffers come and go: once a block of nearly 32 MiB was freed, glibc
/// serves such sizes from its heap instead of mapping each anew. Engines allocate temporaries or results in every call, and
/// each would come back as page faults (7 % of the time at 128 tokens); packed weights come to lie side by side, where
/// the kernel can use large pages. Other allocators ignore it. Nothing is touched, so it costs no memory.
pub(crate) fn keep_large_buffers() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity((32 << 20) - (64 << 10))));
}
