//! Trees that have been replaced, until the last reader has left them.
//!
//! With a tree go its memtables, and the tables that nobody needs any more: mappings whose pages the system takes back, files that it removes. That takes milliseconds, and would befall any reader who happened
//! to be at work while the tree was replaced, had it to let go of the tree as the last one. So the store keeps a share until it is the only one, and its threads let go of it.

use std::sync::Arc;

use parking_lot::Mutex;

use super::version::Tree;
use crate::storage::Storage;

/// Trees that have been replaced.
pub(crate) struct Retired<S: Storage> {
    trees: Mutex<Vec<Arc<Tree<S>>>>,
    /// Held while trees are let go.
    letting_go: Mutex<()>,
}

impl<S: Storage> Default for Retired<S> {
    fn default() -> Self {
        Self { trees: Mutex::default(), letting_go: Mutex::default() }
    }
}

impl<S: Storage> Retired<S> {
    /// Keeps a tree that no reader can come to any more.
    pub(crate) fn add(&self, tree: Arc<Tree<S>>) {
        self.trees.lock().push(tree);
    }

    /// Lets go of the trees that no reader is at any more, or waits for another thread that does. Tells whether others are left.
    pub(crate) fn let_go(&self) -> bool {
        let _letting_go = self.letting_go.lock();
        let mut trees = self.trees.lock();
        // Where this is the only share, nobody can take another one.
        let unused: Vec<_> = trees.extract_if(.., |tree| Arc::strong_count(tree) == 1).collect();
        let are_left = !trees.is_empty();
        // Whoever adds a tree does not wait for this.
        drop(trees);
        drop(unused);
        are_left
    }
}
