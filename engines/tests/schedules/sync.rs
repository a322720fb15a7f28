//! The checker's locks behind the interface of `parking_lot`'s.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use shuttle::{sync, thread};

/// Time does not exist here: patience lasts for one turn of the others.
pub(crate) fn wait_until(_patience: Duration, mut condition: impl FnMut() -> bool) {
    if !condition() {
        thread::yield_now();
    }
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

/// Empty only while its owner waits.
pub(crate) struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap()))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().unwrap()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let waiting = guard.0.take().unwrap();
        guard.0 = Some(self.0.wait(waiting).unwrap());
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
