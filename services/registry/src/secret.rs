//! Where a secret is, never what it is.

use crate::document::Val;
use crate::problem::Problem;
use crate::table::Table;
use model::party::SecretRef;
use std::path::Path;

/// What is wrong with it now, for `check`.
pub(crate) fn problem(secret: &SecretRef, folder: &Path, what: &str) -> Option<Problem> {
    let error = runtime::secret::read(secret).err()?;
    let file = match secret {
        SecretRef::File(path) => path.clone(),
        SecretRef::Environment(_) => folder.to_owned(),
    };
    Some(Problem { file, line: None, column: None, what: format!("{what}: {error}"), help: None })
}

/// Reads the key of a table. An inline secret is refused without being repeated.
pub(crate) fn from_table(table: &Table<'_>, key: &'static str, folder: &Path) -> Option<SecretRef> {
    let entry = table.get(key)?;
    if !matches!(entry.node.value, Val::Table(_)) {
        let what = format!("`{key}` of {} is written inline", table.what);
        let help = format!("put it in a file and write `{key} = {{ file = \"…\" }}`, or `{{ env = \"NAME\" }}`");
        table.wrong(key, what, help);
        return None;
    }
    let inner = table.table(key)?;
    let (file, env) = (inner.text("file"), inner.text("env"));
    let found = match (file, env) {
        (Some(file), None) => Some(SecretRef::File(folder.join(file))),
        (None, Some(name)) => Some(SecretRef::Environment(name.to_owned())),
        _ => {
            let help = format!("write `{key} = {{ file = \"…\" }}` or `{{ env = \"NAME\" }}`");
            table.wrong(key, format!("`{key}` of {} names not one place", table.what), help);
            None
        }
    };
    inner.finish();
    found
}
