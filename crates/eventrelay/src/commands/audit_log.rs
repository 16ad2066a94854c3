//! `eventrelay audit-log`: who changed what, the newest first.

use crate::arguments::AuditLogArguments;
use crate::client::Api;
use crate::exit::Failure;
use crate::table::Column;
use crate::{commands, output};

const COLUMNS: [Column; 7] = [
    ("ID", "/id"),
    ("AT", "/at"),
    ("TENANT", "/tenant"),
    ("ACTOR", "/actor/name"),
    ("ACTION", "/action"),
    ("KIND", "/resource/kind"),
    ("NAME", "/resource/name"),
];

/// Lists them.
pub(crate) fn run(arguments: &AuditLogArguments) -> Result<(), Failure> {
    let list = &arguments.list;
    let parameters = [
        ("tenant", arguments.tenant.as_deref()),
        ("from", arguments.from.as_deref()),
        ("to", arguments.to.as_deref()),
        ("actor", arguments.actor.as_deref()),
        ("actor_kind", arguments.actor_kind.as_deref()),
        ("action", arguments.action.as_deref()),
        ("resource_kind", arguments.resource_kind.as_deref()),
        ("resource_name", arguments.resource_name.as_deref()),
    ];
    commands::block_on(async {
        let api = Api::new(&list.api.server)?;
        let page =
            api.list("/v1/audit-log", &parameters, list.cursor.as_deref(), list.limit as usize).await?;
        output::page(&page, list.api.json, &COLUMNS)
    })
}
