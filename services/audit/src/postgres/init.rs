//! Making the schema and its roles, for an administrator: never while serving.
//!
//! Roles that are missing are made without a password, so nobody logs in as them before somebody gives them one. Run again,
//! it changes what is missing and nothing else; so a second broker gets its role.

use super::{Access, FORMAT, PostgresError};
use crate::store::StoreError;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

const SCHEMA: &str = include_str!("schema.sql");
/// Which bundles hold entries of kind `key`, found by `kind":"key"` in their bytes: so it holds whoever put them there.
const KEY_INDEX: &str = "CREATE INDEX bundle_of_keys ON millgate_audit.bundle (log, first_index)
    WHERE position('\\x6b696e64223a226b657922'::bytea IN bytes) > 0";

/// What came later, for schemas that were made before.
const PRUNING_SCHEMA: &str = include_str!("pruning.sql");
/// Whether the schema has all of that: what came last of it is there.
pub(super) const KNOWS_ALL_OF_PRUNING: &str =
    "SELECT to_regprocedure('millgate_audit.goes_too_far(jsonb, timestamptz)') IS NOT NULL";

/// Who owns the tables, who writes and who reads.
#[derive(Clone, Debug)]
pub struct Roles {
    /// Nobody logs in as this one.
    pub owner: String,
    /// Brokers: one each, or one for several that may then write to one another's logs.
    pub writers: Vec<String>,
    pub readers: Vec<String>,
    /// For how many days the writers keep entries at least. `None`: as was said before; one of whom nothing was said prunes nothing.
    pub keep_days: Option<u32>,
    /// Let the owner's functions see how far standbys are.
    pub standby: bool,
}

/// What was done, or was done already.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    pub what: String,
    /// `false`: it was so before.
    pub changed: bool,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("`{0}` cannot be the name of a role here: use 1 to 63 letters, digits, `_`, `-`")]
    Name(String),
    #[error(
        "the role `{0}` can log in or is a superuser, and who owns the tables may change them: name an owner that nobody can log in as"
    )]
    Owner(String),
    #[error("the role `{role}` is a superuser or a member of `{owner}`, so it could change the log; name another one")]
    Privileged { role: String, owner: String },
    #[error("the schema `millgate_audit` belongs to the role `{found}`, not to `{owner}`; say `--owner {found}`")]
    OtherOwner { found: String, owner: String },
    #[error(transparent)]
    Access(#[from] PostgresError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database refused it; nothing was changed")]
    Database(#[from] sqlx::Error),
}

/// Brings the database to what brokers need.
///
/// # Errors
/// When it cannot be reached or the role that is logged in may not do it; nothing is changed then.
pub async fn init(access: &Access, roles: &Roles) -> Result<Vec<Step>, InitError> {
    let all = [&roles.owner].into_iter().chain(&roles.writers).chain(&roles.readers);
    for name in all {
        check_name(name)?;
    }
    let mut connection = access.connect().await?;
    connection.execute("SET client_min_messages = error").await?;
    let mut transaction = connection.begin().await?;
    // Two of these at once would each find nothing and make everything.
    transaction.execute("SELECT pg_advisory_xact_lock(1297107532, 0)").await?;
    let mut steps = vec![make_owner(&mut transaction, roles).await?];
    let joined = join(&mut transaction, &roles.owner).await?;
    steps.push(make_schema(&mut transaction, access, roles).await?);
    steps.push(make_key_index(&mut transaction, &roles.owner).await?);
    for (names, may) in [(&roles.writers, May::Write), (&roles.readers, May::Read)] {
        for name in names {
            steps.extend(make_login(&mut transaction, name, &roles.owner).await?);
            act_as(&mut transaction, Some(&roles.owner)).await?;
            steps.push(give_leave(&mut transaction, name, may).await?);
            act_as(&mut transaction, None).await?;
        }
    }
    if let Some(days) = roles.keep_days {
        act_as(&mut transaction, Some(&roles.owner)).await?;
        for name in &roles.writers {
            steps.push(keep(&mut transaction, name, days).await?);
        }
        act_as(&mut transaction, None).await?;
    }
    if joined {
        run(&mut transaction, format!("REVOKE \"{}\" FROM CURRENT_USER", roles.owner)).await?;
    }
    transaction.commit().await?;
    connection.close().await?;
    Ok(steps)
}

fn check_name(name: &str) -> Result<(), InitError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let fine = (1..=63).contains(&name.len()) && name.bytes().all(good) && !name.starts_with("pg_");
    if fine { Ok(()) } else { Err(InitError::Name(name.to_owned())) }
}

