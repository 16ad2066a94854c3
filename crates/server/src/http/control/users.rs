//! `/v1/users`: makes, shows, lists, changes and removes users. Who has the scope `tenant_admin` has those of its tenant, `admin`
//! has all; everybody sees himself, and may change his own password.

use axum::extract::State;
use axum::response::IntoResponse;
use eventrelay_event::{Tenant, Timestamp};
use eventrelay_state::{Role, UserRecord};
use http::StatusCode;
use http::header::{ETAG, LOCATION};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::author::{LoginFrom, RequestAuthor};
use super::caller::Caller;
use super::json::Json;
use super::page::{Cursor, Listed, PageLimit};
use super::path::Path;
use super::query::Query;
use super::reading;
use super::refusals::{beyond_own_scopes, of_state};
use super::resources::Resources;
use super::revision::{IfMatch, etag};
use super::session::{not_let_in, password_unavailable};
use crate::auth::{
    LoginError, MAX_EMAIL_CHARS, MAX_NAME_CHARS, NewUser, Password, Scope, UserEdit, UserError, is_email,
    is_name, is_self,
};
use crate::http::problem::Problem;

/// What a user may do.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code, reason = "the names, for the documentation")]
pub(super) enum RoleName {
    Viewer,
    Operator,
    Admin,
}

/// What a new user is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser)]
struct Wanted {
    /// What the user logs in with; no two of a tenant have the same.
    #[schema(min_length = 3, max_length = 254, pattern = "^[^@\\s]+@[^@\\s]+$")]
    email: String,
    /// What people call the user.
    #[schema(max_length = 128)]
    #[serde(default)]
    name: String,
    /// What the user may do.
    #[schema(value_type = RoleName)]
    role: String,
    /// Where; the tenant of who makes the user where nothing is said.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$")]
    tenant: Option<String>,
    /// Without one the user cannot log in with a password.
    #[schema(format = Password, min_length = 12, max_length = 1024)]
    password: Option<String>,
}

/// What is to be changed of a user; what is not named stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChanges {
    /// What the user logs in with.
    #[schema(min_length = 3, max_length = 254, pattern = "^[^@\\s]+@[^@\\s]+$")]
    email: Option<String>,
    /// What people call the user.
    #[schema(max_length = 128)]
    name: Option<String>,
    /// What the user may do.
    #[schema(value_type = Option<RoleName>)]
    role: Option<String>,
    /// Whether the user may not log in.
    disabled: Option<bool>,
    /// A new password, which also ends the wait after failed logins.
    #[schema(format = Password, min_length = 12, max_length = 1024)]
    password: Option<String>,
    /// The password before, from users who change their own.
    #[schema(format = Password, max_length = 1024)]
    current_password: Option<String>,
}

/// A user.
#[derive(Serialize, ToSchema)]
struct User {
    /// Names the user.
    #[schema(examples("user_0123456789abcdef"))]
    id: String,
    /// Where the user has a role.
    tenant: String,
    /// What the user logs in with, in lower case.
    email: String,
    /// What people call the user.
    name: String,
    /// What the user may do.
    #[schema(value_type = RoleName)]
    role: &'static str,
    /// Whether there is a password.
    has_password: bool,
    /// Whether the user may not log in.
    disabled: bool,
    /// Until when logins are refused, after too many that failed.
    #[schema(required = true, format = DateTime)]
    locked_until: Option<String>,
    /// When the user last logged in.
    #[schema(required = true, format = DateTime)]
    last_login_at: Option<String>,
    /// When the user was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When the user was last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    /// How often the user has been written; the `ETag`.
    revision: u64,
}

/// Which users to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UserFilter {
    /// Those of one tenant.
    #[param(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$")]
    tenant: Option<String>,
    /// How many items the page has at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 250, default = 50)]
    limit: PageLimit,
    /// Where the page begins: the `next` of the one before it.
    #[param(value_type = Option<String>, max_length = 1024)]
    cursor: Option<Cursor<String>>,
}

