//! What the C library does with memory that comes and goes.

/// Lets the C library's allocator learn that large buffers come and go: once a block of nearly 32 MiB was freed, glibc
/// serves such sizes from its heap instead of mapping each anew. Engines allocate temporaries or results in every call, and
/// each would come back as page faults (7 % of the time at 128 tokens); packed weights come to lie side by side, where
/// the kernel can use large pages. Other allocators ignore it. Nothing is touched, so it costs no memory.
pub(crate) fn keep_large_buffers() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity((32 << 20) - (64 << 10))));
}

/// Gives free memory back to the system, where the C library is glibc. What is made of large buffers and leaves small ones among
/// them, as ONNX Runtime makes a session, would let its heap grow each time by what lies between.
#[cfg(feature = "ort")]
pub(crate) fn release_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: as glibc declares it; any thread may call it at any time, and no memory that is in use is touched.
        unsafe { malloc_trim(0) };
    }
}
