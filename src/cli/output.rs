//! Listings: a table for people, JSON for programs.

use super::failure::Failure;
use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write as _};

/// How a listing is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Columns for people
    Table,
    /// One JSON document
    Json,
    /// One JSON document per line and row
    Jsonl,
}

/// The flag of every listing.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Output {
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Table)]
    pub(super) format: Format,
}

impl Output {
    /// Prints rows, of which a table shows `columns`.
    pub(super) fn rows<T: Serialize>(&self, columns: &[&str], rows: &[T]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match self.format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, rows).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Format::Jsonl => {
                for row in rows {
                    serde_json::to_writer(&mut out, row).map_err(io::Error::from)?;
                    writeln!(out)?;
                }
            }
            Format::Table => write!(out, "{}", table(columns, rows)?)?,
        }
        out.flush()?;
        Ok(())
    }

    /// Prints one thing: as JSON, or as the text that `table` makes of it.
    pub(super) fn one<T: Serialize>(
        &self,
        thing: &T,
        table: impl FnOnce(&T) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match self.format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, thing).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Format::Jsonl => {
                serde_json::to_writer(&mut out, thing).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Format::Table => out.write_all(table(thing)?.as_bytes())?,
        }
        out.flush()?;
        Ok(())
    }
}

/// The rows as lines of columns, with a heading.
pub(super) fn table<T: Serialize>(columns: &[&str], rows: &[T]) -> Result<String, Failure> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let heading = |column: &&str| column.to_uppercase().replace('_', " ");
    table.set_header(columns.iter().map(heading));
    for row in rows {
        let row = serde_json::to_value(row).map_err(io::Error::from)?;
        table.add_row(columns.iter().map(|column| cell(row.get(*column))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(text)
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::Array(values)) if values.is_empty() => "-".to_owned(),
        Some(Value::Array(values)) => {
            let cells: Vec<String> = values.iter().map(|value| cell(Some(value))).collect();
            cells.join(",")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        in_sync: Vec<i32>,
        rack: Option<&'static str>,
        internal: bool,
    }

    #[test]
    fn tables_have_a_heading_and_no_trailing_blanks() {
        let rows = [
            Row { name: "a", in_sync: vec![1, 2], rack: None, internal: true },
            Row { name: "longer", in_sync: vec![], rack: Some("r1"), internal: false },
        ];
        let text = table(&["name", "in_sync", "rack", "internal"], &rows).expect("serializable");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "NAME    IN SYNC  RACK  INTERNAL");
        assert_eq!(lines[1], "a       1,2      -     yes");
        assert_eq!(lines[2], "longer  -        r1    no");
    }
}