impl User {
    fn of(record: UserRecord) -> Self {
        let time = |micros| Timestamp(micros).to_string();
        Self {
            id: record.id,
            tenant: record.tenant.to_string(),
            email: record.email,
            name: record.name,
            role: record.role.name(),
            has_password: record.password_hash.is_some(),
            disabled: record.disabled,
            locked_until: record.locked_until_micros.map(time),
            last_login_at: record.last_login_at_micros.map(time),
            created_at: time(record.created_at_micros),
            updated_at: time(record.updated_at_micros),
            revision: record.revision,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(create_user, list_users)).routes(routes!(
        get_user,
        update_user,
        delete_user
    ))
}

/// Make a user
///
/// Nobody makes a user who may do more than he does himself.
#[utoipa::path(
    post, path = "/v1/users", tag = "users", security(("bearer" = ["tenant_admin"])),
    request_body(content = Wanted,
                 example = json!({"email": "ann@example.com", "role": "operator", "password": "correct horse battery"})),
    responses((status = 201, description = "The user", body = User,
               headers(("location" = String, description = "Where it is shown"), ("etag" = String, description = "Its revision"))),
              (status = 409, description = "Another user has the email address; the tenant has too many users; or a request with this \
                                            `Idempotency-Key` is under way"))
)]
async fn create_user(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Json(wanted): Json<Wanted>,
) -> Result<impl IntoResponse, Problem> {
    let new = checked(wanted, access.tenant())?;
    let (tenant, email) = (new.tenant.clone(), new.email.to_lowercase());
    let user = match resources.accounts.users.create(&access, new, &author).await {
        Err(UserError::Taken) => return Err(taken_by(&resources, tenant, email).await?),
        created => created.map_err(refused)?,
    };
    tracing::info!(id = user.id, tenant = %user.tenant, role = user.role.name(), "a user was made");
    let location = [(LOCATION, format!("/v1/users/{}", user.id))];
    let tag = [(ETAG, etag(user.revision))];
    Ok((StatusCode::CREATED, location, tag, Json(User::of(user))))
}

/// List users
///
/// By tenant and email address.
#[utoipa::path(
    get, path = "/v1/users", tag = "users", security(("bearer" = ["tenant_admin"])), params(UserFilter),
    responses((status = 200, description = "A page of them", body = Listed<User>))
)]
async fn list_users(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Query(filter): Query<UserFilter>,
) -> Result<Json<Listed<User>>, Problem> {
    let tenant = filter.tenant.as_deref().map(Tenant::parse).transpose();
    let tenant =
        tenant.map_err(|error| super::query::invalid(error.to_string(), Some("tenant".to_owned())))?;
    let after = filter.cursor.map(|cursor| {
        let (tenant, email) = cursor.0.split_once(' ').unwrap_or((cursor.0.as_str(), ""));
        (tenant.to_owned(), email.to_owned())
    });
    let one_more = u32::try_from(filter.limit.items() + 1).unwrap_or(u32::MAX);
    let found = resources.accounts.users.list(&access, tenant, after, one_more).await.map_err(refused)?;
    let page = Listed::new(found, filter.limit, |user| format!("{} {}", user.tenant, user.email));
    Ok(Json(page.map(User::of)))
}

/// Show a user
///
/// An admin sees those of the tenant, everybody sees himself.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "users", security(("bearer" = ["read"])),
    params(("id" = String, Path, description = "The user's id", example = "user_0123456789abcdef",
            extensions(("x-example-from" = json!({"operation": "create_user", "pattern": "user_[0-9a-f]{16}"}))))),
    responses((status = 200, description = "The user", body = User, headers(("etag" = String, description = "Its revision"))))
)]
async fn get_user(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let user = resources.accounts.users.find(&access, &id).await.map_err(refused)?;
    Ok(([(ETAG, etag(user.revision))], Json(User::of(user))))
}

