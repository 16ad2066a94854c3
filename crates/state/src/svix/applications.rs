//! Applications: tenants under names of the client's own.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use eventrelay_event::Tenant;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{SvixChangeError, SvixPage, of_json, to_json};
use crate::state::{now_micros, unreadable};
use crate::{State, StateError, tenants};

/// An application. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvixApplication {
    /// Its name, `app_…`.
    pub id: String,
    /// The client's own name for it, unique as ids are.
    pub uid: Option<String>,
    /// Whose events its messages are.
    pub tenant: Tenant,
    /// What it is called.
    pub name: String,
    /// How many events a second its endpoints are sent together.
    pub throttle_rate: Option<u32>,
    /// The client's notes.
    pub metadata: BTreeMap<String, String>,
    /// No event below it is a message of the application.
    pub start_offset: u64,
    /// Tokens that were signed before are worth nothing.
    pub tokens_after_micros: u64,
    /// When it was made.
    pub created_at_micros: u64,
    /// When it was last changed.
    pub updated_at_micros: u64,
}

/// An application that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSvixApplication {
    /// Its name, `app_…`.
    pub id: String,
    /// The client's own name for it.
    pub uid: Option<String>,
    /// The tenants that it may be, the best first: it is the first that no other application is.
    pub tenants: Vec<Tenant>,
    /// What it is called.
    pub name: String,
    /// How many events a second its endpoints are sent together.
    pub throttle_rate: Option<u32>,
    /// The client's notes.
    pub metadata: BTreeMap<String, String>,
    /// No event below it is a message of the application.
    pub start_offset: u64,
}

const COLUMNS: &str =
    "id, uid, tenant, name, throttle_rate, metadata, start_offset, tokens_after_micros, created_at_micros,
                       updated_at_micros";

