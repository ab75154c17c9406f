//! What a question tells beside principal, action and resource. The fields are few, so they are looked for one by one;
//! Cedar's own context is made when it is needed.

use super::Value;
use cedar_policy::Context;
use cedar_policy_core::ast;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// `None`: some of it is not known.
    fields: Option<Vec<(Cow<'a, str>, Cow<'a, Value>)>>,
    whole: OnceCell<Context>,
}

impl<'a> Facts<'a> {
    /// Each field is named once.
    pub(crate) fn new(fields: impl IntoIterator<Item = (&'a str, Cow<'a, Value>)>) -> Self {
        let mut all = Vec::with_capacity(6);
        all.extend(fields.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)));
        Self { fields: Some(all), whole: OnceCell::new() }
    }

    pub(crate) fn whole(&self) -> &Context {
        self.whole.get_or_init(|| {
            let fields = self.fields.iter().flatten();
            let fields = fields.map(|(name, value)| (name.as_ref().into(), value.clone().into_owned())).collect();
            Context::from(ast::Context::Value(Arc::new(fields)))
        })
    }

    pub(super) fn are_known(&self) -> bool {
        self.fields.is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().flatten().find(|(field, _)| field == name).map(|(_, value)| value.as_ref())
    }
}

impl From<Context> for Facts<'static> {
    fn from(context: Context) -> Self {
        let core: &ast::Context = context.as_ref();
        let fields = match core {
            ast::Context::Value(fields) => {
                let owned =
                    fields.iter().map(|(name, value)| (Cow::Owned(name.to_string()), Cow::Owned(value.clone())));
                Some(owned.collect())
            }
            ast::Context::RestrictedResidual(_) => None,
        };
        Self { fields, whole: OnceCell::from(context) }
    }
}