/// Change a user
///
/// Whoever is logged in as the user is not any more. Who is no admin may change his own password, and shows the one before as
/// `current_password`.
#[utoipa::path(
    patch, path = "/v1/users/{id}", tag = "users", security(("bearer" = ["read"])),
    params(("id" = String, Path, description = "The user's id", example = "user_0123456789abcdef",
            extensions(("x-example-from" = json!({"operation": "create_user", "pattern": "user_[0-9a-f]{16}"})))),
           ("if-match" = Option<String>, Header, description = "The `ETag` that the change is for")),
    request_body(content = UserChanges, example = json!({"role": "viewer"})),
    responses((status = 200, description = "The user", body = User, headers(("etag" = String, description = "Its revision"))),
              (status = 409, description = "Another user has the email address"),
              (status = 412, description = "The user has been changed since"))
)]
async fn update_user(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    LoginFrom(source): LoginFrom,
    Path(id): Path<String>,
    if_match: IfMatch,
    Json(mut changes): Json<UserChanges>,
) -> Result<impl IntoResponse, Problem> {
    let accounts = &resources.accounts;
    let found = accounts.users.find(&access, &id).await.map_err(refused)?;
    if_match.check(found.revision)?;
    let current = changes.current_password.take();
    let edit = checked_edit(changes)?;
    let has_new_password = edit.password.is_some();
    let user = if access.allows(Scope::TenantAdmin) && !(is_self(&access, &id) && edit.password.is_some()) {
        accounts.users.change(&access, found, edit, &author).await
    } else {
        let passwords = own_password(edit, current)?;
        accounts.users.change_own_password(&accounts.logins, found, passwords, (&author, &source)).await
    };
    let user = user.map_err(refused)?;
    if has_new_password {
        accounts.logins.forget_failures(&user);
    }
    tracing::info!(id = user.id, tenant = %user.tenant, "a user was changed");
    Ok(([(ETAG, etag(user.revision))], Json(User::of(user))))
}

