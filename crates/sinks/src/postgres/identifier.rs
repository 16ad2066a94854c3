//! Names in SQL: always quoted, so that a name is what the settings spell and nothing else.

use std::fmt;

/// PostgreSQL cuts longer names, silently.
const MAX_BYTES: usize = 63;

/// The name of a table, schema or column. Shown as SQL writes it, in double quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identifier(String);

/// The name of a table, with its schema or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableName {
    schema: Option<Identifier>,
    table: Identifier,
}

impl Identifier {
    /// # Errors
    /// When PostgreSQL could not have the name, or not the whole of it.
    pub(super) fn new(name: &str) -> Result<Self, &'static str> {
        if name.is_empty() || name.len() > MAX_BYTES || name.contains('\0') {
            return Err("a name must have 1 to 63 bytes, none of them zero");
        }
        Ok(Self(name.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

impl TableName {
    /// Reads `table` or `schema.table`.
    ///
    /// # Errors
    /// When a part is no name.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (schema, table) = match text.split_once('.') {
            Some((schema, table)) => (Some(Identifier::new(schema)?), table),
            None => (None, text),
        };
        if table.contains('.') {
            return Err("must be a table's name, or a schema's and a table's with one dot between them");
        }
        Ok(Self { schema, table: Identifier::new(table)? })
    }

    /// Its name in its schema.
    pub(super) fn table(&self) -> &Identifier {
        &self.table
    }

    /// Another table in the same schema.
    pub(super) fn neighbour(&self, table: &'static str) -> Self {
        Self { schema: self.schema.clone(), table: Identifier(table.to_owned()) }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        write!(f, "{}", self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_its_quotes() {
        assert_eq!(
            Identifier::new(r#"a"; DROP TABLE b; --"#).unwrap().to_string(),
            r#""a""; DROP TABLE b; --""#
        );
        for wrong in ["", "a\0", &"x".repeat(64)] {
            assert!(Identifier::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_table_may_have_a_schema() {
        let table = TableName::parse("Audit.Events").unwrap();
        assert_eq!(table.to_string(), r#""Audit"."Events""#);
        assert_eq!(table.neighbour("cursors").to_string(), r#""Audit"."cursors""#);
        assert_eq!(TableName::parse("events").unwrap().neighbour("cursors").to_string(), r#""cursors""#);
        for wrong in ["", ".", "a.", ".a", "a.b.c"] {
            assert!(TableName::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
