//! Where the weights lie in memory.
//!
//! A forward of a few tokens reads all weights and computes little, so that it matters whether their pages lie side by side.
//! That depends on what the machine did before: the same work, over weights that were loaded first or second in one process,
//! differed by a fifth. What is compared here shall not depend on it.

/// Moves what this process has allocated into large pages, and prints whether it could.
pub(crate) fn gather_and_say() {
    match gather() {
        Some(bytes) => println!("what was loaded is in large pages from here on: {:.0} MB", bytes as f64 / 1e6),
        None => println!("the kernel has no large pages: what was loaded first may lie worse than what was loaded second"),
    }
}

/// Moves what this process has allocated into large pages, side by side. Returns the bytes that are in such pages then; none
/// where the kernel cannot do it (Linux can from 6.1 on).
#[cfg(target_os = "linux")]
fn gather() -> Option<u64> {
    const LARGE: usize = 2 << 20;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ([range, "rw-p", _, _, "0"] | [range, "rw-p", _, _, "0", "[heap]"]) = words[..] else { continue };
        let address = |text: &str| usize::from_str_radix(text, 16).ok();
        let (start, end) = range.split_once('-').and_then(|(start, end)| Some((address(start)?, address(end)?)))?;
        let (start, end) = (start.next_multiple_of(LARGE), end / LARGE * LARGE);
        if start < end {
            // SAFETY: it moves pages of ours, and changes none. Ranges that are gone or cannot be moved are an error that
            // changes nothing.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_COLLAPSE) };
        }
    }
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("AnonHugePages:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    (kib > 0).then_some(kib << 10)
}

#[cfg(not(target_os = "linux"))]
fn gather() -> Option<u64> {
    None
}
