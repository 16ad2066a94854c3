//! Endpoints: webhook subscriptions under names of the client's own.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{SvixChangeError, SvixPage};
use crate::subscriptions::find as find_subscription;
use crate::{State, StateError, SubscriptionRecord};

/// An endpoint, but for what its subscription says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvixEndpoint {
    /// Its name, `ep_…`.
    pub id: String,
    /// Whose it is.
    pub application_id: String,
    /// The client's own name for it, unique in the application.
    pub uid: Option<String>,
    /// The tenant of its subscription.
    pub tenant: String,
    /// The name of its subscription.
    pub subscription: String,
}

const COLUMNS: &str = "id, application_id, uid, tenant, subscription";

impl State {
    /// The endpoint of this id or uid, with its subscription. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn svix_endpoint(
        &self,
        application_id: &str,
        id_or_uid: &str,
    ) -> Result<Option<(SvixEndpoint, SubscriptionRecord)>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM svix_endpoints WHERE application_id = ?1 AND (id = ?2 OR uid = ?2)
             ORDER BY id = ?2 DESC LIMIT 1"
        ))?;
        let found = statement.query_row((application_id, id_or_uid), read).optional()?;
        found.map_or(Ok(None), |endpoint| with_subscription(&reader, endpoint))
    }

    /// The endpoints of a page, by their ids, with their subscriptions. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn svix_endpoints(
        &self,
        application_id: &str,
        page: &SvixPage,
    ) -> Result<Vec<(SvixEndpoint, SubscriptionRecord)>, StateError> {
        let (order, behind) = page.order();
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM svix_endpoints AS endpoint
             WHERE application_id = ?1 AND (?2 IS NULL OR id {behind} ?2)
                 AND EXISTS (SELECT 1 FROM subscriptions WHERE tenant = endpoint.tenant AND name = endpoint.subscription)
             ORDER BY id {order} LIMIT ?3"
        ))?;
        let rows = statement.query_map((application_id, &page.after, page.limit), read)?;
        let mut endpoints = Vec::new();
        for endpoint in rows {
            endpoints.extend(with_subscription(&reader, endpoint?)?);
        }
        Ok(endpoints)
    }

    /// Notes an endpoint whose subscription is made next; durable once this returns Ok.
    ///
    /// # Errors
    /// When its uid is taken, its application is gone, or the disk is full or fails.
    pub async fn create_svix_endpoint(&self, endpoint: SvixEndpoint) -> Result<(), SvixChangeError> {
        let create = move |tx: &Connection| {
            let mut known = tx.prepare_cached("SELECT 1 FROM svix_applications WHERE id = ?1")?;
            if !known.exists([&endpoint.application_id])? {
                return Ok(Err(SvixChangeError::NotFound));
            }
            if is_taken(tx, &endpoint)? {
                return Ok(Err(SvixChangeError::Taken));
            }
            tx.prepare_cached(
                "INSERT INTO svix_endpoints (id, application_id, uid, tenant, subscription) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((
                &endpoint.id,
                &endpoint.application_id,
                &endpoint.uid,
                &endpoint.tenant,
                &endpoint.subscription,
            ))?;
            Ok(Ok(()))
        };
        self.writer.write(move |tx| create(tx)).await?
    }

    /// Gives an endpoint another uid; durable once this returns Ok.
    ///
    /// # Errors
    /// When the uid is taken, the endpoint is gone, or the disk is full or fails.
    pub async fn name_svix_endpoint(&self, endpoint: SvixEndpoint) -> Result<(), SvixChangeError> {
        let name = move |tx: &Connection| {
            if is_taken(tx, &endpoint)? {
                return Ok(Err(SvixChangeError::Taken));
            }
            let mut update = tx.prepare_cached("UPDATE svix_endpoints SET uid = ?2 WHERE id = ?1")?;
            let found = update.execute((&endpoint.id, &endpoint.uid))? > 0;
            Ok(if found { Ok(()) } else { Err(SvixChangeError::NotFound) })
        };
        self.writer.write(move |tx| name(tx)).await?
    }

    /// Forgets an endpoint whose subscription was not made.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn forget_svix_endpoint(&self, id: String) -> Result<(), StateError> {
        self.writer
            .write(move |tx| {
                tx.prepare_cached("DELETE FROM svix_endpoints WHERE id = ?1")?.execute([id])?;
                Ok(())
            })
            .await
    }

    /// Forgets all endpoints without a subscription: a crash came between the two. To be called when none is being made.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn forget_unmade_svix_endpoints(&self) -> Result<(), StateError> {
        self.writer
            .write(move |tx| {
                tx.execute(
                    "DELETE FROM svix_endpoints WHERE NOT EXISTS (
                         SELECT 1 FROM subscriptions
                         WHERE tenant = svix_endpoints.tenant AND name = svix_endpoints.subscription)",
                    [],
                )?;
                Ok(())
            })
            .await
    }
}

fn with_subscription(
    connection: &Connection,
    endpoint: SvixEndpoint,
) -> Result<Option<(SvixEndpoint, SubscriptionRecord)>, StateError> {
    let found = find_subscription(connection, &endpoint.tenant, &endpoint.subscription)?;
    Ok(found.map(|subscription| (endpoint, subscription)))
}

fn is_taken(connection: &Connection, endpoint: &SvixEndpoint) -> Result<bool, StateError> {
    let mut statement = connection
        .prepare_cached("SELECT 1 FROM svix_endpoints WHERE application_id = ?1 AND uid = ?2 AND id <> ?3")?;
    Ok(statement.exists((&endpoint.application_id, &endpoint.uid, &endpoint.id))?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<SvixEndpoint> {
    Ok(SvixEndpoint {
        id: row.get(0)?,
        application_id: row.get(1)?,
        uid: row.get(2)?,
        tenant: row.get(3)?,
        subscription: row.get(4)?,
    })
}