async fn make_owner(connection: &mut PgConnection, roles: &Roles) -> Result<Step, InitError> {
    let owner = &roles.owner;
    let found: Option<bool> = sqlx::query_scalar("SELECT rolcanlogin OR rolsuper FROM pg_roles WHERE rolname = $1")
        .bind(owner)
        .fetch_optional(&mut *connection)
        .await?;
    if found == Some(true) {
        return Err(InitError::Owner(owner.clone()));
    }
    if found.is_none() {
        run(connection, format!("CREATE ROLE \"{owner}\" NOLOGIN")).await?;
    }
    if roles.standby {
        run(connection, format!("GRANT pg_read_all_stats TO \"{owner}\"")).await?;
    }
    Ok(Step {
        what: format!("the role `{owner}` owns the tables, and nobody can log in as it"),
        changed: found.is_none(),
    })
}

/// An administrator who is no superuser acts as the owner while this goes on. `true`: it was no member before.
async fn join(connection: &mut PgConnection, owner: &str) -> Result<bool, InitError> {
    let ask = "SELECT rolsuper, pg_has_role($1, 'MEMBER') FROM pg_roles WHERE rolname = current_user";
    let (is_superuser, is_member): (bool, bool) = sqlx::query_as(ask).bind(owner).fetch_one(&mut *connection).await?;
    if is_superuser {
        return Ok(false);
    }
    run(connection, format!("GRANT \"{owner}\" TO CURRENT_USER")).await?;
    Ok(!is_member)
}

/// The owner, or whoever logged in.
async fn act_as(connection: &mut PgConnection, owner: Option<&str>) -> Result<(), InitError> {
    let role = owner.map_or(String::from("RESET ROLE"), |owner| format!("SET LOCAL ROLE \"{owner}\""));
    run(connection, role).await
}

async fn make_schema(connection: &mut PgConnection, access: &Access, roles: &Roles) -> Result<Step, InitError> {
    let owner = &roles.owner;
    let found: Option<String> =
        sqlx::query_scalar("SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'millgate_audit'")
            .fetch_optional(&mut *connection)
            .await?;
    let mut changed = found.is_none();
    match found {
        Some(found) if found != *owner => return Err(InitError::OtherOwner { found, owner: owner.clone() }),
        Some(_) => {
            act_as(connection, Some(owner)).await?;
            access.assert_schema(connection).await?;
            if !sqlx::query_scalar(KNOWS_ALL_OF_PRUNING).fetch_one(&mut *connection).await? {
                connection.execute(sqlx::raw_sql(PRUNING_SCHEMA)).await?;
                changed = true;
            }
            act_as(connection, None).await?;
        }
        None => install(connection, owner).await?,
    }
    Ok(Step { what: format!("the schema `millgate_audit` has format {FORMAT}"), changed })
}

/// Made of what is there, which takes its time in a large store; nobody can append meanwhile.
async fn make_key_index(connection: &mut PgConnection, owner: &str) -> Result<Step, InitError> {
    let there = "SELECT EXISTS (SELECT FROM pg_indexes
                     WHERE schemaname = 'millgate_audit' AND indexname = 'bundle_of_keys')";
    let is_there: bool = sqlx::query_scalar(there).fetch_one(&mut *connection).await?;
    if !is_there {
        act_as(connection, Some(owner)).await?;
        run(connection, KEY_INDEX.to_owned()).await?;
        act_as(connection, None).await?;
    }
    Ok(Step { what: String::from("changes of keys are found by an index"), changed: !is_there })
}