impl State {
    /// The application of this id or uid. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn svix_application(&self, id_or_uid: &str) -> Result<Option<SvixApplication>, StateError> {
        find(&self.reader(), id_or_uid)
    }

    /// The applications of a page, by their ids. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn svix_applications(&self, page: &SvixPage) -> Result<Vec<SvixApplication>, StateError> {
        let (order, behind) = page.order();
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM svix_applications WHERE ?1 IS NULL OR id {behind} ?1 ORDER BY id {order} LIMIT ?2"
        ))?;
        let mut rows = statement.query((&page.after, page.limit))?;
        let mut applications = Vec::new();
        while let Some(row) = rows.next()? {
            applications.push(read(row)?);
        }
        Ok(applications)
    }

    /// How many events a second all of a tenant's subscriptions may deliver together, where an application says so. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn tenant_delivery_rates(&self) -> Result<Vec<(String, NonZeroU32)>, StateError> {
        let reader = self.reader();
        let mut statement = reader
            .prepare_cached("SELECT tenant, throttle_rate FROM svix_applications WHERE throttle_rate > 0")?;
        let mut rows = statement.query(())?;
        let mut rates = Vec::new();
        while let Some(row) = rows.next()? {
            let (tenant, rate) = (row.get(0)?, row.get(1)?);
            rates.extend(NonZeroU32::new(rate).map(|rate| (tenant, rate)));
        }
        Ok(rates)
    }

    /// How many events a second all of a tenant's subscriptions may deliver together; none: as many as they like. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn tenant_delivery_rate(&self, tenant: &str) -> Result<Option<NonZeroU32>, StateError> {
        let rate: Option<Option<u32>> = self
            .reader()
            .prepare_cached("SELECT throttle_rate FROM svix_applications WHERE tenant = ?1")?
            .query_row([tenant], |row| row.get(0))
            .optional()?;
        Ok(rate.flatten().and_then(NonZeroU32::new))
    }

    /// Makes an application; durable once this returns Ok.
    ///
    /// # Errors
    /// When its uid or all its tenants are taken, or the disk is full or fails.
    pub async fn create_svix_application(
        &self,
        new: NewSvixApplication,
    ) -> Result<SvixApplication, SvixChangeError> {
        let create = move |tx: &Connection| {
            if is_taken(tx, &new.id, new.uid.as_deref())? {
                return Ok(Err(SvixChangeError::Taken));
            }
            let mut tenants = new.tenants.iter();
            let tenant = loop {
                let Some(tenant) = tenants.next() else { return Ok(Err(SvixChangeError::Taken)) };
                let mut taken = tx.prepare_cached("SELECT 1 FROM svix_applications WHERE tenant = ?1")?;
                if !taken.exists([tenant.as_str()])? {
                    break tenant;
                }
            };
            let now = now_micros();
            tenants::ensure(tx, tenant, now)?;
            tx.prepare_cached(
                "INSERT INTO svix_applications (id, uid, tenant, name, throttle_rate, metadata, start_offset,
                                                tokens_after_micros, created_at_micros, updated_at_micros)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?8)",
            )?
            .execute((
                &new.id,
                &new.uid,
                tenant.as_str(),
                &new.name,
                new.throttle_rate,
                to_json(&new.metadata)?,
                new.start_offset,
                now,
            ))?;
            stored(tx, &new.id)
        };
        self.writer.write(move |tx| create(tx)).await?
    }

    /// Changes name, uid, rate, notes and the time of tokens of an application; durable once this returns Ok.
    ///
    /// # Errors
    /// When it is gone, its uid is taken, or the disk is full or fails.
    pub async fn update_svix_application(
        &self,
        application: SvixApplication,
    ) -> Result<SvixApplication, SvixChangeError> {
        let update = move |tx: &Connection| {
            let SvixApplication { id, uid, name, throttle_rate, metadata, tokens_after_micros, .. } =
                &application;
            if is_taken(tx, id, uid.as_deref())? {
                return Ok(Err(SvixChangeError::Taken));
            }
            tx.prepare_cached(
                "UPDATE svix_applications SET uid = ?2, name = ?3, throttle_rate = ?4, metadata = ?5,
                                              tokens_after_micros = MAX(tokens_after_micros, ?6), updated_at_micros = ?7
                 WHERE id = ?1",
            )?
            .execute((
                id,
                uid,
                name,
                throttle_rate,
                to_json(metadata)?,
                tokens_after_micros,
                now_micros(),
            ))?;
            stored(tx, id)
        };
        self.writer.write(move |tx| update(tx)).await?
    }

    /// Forgets an application; durable once this returns Ok. Its subscriptions are the caller's to delete, before. False when
    /// there is none.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn delete_svix_application(&self, id: String) -> Result<bool, StateError> {
        self.writer
            .write(move |tx| {
                Ok(tx.prepare_cached("DELETE FROM svix_applications WHERE id = ?1")?.execute([id])? > 0)
            })
            .await
    }
}

fn find(connection: &Connection, id_or_uid: &str) -> Result<Option<SvixApplication>, StateError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM svix_applications WHERE id = ?1 OR uid = ?1 ORDER BY id = ?1 DESC LIMIT 1"
    ))?;
    statement.query_row([id_or_uid], |row| Ok(read(row))).optional()?.transpose()
}

fn stored(connection: &Connection, id: &str) -> Result<Result<SvixApplication, SvixChangeError>, StateError> {
    Ok(find(connection, id)?.ok_or(SvixChangeError::NotFound))
}

fn is_taken(connection: &Connection, id: &str, uid: Option<&str>) -> Result<bool, StateError> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM svix_applications WHERE uid = ?2 AND id <> ?1")?;
    Ok(statement.exists((id, uid))?)
}

fn read(row: &Row<'_>) -> Result<SvixApplication, StateError> {
    let (id, tenant, metadata): (String, String, String) = (row.get(0)?, row.get(2)?, row.get(5)?);
    let tenant = Tenant::parse(&tenant)
        .map_err(|error| unreadable(format_args!("the tenant of application `{id}`: {error}")))?;
    Ok(SvixApplication {
        id,
        uid: row.get(1)?,
        tenant,
        name: row.get(3)?,
        throttle_rate: row.get(4)?,
        metadata: of_json(&metadata)?,
        start_offset: row.get(6)?,
        tokens_after_micros: row.get(7)?,
        created_at_micros: row.get(8)?,
        updated_at_micros: row.get(9)?,
    })
}
