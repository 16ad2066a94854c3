//! What was measured, what it is measured against, and whether the bar is met.

/// Rows to print at the end.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<[String; 5]>,
}

/// A bar to meet.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Table {
    /// Adds a figure in `unit` with its bar; `beside` says what it is compared with, in words.
    pub(crate) fn add(&mut self, what: &str, figure: f64, unit: &str, beside: &str, bar: Bar) {
        let (met, bar) = match bar {
            Bar::AtLeast(bar) => (figure >= bar, format!("≥ {}", number(bar))),
            Bar::AtMost(bar) => (figure <= bar, format!("≤ {}", number(bar))),
        };
        let verdict = if met { "met" } else { "MISSED" };
        let row = [what, &format!("{} {unit}", number(figure)), &bar, verdict, beside].map(str::to_owned);
        eprintln!("  {}", row.join("  "));
        self.rows.push(row);
    }

    pub(crate) fn print(&self) {
        let head = ["measured", "figure", "bar", "", "beside, in the same run"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        println!();
        for row in &rows {
            let cells: Vec<String> = row
                .iter()
                .enumerate()
                .map(|(column, cell)| format!("{cell:<width$}", width = width(column)))
                .collect();
            println!("{}", cells.join("  ").trim_end());
        }
    }
}

fn number(value: f64) -> String {
    if value >= 1_000.0 {
        let whole = format!("{value:.0}");
        let digits: Vec<char> = whole.chars().collect();
        let groups: Vec<String> = digits.rchunks(3).rev().map(|group| group.iter().collect()).collect();
        groups.join(",")
    } else {
        format!("{value:.2}")
    }
}