async fn install(connection: &mut PgConnection, owner: &str) -> Result<(), InitError> {
    run(connection, format!("CREATE SCHEMA millgate_audit AUTHORIZATION \"{owner}\"")).await?;
    act_as(connection, Some(owner)).await?;
    connection.execute(sqlx::raw_sql(SCHEMA)).await?;
    connection.execute(sqlx::raw_sql(PRUNING_SCHEMA)).await?;
    let format = format!("INSERT INTO millgate_audit.format (version) VALUES ({FORMAT})");
    run(connection, format + "; REVOKE ALL ON ALL FUNCTIONS IN SCHEMA millgate_audit FROM PUBLIC").await?;
    act_as(connection, None).await
}

/// `None` when it is there already.
async fn make_login(connection: &mut PgConnection, name: &str, owner: &str) -> Result<Option<Step>, InitError> {
    let found: Option<bool> =
        sqlx::query_scalar("SELECT rolsuper OR pg_has_role(rolname, $2, 'MEMBER') FROM pg_roles WHERE rolname = $1")
            .bind(name)
            .bind(owner)
            .fetch_optional(&mut *connection)
            .await?;
    match found {
        Some(true) => Err(InitError::Privileged { role: name.to_owned(), owner: owner.to_owned() }),
        Some(false) => Ok(None),
        None => {
            run(connection, format!("CREATE ROLE \"{name}\" LOGIN")).await?;
            let what = format!("the role `{name}` has no password yet: `ALTER ROLE \"{name}\" PASSWORD …`");
            Ok(Some(Step { what, changed: true }))
        }
    }
}

async fn keep(connection: &mut PgConnection, name: &str, days: u32) -> Result<Step, InitError> {
    let upsert = "INSERT INTO millgate_audit.keeping AS k (writer, days) VALUES ($1, $2)
                  ON CONFLICT (writer) DO UPDATE SET days = excluded.days WHERE k.days <> excluded.days";
    let done = sqlx::query(upsert).bind(name).bind(i32::try_from(days).unwrap_or(i32::MAX)).execute(connection).await?;
    let what = format!("the role `{name}` prunes no entry that is not {days} days old");
    Ok(Step { what, changed: done.rows_affected() > 0 })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    Read,
    Write,
}

/// What a writer may call.
const CALLS: [&str; 5] = ["open", "append", "append_pruning", "put_checkpoint", "standby_has"];

async fn give_leave(connection: &mut PgConnection, name: &str, may: May) -> Result<Step, InitError> {
    let before: bool = sqlx::query_scalar(
        "SELECT has_schema_privilege($1, 'millgate_audit', 'USAGE')
         AND ($2 OR has_function_privilege($1, 'millgate_audit.open(text, bytea)', 'EXECUTE'))",
    )
    .bind(name)
    .bind(may == May::Read)
    .fetch_one(&mut *connection)
    .await?;
    let grant = format!(
        "GRANT USAGE ON SCHEMA millgate_audit TO \"{name}\"; GRANT SELECT ON ALL TABLES IN SCHEMA millgate_audit TO \"{name}\""
    );
    run(connection, grant).await?;
    if may == May::Write {
        for call in CALLS {
            run(connection, format!("GRANT EXECUTE ON FUNCTION millgate_audit.{call} TO \"{name}\"")).await?;
        }
    }
    let what = match may {
        May::Write => format!("the role `{name}` may read, and append to the logs that it opens"),
        May::Read => format!("the role `{name}` may read"),
    };
    Ok(Step { what, changed: !before })
}

async fn run(connection: &mut PgConnection, sql: String) -> Result<(), InitError> {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
    Ok(())
}
