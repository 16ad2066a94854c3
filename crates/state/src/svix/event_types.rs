//! Types of events, as a client describes them for its own users.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::{Map, Value};

use super::{SvixChangeError, SvixPage, of_json, to_json};
use crate::state::now_micros;
use crate::{State, StateError};

/// A type of events. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SvixEventType {
    /// Its name, such as `order.created`.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// Whether it is hidden.
    pub archived: bool,
    /// Whether it is on its way out.
    pub deprecated: bool,
    /// A JSON schema for each version.
    pub schemas: Option<Map<String, Value>>,
    /// What it is shown with.
    pub group_name: Option<String>,
    /// The client's own switches.
    pub feature_flags: Option<Vec<String>>,
    /// When it was made.
    pub created_at_micros: u64,
    /// When it was last changed.
    pub updated_at_micros: u64,
}

const COLUMNS: &str =
    "name, description, archived, deprecated, schemas, group_name, feature_flags, created_at_micros,
                       updated_at_micros";

impl State {
    /// The type of this name, also an archived one. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn svix_event_type(&self, name: &str) -> Result<Option<SvixEventType>, StateError> {
        find(&self.reader(), name)
    }

    /// The types of a page, by their names. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn svix_event_types(
        &self,
        with_archived: bool,
        page: &SvixPage,
    ) -> Result<Vec<SvixEventType>, StateError> {
        let (order, behind) = page.order();
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM svix_event_types WHERE (?1 IS NULL OR name {behind} ?1) AND (?2 OR NOT archived)
             ORDER BY name {order} LIMIT ?3"
        ))?;
        let mut rows = statement.query((&page.after, with_archived, page.limit))?;
        let mut types = Vec::new();
        while let Some(row) = rows.next()? {
            types.push(read(row)?);
        }
        Ok(types)
    }

    /// Makes a type, or changes all of one but when it was made; durable once this returns Ok.
    ///
    /// # Errors
    /// When it `must_be_new` and there is one of its name that is not archived, or the disk is full or fails.
    pub async fn save_svix_event_type(
        &self,
        event_type: SvixEventType,
        must_be_new: bool,
    ) -> Result<SvixEventType, SvixChangeError> {
        let save = move |tx: &Connection| {
            let known = find(tx, &event_type.name)?;
            if must_be_new && known.is_some_and(|known| !known.archived) {
                return Ok(Err(SvixChangeError::Taken));
            }
            insert_or_update(tx, &event_type)?;
            Ok(find(tx, &event_type.name)?.ok_or(SvixChangeError::NotFound))
        };
        self.writer.write(move |tx| save(tx)).await?
    }

    /// Forgets a type; durable once this returns Ok. False when there is none.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn delete_svix_event_type(&self, name: String) -> Result<bool, StateError> {
        self.writer
            .write(move |tx| {
                Ok(tx.prepare_cached("DELETE FROM svix_event_types WHERE name = ?1")?.execute([name])? > 0)
            })
            .await
    }
}

fn insert_or_update(connection: &Connection, event_type: &SvixEventType) -> Result<(), StateError> {
    connection
        .prepare_cached(
            "INSERT INTO svix_event_types (name, description, archived, deprecated, schemas, group_name, feature_flags,
                                           created_at_micros, updated_at_micros)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)
             ON CONFLICT (name) DO UPDATE SET description = ?2, archived = ?3, deprecated = ?4, schemas = ?5, group_name = ?6,
                                              feature_flags = ?7, updated_at_micros = ?8",
        )?
        .execute((
            &event_type.name,
            &event_type.description,
            event_type.archived,
            event_type.deprecated,
            event_type.schemas.as_ref().map(to_json).transpose()?,
            &event_type.group_name,
            event_type.feature_flags.as_ref().map(to_json).transpose()?,
            now_micros(),
        ))?;
    Ok(())
}

fn find(connection: &Connection, name: &str) -> Result<Option<SvixEventType>, StateError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM svix_event_types WHERE name = ?1"))?;
    statement.query_row([name], |row| Ok(read(row))).optional()?.transpose()
}

fn read(row: &Row<'_>) -> Result<SvixEventType, StateError> {
    let (schemas, flags): (Option<String>, Option<String>) = (row.get(4)?, row.get(6)?);
    Ok(SvixEventType {
        name: row.get(0)?,
        description: row.get(1)?,
        archived: row.get(2)?,
        deprecated: row.get(3)?,
        schemas: schemas.as_deref().map(of_json).transpose()?,
        group_name: row.get(5)?,
        feature_flags: flags.as_deref().map(of_json).transpose()?,
        created_at_micros: row.get(7)?,
        updated_at_micros: row.get(8)?,
    })
}
