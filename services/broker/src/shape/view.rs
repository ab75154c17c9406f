//! What of an answer somebody sees: the dataset's fields, each shown, masked or not there.

use super::mask::Treatment;
use model::FieldClassId;
use model::plant::{Dataset, Mask, RecordAttribute};
use std::collections::BTreeSet;

/// One dataset as one set of field classes lets it be seen. A field that is not declared is not in it.
#[derive(Debug)]
pub struct View {
    nodes: Vec<Node>,
    /// Objects that stand there are rows.
    pub(super) rows: NodeId,
}

/// A place in an item.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// What happens to a value that stands here; `None` where only further fields can stand.
    pub(super) treatment: Option<Treatment>,
    /// Names of members, decoded, and their nodes.
    children: Vec<(Box<str>, NodeId)>,
    /// Of members with whatever other name.
    any: Option<NodeId>,
    /// What a row says of itself there, seen or not.
    pub(super) tells: Option<RecordAttribute>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(u32);

impl NodeId {
    /// The item itself.
    pub(super) const ROOT: Self = Self(0);

    fn at(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

/// Any name, in a declared path.
const ANY: &str = "*";

impl View {
    /// `shown` are the field classes to show, the public ones among them. Where records are left out, what stands beside
    /// them is too: a count of all of them, for instance.
    pub fn new(dataset: &Dataset, shown: &BTreeSet<FieldClassId>, filtered: bool) -> Self {
        let mut view = Self { nodes: vec![Node::default()], rows: NodeId::ROOT };
        let in_rows = if dataset.records.at.is_empty() { String::new() } else { format!("{}.", dataset.records.at) };
        for (path, class) in &dataset.fields {
            let treatment = if filtered && !path.starts_with(&in_rows) {
                Treatment::Drop
            } else if shown.contains(class) {
                Treatment::Show
            } else {
                match dataset.masks.get(path) {
                    // It has its place all the same: beside `*` it would be one of the others.
                    None | Some(Mask::Drop) => Treatment::Drop,
                    Some(mask) => Treatment::Mask(mask.clone()),
                }
            };
            if let Some(node) = view.at(path) {
                node.treatment = Some(treatment);
            }
        }
        let records = &dataset.records;
        if !records.at.is_empty() {
            view.rows = view.place(&records.at);
        }
        for (attribute, told) in &records.told_by {
            if let Some(node) = view.at(&told.field) {
                node.tells = Some(*attribute);
            }
        }
        view.drop_what_holds_nothing();
        view
    }

    /// What leads to dropped fields alone is not there either: its name would tell that there is something.
    fn drop_what_holds_nothing(&mut self) {
        // Children come after their parents.
        for at in (1..self.nodes.len()).rev() {
            let Some(node) = self.nodes.get(at) else { continue };
            let mut children = node.children.iter().map(|(_, child)| *child).chain(node.any).peekable();
            let is_dropped = |child: NodeId| {
                self.node(child).is_some_and(|c| c.treatment == Some(Treatment::Drop) && c.tells.is_none())
            };
            let holds_nothing = node.treatment.is_none() && node.tells.is_none() && children.peek().is_some();
            if holds_nothing
                && children.all(is_dropped)
                && let Some(node) = self.nodes.get_mut(at)
            {
                node.treatment = Some(Treatment::Drop);
            }
        }
    }

    /// Names of the members of an item of which anything is needed: to show it, or where records are left out to tell whose
    /// it is. `None` where that cannot be said by name.
    pub fn columns(&self, filtered: bool) -> Option<BTreeSet<String>> {
        let root = self.node(NodeId::ROOT)?;
        if root.any.is_some() {
            return None;
        }
        let is_needed = |node: &Node| match &node.treatment {
            Some(Treatment::Show | Treatment::Mask(_)) => true,
            Some(Treatment::Drop) => node.tells.is_some() && filtered,
            None => !node.children.is_empty() || node.any.is_some() || (node.tells.is_some() && filtered),
        };
        let children = root.children.iter();
        let needed = children.filter(|(_, child)| self.node(*child).is_some_and(is_needed));
        Some(needed.map(|(name, _)| name.to_string()).collect())
    }

    fn at(&mut self, path: &str) -> Option<&mut Node> {
        let at = self.place(path);
        self.nodes.get_mut(at.0 as usize)
    }

    /// The node at a path, made where there is none.
    fn place(&mut self, path: &str) -> NodeId {
        let mut at = NodeId::ROOT;
        for name in path.split('.') {
            at = match self.child_declared(at, name) {
                Some(child) => child,
                None => {
                    let child = NodeId::at(self.nodes.len());
                    self.nodes.push(Node::default());
                    if let Some(node) = self.nodes.get_mut(at.0 as usize) {
                        if name == ANY {
                            node.any = Some(child);
                        } else {
                            node.children.push((name.into(), child));
                        }
                    }
                    child
                }
            };
        }
        at
    }

    fn child_declared(&self, at: NodeId, name: &str) -> Option<NodeId> {
        let node = self.node(at)?;
        if name == ANY {
            return node.any;
        }
        node.children.iter().find(|(known, _)| **known == *name).map(|(_, child)| *child)
    }

    /// What is declared at a path, as one name.
    pub(super) fn find(&self, path: &str) -> Option<&Node> {
        let mut at = NodeId::ROOT;
        for name in path.split('.') {
            (at, _) = self.child(at, name.as_bytes(), 0)?;
        }
        self.node(at)
    }

    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)
    }

    /// Whether a row says something of itself there or further in.
    pub(super) fn leads_to_telling(&self, at: NodeId) -> bool {
        let Some(node) = self.node(at) else { return false };
        let children = node.children.iter().map(|(_, child)| *child).chain(node.any);
        // Declared paths are short, and children come after their parents.
        node.tells.is_some() || children.into_iter().any(|child| self.leads_to_telling(child))
    }

    /// Whether no field is declared in what stands there.
    pub(super) fn is_bare(&self, at: NodeId) -> bool {
        self.node(at).is_none_or(|node| node.children.is_empty() && node.any.is_none() && node.treatment.is_none())
    }

    /// Whether a value is to be shown by a pseudonym.
    pub fn has_pseudonyms(&self) -> bool {
        self.nodes.iter().any(|node| node.treatment == Some(Treatment::Mask(Mask::Pseudonym)))
    }

    /// The member `name` of what stands at `at`, with its number among the declared ones. `guess` is tried first: members
    /// mostly come in one order.
    pub(super) fn child(&self, at: NodeId, name: &[u8], guess: usize) -> Option<(NodeId, Option<usize>)> {
        let node = self.node(at)?;
        let matches = |place: usize| node.children.get(place).filter(|(known, _)| known.as_bytes() == name);
        let place = matches(guess).map(|_| guess).or_else(|| (0..node.children.len()).find(|p| matches(*p).is_some()));
        match place.and_then(|place| Some((place, node.children.get(place)?))) {
            Some((place, (_, child))) => Some((*child, Some(place))),
            None => node.any.map(|child| (child, None)),
        }
    }
}