/// Remove a user
///
/// Whoever is logged in as the user is not any more.
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "users", security(("bearer" = ["tenant_admin"])),
    params(("id" = String, Path, description = "The user's id", example = "user_0123456789abcdef",
            extensions(("x-example-from" = json!({"operation": "create_user", "pattern": "user_[0-9a-f]{16}"})))),
           ("if-match" = Option<String>, Header, description = "The `ETag` of the user that is meant")),
    responses((status = 204, description = "The user is gone"),
              (status = 412, description = "The user has been changed since"))
)]
async fn delete_user(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(id): Path<String>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let users = &resources.accounts.users;
    let found = users.find(&access, &id).await.map_err(refused)?;
    if_match.check(found.revision)?;
    users.delete(&access, found, &author).await.map_err(refused)?;
    tracing::info!(id, "a user was removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Both passwords, where nothing else is asked for.
fn own_password(edit: UserEdit, current: Option<String>) -> Result<(Password, Password), Problem> {
    let only_password =
        edit.email.is_none() && edit.name.is_none() && edit.role.is_none() && edit.disabled.is_none();
    if !only_password {
        return Err(beyond_own_scopes());
    }
    let new = edit.password.ok_or_else(|| invalid("password", "is missing".to_owned()))?;
    let current = current.ok_or_else(|| invalid("current_password", "is missing".to_owned()))?;
    Ok((Password::typed(current), new))
}

fn checked(wanted: Wanted, own_tenant: &Tenant) -> Result<NewUser, Problem> {
    let tenant = wanted.tenant.as_deref().map_or(Ok(own_tenant.clone()), Tenant::parse);
    Ok(NewUser {
        tenant: tenant.map_err(|error| invalid("tenant", error.to_string()))?,
        email: email(wanted.email)?,
        name: name(wanted.name)?,
        role: role(&wanted.role)?,
        password: wanted.password.map(password).transpose()?,
    })
}

fn checked_edit(changes: UserChanges) -> Result<UserEdit, Problem> {
    Ok(UserEdit {
        email: changes.email.map(email).transpose()?,
        name: changes.name.map(name).transpose()?,
        role: changes.role.as_deref().map(role).transpose()?,
        disabled: changes.disabled,
        password: changes.password.map(password).transpose()?,
    })
}

fn email(text: String) -> Result<String, Problem> {
    if is_email(&text) {
        return Ok(text);
    }
    Err(invalid("email", format!("must be an email address of at most {MAX_EMAIL_CHARS} characters")))
}

fn name(text: String) -> Result<String, Problem> {
    if is_name(&text) {
        return Ok(text);
    }
    Err(invalid("name", format!("must be at most {MAX_NAME_CHARS} characters, none of them a control")))
}

fn role(text: &str) -> Result<Role, Problem> {
    Role::from_name(text).ok_or_else(|| invalid("role", "must be viewer, operator or admin".to_owned()))
}

fn password(text: String) -> Result<Password, Problem> {
    Password::choose(text).map_err(|error| invalid("password", error.to_string()))
}

fn invalid(field: &str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_user", "This is no request for a user")
        .detail(detail)
        .field(Some(field.to_owned()))
}

/// Names the user who has the email address, whom whoever makes users in the tenant may see.
async fn taken_by(resources: &Resources, tenant: Tenant, email: String) -> Result<Problem, Problem> {
    let found =
        reading::from(&resources.accounts.state, move |state| state.user_by_email(&tenant, &email)).await?;
    let problem = refused(UserError::Taken);
    Ok(match found {
        Some(user) => problem.detail(format!("The user {} of the tenant has it", user.id)),
        None => problem,
    })
}

pub(super) fn refused(error: UserError) -> Problem {
    let conflict = |code, title| Problem::new(StatusCode::CONFLICT, code, title).detail(error.to_string());
    match error {
        UserError::NotFound => Problem::new(StatusCode::NOT_FOUND, "user_not_found", "There is no such user"),
        UserError::Stale => {
            Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "It has been changed since")
        }
        UserError::Taken => conflict("email_taken", "The email address is taken"),
        UserError::TooMany => conflict("too_many_users", "There are too many users"),
        UserError::BeyondOwnScopes => beyond_own_scopes(),
        UserError::Unproven(LoginError::Refused) => {
            Problem::new(StatusCode::FORBIDDEN, "wrong_password", "The password is not the one before")
                .field(Some("current_password".to_owned()))
        }
        UserError::Unproven(error) => not_let_in(error),
        UserError::Password(error) => password_unavailable(&error),
        UserError::State(error) => of_state(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_is_to_be_is_checked_by_field() {
        let parse = |body: &str| {
            let wanted = super::super::json::parse::<Wanted>(body.as_bytes())?;
            checked(wanted, &Tenant::parse("acme").unwrap())
        };
        let ann = parse(r#"{"email":"Ann@Example.com","role":"viewer","password":"correct horse"}"#).unwrap();
        assert_eq!((ann.tenant.as_str(), ann.role), ("acme", Role::Viewer));
        for wrong in [
            r#"{"email":"ann","role":"viewer"}"#,
            r#"{"email":"@example.com","role":"viewer"}"#,
            r#"{"email":"a@b@c","role":"viewer"}"#,
            r#"{"email":"a b@c","role":"viewer"}"#,
            r#"{"email":"a@b","role":"root"}"#,
            r#"{"email":"a@b","role":"viewer","password":"short"}"#,
            r#"{"email":"a@b","role":"viewer","tenant":"No"}"#,
            r#"{"email":"a@b","role":"viewer","name":"a\u0007"}"#,
        ] {
            assert_eq!(parse(wrong).unwrap_err().code(), "invalid_user", "{wrong}");
        }
        assert_eq!(parse(r#"{"email":"a@b","role":"viewer","id":"x"}"#).unwrap_err().code(), "invalid_body");
    }
}
