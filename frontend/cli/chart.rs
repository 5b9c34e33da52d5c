//! Bars in a terminal.

use super::terminal::Terminal;

/// Parts of a full block, from an eighth to seven eighths.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// A bar for a part of the whole, `width` characters at most. What is not nothing can be seen.
pub(super) fn bar(part: f64, width: usize, terminal: &Terminal) -> String {
    let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 };
    if !terminal.unicode {
        return "#".repeat((part * width as f64).round() as usize);
    }
    let eighths = (part * width as f64 * 8.0).round() as usize;
    // Half a percent is half of the thinnest block at the usual width.
    let eighths = if part >= 0.0005 { eighths.max(1) } else { eighths };
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(EIGHTHS.get((eighths % 8).wrapping_sub(1)));
    bar
}

/// `65.6 %`, right-aligned.
pub(super) fn percent(part: f64) -> String {
    format!("{:5.1} %", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        let terminal = |unicode| Terminal { color_out: false, color_err: false, watched: false, unicode };
        assert_eq!(bar(1.0, 4, &terminal(true)), "████");
        assert_eq!(bar(0.5, 5, &terminal(true)), "██▌");
        assert_eq!(bar(0.001, 40, &terminal(true)), "▏");
        assert_eq!(bar(0.0, 40, &terminal(true)), "");
        assert_eq!(bar(f64::NAN, 40, &terminal(true)), "");
        assert_eq!(bar(0.5, 4, &terminal(false)), "##");
        assert_eq!(percent(0.6563), " 65.6 %");
    }
}
