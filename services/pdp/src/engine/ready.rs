//! Entities made ready for questions: what the index looks them up by is computed once.

use cedar_policy_core::ast::{Entity, EntityType, EntityUID, PartialValue};
use foldhash::fast::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// One for the life of the process: entities outlive the indexes that look them up.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// An entity that names all of its ancestors.
#[derive(Debug)]
pub(crate) struct Ready {
    pub uid: EntityUID,
    pub marks: Marks,
    /// One with its attributes; of a copy under another name, the original.
    like: Arc<Entity>,
    /// As Cedar has it, made when it is asked for.
    entity: OnceLock<Arc<Entity>>,
}

/// What an entity is looked up by.
#[derive(Debug)]
pub(crate) struct Marks {
    pub own: Mark,
    pub ty: Mark,
    pub ancestors: Box<[(Mark, Arc<EntityUID>)]>,
}

/// The hash of a name. Two names can have one.
pub(crate) type Mark = u64;

impl Ready {
    pub(crate) fn new(entity: Entity) -> Self {
        let ancestors = entity.ancestors().map(|uid| names().get(uid)).collect();
        let marks = Marks { own: mark(entity.uid()), ty: mark_of_type(entity.uid().entity_type()), ancestors };
        let (uid, entity) = (entity.uid().clone(), Arc::new(entity));
        Self { uid, marks, like: Arc::clone(&entity), entity: OnceLock::from(entity) }
    }

    /// A copy as `uid`, of the same type, in `more` beside its own ancestors.
    pub(crate) fn renamed(&self, uid: EntityUID, more: impl IntoIterator<Item = EntityUID>) -> Self {
        let own = self.marks.ancestors.iter().cloned();
        let ancestors = own.chain(more.into_iter().map(|uid| names().get(&uid))).collect();
        let marks = Marks { own: mark(&uid), ty: mark_of_type(uid.entity_type()), ancestors };
        Self { uid, marks, like: Arc::clone(&self.like), entity: OnceLock::new() }
    }

    pub(crate) fn entity(&self) -> &Arc<Entity> {
        self.entity.get_or_init(|| {
            let ancestors = self.ancestors().cloned().collect();
            let attributes = self.like.attrs().map(|(name, value)| (name.clone(), value.clone()));
            let uid = self.uid.clone();
            Arc::new(Entity::new_with_attr_partial_value(uid, attributes, HashSet::new(), ancestors, []))
        })
    }

    pub(crate) fn ancestors(&self) -> impl Iterator<Item = &EntityUID> {
        self.marks.ancestors.iter().map(|(_, uid)| &**uid)
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&PartialValue> {
        self.like.get(name)
    }
}

/// The names of ancestors, each held once: most entities have the same few.
static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Names {
    all: ByMark<Vec<Weak<EntityUID>>>,
    /// When there are more, those that nothing has any longer are thrown away.
    many: usize,
}

fn names() -> MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Names {
    const FEW: usize = 10_000;

    fn get(&mut self, uid: &EntityUID) -> (Mark, Arc<EntityUID>) {
        let mark = mark(uid);
        let of_mark = self.all.entry(mark).or_default();
        if let Some(known) = of_mark.iter().filter_map(Weak::upgrade).find(|known| **known == *uid) {
            return (mark, known);
        }
        let new = Arc::new(uid.clone());
        of_mark.push(Arc::downgrade(&new));
        if self.all.len() > self.many.max(Self::FEW) {
            self.all.retain(|_, of_mark| {
                of_mark.retain(|known| known.strong_count() > 0);
                !of_mark.is_empty()
            });
            self.many = self.all.len() * 2;
        }
        (mark, new)
    }
}

pub(crate) fn mark(uid: &EntityUID) -> Mark {
    HASHES.hash_one(uid)
}

pub(crate) fn mark_of_type(ty: &EntityType) -> Mark {
    HASHES.hash_one(ty)
}

/// Names with equal ids are mostly the same, and types are mostly not: ids first.
pub(crate) fn is_same(a: &EntityUID, b: &EntityUID) -> bool {
    std::ptr::eq(a, b) || (a.eid() == b.eid() && a.entity_type() == b.entity_type())
}

/// By what is a hash already.
pub(crate) type ByMark<V> = HashMap<Mark, V, BuildHasherDefault<Plain>>;

#[derive(Default)]
pub(crate) struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, mark: u64) {
        self.0 = mark;
    }
}
