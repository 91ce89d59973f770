//! Aligned columns for people.

use std::io::{self, Write};

/// Writes rows under a header, each column as wide as its widest cell.
pub(crate) fn write<const N: usize>(
    out: &mut dyn Write,
    header: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let mut widths = header.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    line(out, &header, &widths)?;
    rows.iter().try_for_each(|row| line(out, &row.each_ref().map(String::as_str), &widths))
}

/// Writes `key  value` lines with the values aligned.
pub(crate) fn card(out: &mut dyn Write, lines: &[(&str, String)]) -> io::Result<()> {
    let widest = lines.iter().map(|(key, _)| width(key)).max().unwrap_or(0);
    lines.iter().try_for_each(|(key, value)| {
        let gap = " ".repeat(widest - width(key) + GAP);
        writeln!(out, "{key}{gap}{}", printable(value))
    })
}

/// Spaces between columns.
const GAP: usize = 2;

fn line(out: &mut dyn Write, cells: &[&str], widths: &[usize]) -> io::Result<()> {
    let mut text = String::new();
    for (cell, widest) in cells.iter().zip(widths) {
        text.push_str(&printable(cell));
        text.push_str(&" ".repeat(widest - width(cell) + GAP));
    }
    writeln!(out, "{}", text.trim_end())
}

/// Names and messages come from others: what could move the cursor is shown as a mark.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_are_harmless() {
        let mut out = Vec::new();
        let rows = [["a".into(), "long cell".into()], ["bé\x1b".into(), String::new()]];
        write(&mut out, ["N", "VALUE"], &rows).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "N    VALUE\na    long cell\nbé\u{fffd}\n");
    }
}
